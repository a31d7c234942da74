#!/usr/bin/env bash
# How well budgets of time are met: each in a run folder of its own, with the same tokenizer and masks.
#   scripts/budgets.sh CORPUS FOLDER [BUDGET...]
# Prints a Markdown table for --preset mini and auto: what the stage took by its manifest (`seconds`, which ends
# before the result is hashed and published) and as a whole, beside what was asked for.
set -euo pipefail
corpus=$1 folder=$2
shift 2
[ $# -gt 0 ] || set -- 30s 60s 2m
mlmctl=("${PYTHON:-python}" -m mlmctl)
mkdir -p "$folder"
"${mlmctl[@]}" mask "$corpus" --run "$folder/masks" --quiet >/dev/null
echo "| preset | size | asked (s) | taken (s) | of it (%) | stage (s) | of it (%) | steps | valid loss |"
echo "|---|---|---|---|---|---|---|---|---|"
for preset in mini auto; do
  for budget in "$@"; do
    run="$folder/$preset-$budget"
    rm -rf "$run"
    mkdir "$run"
    cp -r "$folder/masks/tokenizer" "$folder/masks/mask" "$run"
    "${mlmctl[@]}" pretrain "$corpus" --run "$run" --preset "$preset" --budget "$budget" --quiet --json >"$run/told.json"
    "${PYTHON:-python}" - "$preset" "$budget" "$run" <<'PYTHON'
import json
import sys
from pathlib import Path

from mlmctl.config import seconds

preset, budget, run = sys.argv[1:]
told = json.loads(Path(run, "told.json").read_text())
metrics, stage = told["metrics"], told["stages"][-1]["seconds"]
asked, size = seconds(budget), f"{metrics['num_parameters'] / 1e6:.1f} million"
shares = [f"{taken:.1f} | {100 * taken / asked:.1f}" for taken in (metrics["seconds"], stage)]
print(f"| {preset} | {size} | {asked:.0f} | {' | '.join(shares)} | {metrics['num_steps']:,} | {metrics['valid_loss']:.3f} |")
PYTHON
  done
done
