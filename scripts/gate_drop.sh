#!/usr/bin/env bash
# A gate in CI that fails for a real drop and passes for noise, shown on generated data in a minute or two.
#   scripts/gate_drop.sh [FOLDER]
# One fine-tune three times: the baseline; with another seed, which is noise and has to pass (exit code 0); with a
# tenth of the labels, which is really worse and has to fail (3). Prints the summary of both gates, as the page of a CI
# job would show it, and fails if either goes the other way.
set -euo pipefail
folder=${1:-build/gate-drop}
export MLMCTL_RUN=$folder/run
mkdir -p "$folder"
"${PYTHON:-python}" - "$folder" <<'PYTHON'
import sys
from pathlib import Path

from mlmctl import world

folder = Path(sys.argv[1])
made = world.generate(0, folder / "world", num_documents=1_000, num_train=2_600, num_test=2)
reviews = made.train.read_text().splitlines(keepends=True)
(folder / "train.jsonl").write_text("".join(reviews[:1_600]))
(folder / "test.jsonl").write_text("".join(reviews[1_600:]))
PYTHON

quietly() { mlmctl "$@" -q >/dev/null; }
finetune() { quietly finetune --data "$folder/train.jsonl" --set finetune.epochs=3 --name "$@"; }
gate() {  # NAME EXPECTED_CODE
  local code=0
  rm -f "$folder/$1.md"
  quietly evaluate --model "$1" --data "$folder/test.jsonl" --baseline "$folder/baseline" --max-drop accuracy=0.01 \
    --markdown "$folder/$1.md" || code=$?
  cat "$folder/$1.md"
  [ "$code" = "$2" ] || { echo "$1: exit code $code, not $2" >&2; exit 1; }
}

quietly pretrain "$folder/world/corpus.txt" --preset tiny --vocab-size 896 --block-length 64 --steps 100
finetune base --seed 0
quietly evaluate --model base --data "$folder/test.jsonl"
rm -rf "$folder/baseline"
cp -r "$MLMCTL_RUN/evaluate/base/test" "$folder/baseline"
finetune noise --seed 1
gate noise 0
finetune worse --seed 0 --max-examples 160
gate worse 3
echo "the gate passed for noise and failed for a real drop"
