#!/usr/bin/env bash
# Kill -9 the real command, start it again, compare with the unbroken run, byte for byte.
#   scripts/kill_and_resume.sh CORPUS [FOLDER]      (a corpus of 20 MB or more, so that blocks have parts)
# Three kills in mid-training (weights must be equal), then three while blocks are written.
set -euo pipefail
corpus=$1 folder=${2:-build/kill-and-resume}
rm -rf "$folder"; mkdir -p "$folder"
options=(--preset tiny --steps 300 --set pretrain.save_interval=2s --quiet)

newest() {  # FILE_PATTERN: the last of the files that match, by name
  compgen -G "$1" | sort | tail -1 || true
}

killed_after() {  # FILE_PATTERN OLD COMMAND...: kill the command once a file of that pattern is newer than OLD
  local pattern=$1 old=$2; shift 2
  "$@" & local process=$!
  for _ in $(seq 6000); do
    [[ $(newest "$pattern") > $old ]] && break
    kill -0 $process 2>/dev/null || break
    sleep 0.02
  done
  sleep "0.$((RANDOM % 9))"
  kill -9 $process 2>/dev/null || { echo "the run ended before it could be killed" >&2; exit 1; }
  wait $process 2>/dev/null || true
}

same() {  # ARTIFACT: the two runs' files must be equal
  diff <(cd "$folder/unbroken/$1" && find . -type f ! -name manifest.json ! -name metrics.jsonl -exec sha256sum {} + | sort -k2) \
       <(cd "$folder/broken/$1" && find . -type f ! -name manifest.json ! -name metrics.jsonl -exec sha256sum {} + | sort -k2)
  echo "$1: identical ($(sha256sum < "$(find "$folder/broken/$1" -name 'model.safetensors' -o -name 'train.npy' | head -1)" | cut -c1-16))"
}

mlmctl mask "$corpus" --run "$folder/unbroken" --quiet >/dev/null
for kill in 1 2 3; do
  killed_after "$folder/broken/.work/mask+blocks-*/parts/*$((kill - 1))*" "" \
    mlmctl mask "$corpus" --run "$folder/broken" --quiet
  test ! -e "$folder/broken/mask/blocks" || { echo "blocks were complete before the kill"; break; }
  echo "killed while blocks were written ($kill)"
done
mlmctl mask "$corpus" --run "$folder/broken" --quiet >/dev/null
same mask/blocks

mlmctl pretrain "$corpus" --run "$folder/unbroken" "${options[@]}" >/dev/null
for kill in 1 2 3; do
  checkpoints="$folder/broken/.work/pretrain-*/checkpoints/step-*"
  killed_after "$checkpoints" "$(newest "$checkpoints")" \
    mlmctl pretrain "$corpus" --run "$folder/broken" "${options[@]}"
  echo "killed in mid-training ($kill), newest checkpoint: $(basename "$(newest "$checkpoints")")"
done
mlmctl pretrain "$corpus" --run "$folder/broken" "${options[@]}" >/dev/null
same pretrain
