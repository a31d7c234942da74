#!/usr/bin/env bash
# Minimal pairs scored by an encoder, by both methods; a Markdown table, a row a set.
#   scripts/pairs.sh DATA_FOLDER ENCODER [RUN_FOLDER]      (DATA_FOLDER/pairs holds BLiMP's .jsonl files)
set -euo pipefail
data=$1 encoder=$2
export MLMCTL_RUN=${3:-build/pairs}

measure() {  # METHOD: the metrics of the evaluation
  local started=$SECONDS
  mlmctl evaluate --task pairs --data "$data/pairs" --model "$encoder" --method "$1" --name "$1" --json |
    jq .metrics
  echo "$1: $((SECONDS - started)) s" >&2
}

measure within-word-l2r > "$MLMCTL_RUN.within-word-l2r.json"
measure original > "$MLMCTL_RUN.original.json"

echo "| set | within-word-l2r | original | pairs | ties |"
echo "|---|---|---|---|---|"
jq -rn --slurpfile l2r "$MLMCTL_RUN.within-word-l2r.json" --slurpfile original "$MLMCTL_RUN.original.json" '
  def shown: . * 1000 | round / 1000;
  def row($name; $a; $b): "| \($name) | \($a.accuracy | shown) ± \($a.standard_error | shown) | " +
    "\($b.accuracy | shown) ± \($b.standard_error | shown) | \($a.num_examples) | \($a.num_ties), \($b.num_ties) |";
  ($l2r[0].files | keys[] | row(.; $l2r[0].files[.]; $original[0].files[.])),
  row("**mean over sets**"; $l2r[0]; $original[0])'
