#!/usr/bin/env bash
# Two hosts, made of network namespaces with addresses of their own and a cable between them (as root, on Linux):
# they meet, train together, one is cut off in mid-run, both end with an error in bounded time; started again they
# continue, and the weights are those of the unbroken run of the same size, byte for byte.
#   scripts/two_hosts.sh CORPUS [FOLDER] [SECONDS_OF_SILENCE] [STEPS]
set -euo pipefail
corpus=$1 folder=${2:-build/two-hosts} limit=${3:-20} steps=${4:-600}
rm -rf "$folder"; mkdir -p "$folder"
options=(--steps "$steps" --vocab-size 512 --block-length 32 --threads 1 --set pretrain.tokens_per_step=4096
  --set pretrain.hidden_size=32 --set pretrain.num_hidden_layers=2 --set pretrain.num_attention_heads=2
  --set pretrain.intermediate_size=32  # hardly a model: how ranks end and begin again is what is looked at
  --set pretrain.save_interval=1s --set "runtime.rank_timeout=${limit}s")
export OMP_NUM_THREADS=1 GLOO_SOCKET_IFNAME=wire
processes=()

clean() {
  for process in "${processes[@]}"; do kill "$process" 2>/dev/null || true; done
  for host in 0 1; do ip netns delete "mlm$host" 2>/dev/null || true; done
}
trap clean EXIT

for host in 0 1; do
  ip netns delete "mlm$host" 2>/dev/null || true
  ip netns add "mlm$host"
  ip -n "mlm$host" link set lo up
done
ip link add wire netns mlm0 type veth peer name wire netns mlm1
for host in 0 1; do
  ip -n "mlm$host" address add "10.77.0.1$host/24" dev wire
  ip -n "mlm$host" link set wire up
done

start() {  # RUN: both hosts; their process ids in `processes`
  processes=()
  for host in 0 1; do
    ip netns exec "mlm$host" torchrun --nnodes 2 --node-rank "$host" --nproc-per-node 1 \
      --master-addr 10.77.0.10 --master-port 29511 --local-addr "10.77.0.1$host" \
      -m -- mlmctl pretrain "$corpus" --run "$1" "${options[@]}" >/dev/null 2>"$1-told-$host.txt" &
    processes+=($!)
  done
}

ended() {  # waits for both hosts; their exit codes in `codes`
  local process
  codes=""
  for process in "${processes[@]}"; do wait "$process" && codes+=" 0" || codes+=" $?"; done
}

ip netns exec mlm0 mlmctl mask "$corpus" --run "$folder/unbroken" --vocab-size 512 --block-length 32 --quiet >/dev/null
cp -r "$folder/unbroken" "$folder/broken"

start "$folder/unbroken"
ended
[[ $codes = " 0 0" ]] || { echo "the unbroken run failed" >&2; tail -n 5 "$folder"/unbroken-told-* >&2; exit 1; }
grep -q '  ranks  *2' "$folder/unbroken-told-0.txt"
echo "two hosts trained together"

start "$folder/broken"
for _ in $(seq 12000); do
  compgen -G "$folder/broken/.work/pretrain-*/checkpoints/step-*" >/dev/null && break
  sleep 0.1
done
sleep 1
ip -n mlm1 link set wire down
cut=$SECONDS
ended
seconds=$((SECONDS - cut))
[[ "$codes " != *" 0 "* ]] || { echo "exit codes after the cut: $codes" >&2; exit 1; }
[[ $seconds -le $((limit + 60)) ]] || { echo "it took $seconds s to notice" >&2; exit 1; }
test ! -e "$folder/broken/pretrain"
echo "cut off: both ended in $seconds s (limit of silence: $limit s), torchrun with$codes"
grep -h '^error:' "$folder"/broken-told-*.txt

ip -n mlm1 link set wire up
start "$folder/broken"
ended
[[ $codes = " 0 0" ]] || { echo "the run did not continue" >&2; tail -n 5 "$folder"/broken-told-* >&2; exit 1; }
grep -h 'pretrain continues after step' "$folder/broken-told-0.txt"
cmp "$folder/unbroken/pretrain/model.safetensors" "$folder/broken/pretrain/model.safetensors"
hashes() { grep -h -o '"order_hash": "[0-9a-f]*"' "$folder/$1/pretrain/metrics.jsonl"; }
cmp <(hashes unbroken) <(hashes broken)
echo "identical to the unbroken run ($(sha256sum < "$folder/broken/pretrain/model.safetensors" | cut -c1-16))"
