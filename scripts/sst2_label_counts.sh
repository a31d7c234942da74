#!/usr/bin/env bash
# reviews -> mini encoder -> SST-2 at three label counts, pretrained and from scratch; a Markdown table.
#   scripts/sst2_label_counts.sh DATA_FOLDER [RUN_FOLDER] [BUDGET]
set -euo pipefail
data=$1 export_run=${2:-build/sst2} budget=${3:-5m}
export MLMCTL_RUN=$export_run

mlmctl pretrain "$data/corpora/reviews.txt.gz" --preset mini --budget "$budget" --json | tee "$MLMCTL_RUN.pretrain.json" |
  jq -r '.metrics | "pretrain: loss \(.valid_loss) (unigram \(.unigram_loss)), \(.num_steps) steps, \(.tokens_per_second|round) tokens/s, \(.seconds|round) s"'

echo "| labels | pretrained | from scratch |"
echo "|---|---|---|"
for labels in 100 1000 10000; do
  row="| $labels |"
  for start in pretrained scratch; do
    flags=(--task sentiment --data "$data/sentiment/sst2/train.jsonl" --max-examples "$labels" --name "$start-$labels" --json)
    if [ "$start" = scratch ]; then flags+=(--from-scratch); fi
    mlmctl finetune "${flags[@]}" >/dev/null
    accuracy=$(mlmctl evaluate --task sentiment --data "$data/sentiment/sst2/dev.jsonl" --model "$start-$labels" --json | jq .metrics.accuracy)
    row+=" $(printf %.3f "$accuracy") |"
  done
  echo "$row"
done
