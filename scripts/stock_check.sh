#!/usr/bin/env bash
# Load every model of a run folder with stock transformers 5 and the last 4, each in an environment of
# its own without mlmctl, and compare the logits with mlmctl's.
#   scripts/stock_check.sh RUN_FOLDER [FOLDER_FOR_ENVIRONMENTS]
set -euo pipefail
run=$1 environments=${2:-build/stock}
mkdir -p "$environments"
"${PYTHON:-python}" scripts/stock_check.py write "$run" "$environments/reference.npz"
for wanted in "transformers>=5" "transformers>=4.57,<5"; do
  environment="$environments/$(echo "$wanted" | tr -dc 'a-z0-9')"
  [ -x "$environment/bin/python" ] || python3 -m venv "$environment"
  "$environment/bin/pip" install --quiet "torch==2.13.0" "$wanted"
  # From another folder and without PYTHONPATH, so that the checkout is not importable either.
  (script=$(realpath scripts/stock_check.py) run=$(realpath "$run") reference=$(realpath "$environments/reference.npz")
   python=$(realpath -s "$environment/bin/python")
   cd "$environments" && env -u PYTHONPATH HF_HUB_OFFLINE=1 "$python" "$script" read "$run" "$reference")
done
