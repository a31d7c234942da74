#!/usr/bin/env bash
# SQuAD 1 and 2 with a pretrained encoder and from scratch; a Markdown table.
# Version 1: train part and dev part. Version 2: every other article of the dev part to train on, the rest to test.
#   scripts/squad.sh DATA_FOLDER ENCODER RUN_FOLDER [more flags of finetune]
set -euo pipefail
data=$1 encoder=$2 export_run=$3
shift 3
export MLMCTL_RUN=$export_run
mkdir -p "$MLMCTL_RUN"

split='[.data[]] | to_entries | map(select(.key % 2 == $odd).value) | {version: "v2.0", data: .}'
for part in train test; do
  jq -c --argjson odd "$([ $part = test ] && echo 1 || echo 0)" "$split" "$data/qa/squad_v2_dev_part.json" >"$MLMCTL_RUN/v2-$part.json"
done

echo "| data | start | exact match | F1 | HasAns F1 | NoAns F1 | best F1 | answers lost | seconds |"
echo "|---|---|---|---|---|---|---|---|---|"
for version in v1 v2; do
  train=$MLMCTL_RUN/v2-train.json test=$MLMCTL_RUN/v2-test.json
  if [ $version = v1 ]; then train=$data/qa/squad_v1_train_part.json test=$data/qa/squad_v1_dev_part.json; fi
  for start in pretrained scratch; do
    name=$version-$start
    flags=(--task qa --data "$train" --model "$encoder" --name "$name" --json)
    if [ $start = scratch ]; then flags+=(--from-scratch); fi
    mlmctl finetune "${flags[@]}" "$@" >"$MLMCTL_RUN/$name.finetune.json"
    mlmctl evaluate --task qa --data "$test" --model "$name" --json >"$MLMCTL_RUN/$name.evaluate.json"
    jq -r --arg row "| $version | $start" --slurpfile made "$MLMCTL_RUN/$name.finetune.json" '.metrics |
      def shown: if . == null then "" else . * 10 | round / 10 end;
      "\($row) | \(.exact_match | shown) | \(.f1 | shown) | \(.HasAns_f1 | shown) | \(.NoAns_f1 | shown) | \(.best_f1 | shown) | \(.share_answers_lost) | \($made[0].metrics.seconds | round) |"' \
      "$MLMCTL_RUN/$name.evaluate.json"
  done
done
