#!/usr/bin/env bash
# The pipeline as a CI job would run it: only --json, jq and exit codes; nothing is parsed from text.
#   scripts/ci_pipeline.sh CORPUS TRAIN.jsonl TEST.jsonl MIN_ACCURACY [RUN_FOLDER]
# BASELINE=FOLDER, an earlier evaluation, also fails the job if the accuracy is beyond doubt lower by more than 0.01.
set -euo pipefail
corpus=$1 train=$2 test=$3 minimum=$4
export MLMCTL_RUN=${5:-build/ci-pipeline}

pretrained=$(mlmctl pretrain "$corpus" --preset tiny --budget "${BUDGET:-1m}" --json)
echo "$pretrained" | jq -e '.status == "done" and .metrics.valid_loss < .metrics.unigram_loss' >/dev/null ||
  { echo "the encoder learned no more than word frequencies" >&2; exit 1; }

again=$(mlmctl pretrain "$corpus" --preset tiny --budget "${BUDGET:-1m}" --json)
echo "$again" | jq -e '[.stages[].status] | all(. == "fresh")' >/dev/null ||
  { echo "a second run did work again" >&2; exit 1; }

mlmctl finetune --task sentiment --data "$train" --max-examples "${LABELS:-2000}" --json | jq -c '.metrics'

gates=(--fail-under "accuracy=$minimum")
[ -z "${BASELINE:-}" ] || gates+=(--baseline "$BASELINE" --max-drop accuracy=0.01)
[ -z "${GITHUB_STEP_SUMMARY:-}" ] || gates+=(--markdown "$GITHUB_STEP_SUMMARY")
code=0
result=$(mlmctl evaluate --task sentiment --data "$test" "${gates[@]}" --json) || code=$?
echo "$result" | jq -c '{status, accuracy: .metrics.accuracy, error: .error.code}'
case $code in
  0) echo "gate passed" ;;
  3) echo "gate failed" >&2 ;;
  *) echo "evaluation broke with exit code $code" >&2 ;;
esac
exit "$code"
