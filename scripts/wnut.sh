#!/usr/bin/env bash
# Named entities of WNUT-2017 (train.conll, dev.conll): an encoder against the same model from scratch, three
# seeds each; a Markdown table of entity F1 on the dev part, then the means.
#   scripts/wnut.sh DATA_FOLDER ENCODER_FOLDER RUN_FOLDER
set -euo pipefail
data=$1 encoder=$2
export MLMCTL_RUN=$3
mkdir -p "$MLMCTL_RUN"

for seed in 0 1 2; do
  for start in pretrained scratch; do
    name=$start-$seed
    flags=(--task tags --data "$data/train.conll" --model "$encoder" --seed "$seed" --name "$name" --json -q)
    if [ "$start" = scratch ]; then flags+=(--from-scratch); fi
    mlmctl finetune "${flags[@]}" >/dev/null
    mlmctl evaluate --task tags --data "$data/dev.conll" --model "$name" --json -q | jq -c ".metrics + {start: \"$start\"}"
  done
done | tee "$MLMCTL_RUN/wnut.jsonl" | jq -rs '
  def mean: add / length;
  def spread: (mean as $m | map(. - $m | . * .) | add / (length - 1) | sqrt);
  def shown: . * 1000 | round / 1000;
  "| start | F1, each seed | mean | deviation | precision | recall | macro F1 | token accuracy |",
  "|---|---|---|---|---|---|---|---|",
  (group_by(.start)[] | "| \(.[0].start) | \(map(.f1 | shown) | join(", ")) | \(map(.f1) | mean | shown) | \(map(.f1) | spread | shown) | \(map(.precision) | mean | shown) | \(map(.recall) | mean | shown) | \(map(.macro_f1) | mean | shown) | \(map(.token_accuracy) | mean | shown) |"),
  "",
  "| type | entities | pretrained | scratch |",
  "|---|---|---|---|",
  (. as $all | .[0].types | keys[] | . as $type | "| \($type) | \($all[0].types[$type].num_entities) | \([$all[] | select(.start == "pretrained") | .types[$type].f1] | mean | shown) | \([$all[] | select(.start == "scratch") | .types[$type].f1] | mean | shown) |")'
