#!/usr/bin/env bash
# Kill -9 a worker of an elastic run in mid-training: torchrun starts the ranks again, they continue from the last
# checkpoint, and the weights are those of the unbroken run, byte for byte.
#   scripts/kill_worker.sh CORPUS [FOLDER] [RANKS] [STEPS]
set -euo pipefail
corpus=$1 folder=${2:-build/kill-worker} ranks=${3:-2} steps=${4:-600}
rm -rf "$folder"; mkdir -p "$folder"
options=(--steps "$steps" --vocab-size 512 --block-length 32 --threads 1 --set pretrain.tokens_per_step=4096
  --set pretrain.hidden_size=32 --set pretrain.num_hidden_layers=2 --set pretrain.num_attention_heads=2
  --set pretrain.intermediate_size=32  # hardly a model: how ranks end and begin again is what is looked at
  --set pretrain.save_interval=1s --set runtime.rank_timeout=90s)
export OMP_NUM_THREADS=1

mlmctl mask "$corpus" --run "$folder/unbroken" --vocab-size 512 --block-length 32 --quiet >/dev/null
cp -r "$folder/unbroken" "$folder/broken"

torchrun --standalone --nproc-per-node "$ranks" \
  -m -- mlmctl pretrain "$corpus" --run "$folder/unbroken" "${options[@]}" --quiet >/dev/null

torchrun --standalone --nproc-per-node "$ranks" --max-restarts 3 \
  -m -- mlmctl pretrain "$corpus" --run "$folder/broken" "${options[@]}" >/dev/null 2>"$folder/told.txt" & torchrun=$!
trap 'kill $torchrun 2>/dev/null || true' EXIT
killed=0
checkpoints() {  # the newest, if there is one
  find "$folder"/broken/.work/pretrain-*/checkpoints -maxdepth 1 -name "step-*" 2>/dev/null | sort | tail -1 || true
}
for kill in 1 2; do  # the last rank, then the first, each after a checkpoint that was not there before
  [[ $kill = 1 ]] && rank=$((ranks - 1)) || rank=0
  before=$(checkpoints)
  for _ in $(seq 12000); do
    [[ $(checkpoints) > $before ]] && break
    kill -0 $torchrun 2>/dev/null || break
    sleep 0.05
  done
  sleep 0.7
  for pid in $(pgrep -P $torchrun); do
    if tr '\0' '\n' < "/proc/$pid/environ" 2>/dev/null | grep -qx "RANK=$rank"; then
      kill -9 "$pid" && killed=$((killed + 1)) && echo "killed rank $rank after $(basename "$(checkpoints)")"
    fi
  done
done
[[ $killed = 2 ]] || { echo "killed $killed workers, not 2: the run was too short" >&2; exit 1; }
wait $torchrun || { echo "torchrun failed" >&2; tail -5 "$folder/told.txt" >&2; exit 1; }
[[ $(grep -c 'pretrain continues after step' "$folder/told.txt") = 2 ]] || { echo "it did not continue twice" >&2; exit 1; }
for file in pretrain/model.safetensors pretrain/plan.json; do
  cmp "$folder/unbroken/$file" "$folder/broken/$file"
done
hashes() { grep -h -o '"order_hash": "[0-9a-f]*"' "$folder/$1/pretrain/metrics.jsonl"; }
cmp <(hashes unbroken) <(hashes broken)
echo "identical to the unbroken run ($(sha256sum < "$folder/broken/pretrain/model.safetensors" | cut -c1-16))"
