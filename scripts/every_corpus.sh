#!/usr/bin/env bash
# Every corpus of a folder through tokenizer, mask and pretrain, `tiny` for a minute; a Markdown table.
#   scripts/every_corpus.sh CORPORA_FOLDER [OUTPUT_FOLDER]
set -euo pipefail
corpora=$1 output=${2:-build/corpora}
echo "| corpus | documents | duplicates | train tokens | unknown | steps | valid loss | unigram loss | seconds |"
echo "|---|---|---|---|---|---|---|---|---|"
for corpus in "$corpora"/*; do
  name=$(basename "$corpus")
  run="$output/$name"
  mlmctl mask "$corpus" --run "$run" --json >/dev/null
  blocks=$(jq '.metrics' "$run/mask/blocks/manifest.json")
  pretrain=$(mlmctl pretrain --run "$run" --preset tiny --budget 1m --json | jq '.metrics')
  jq -rn --arg name "$name" --argjson b "$blocks" --argjson p "$pretrain" \
    '"| \($name) | \($b.num_documents) | \($b.num_duplicates) | \($b.num_train_tokens) | \($b.unknown_share*10000|round/100) % | \($p.num_steps) | \($p.valid_loss*1000|round/1000) | \($p.unigram_loss*1000|round/1000) | \($p.seconds|round) |"'
done
