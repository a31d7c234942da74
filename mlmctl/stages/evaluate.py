"""Measure a model: a fine-tuned one on labelled test data, or an encoder on the frozen masks.

Reads:  `model` (finetune/<name>) and labelled data; for the task `mlm`: `pretrain`, `mask/policy`,
        `mask/blocks`
Writes: evaluate/<model>/<data>/  metrics.json, predictions.jsonl, errors.jsonl
        The same model on the same data gives the same bytes: no times and no paths are in them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..config import EvaluateConfig
from ..engine import evaluate_mlm, runtime
from ..errors import UsageError
from ..events import Note, Progress
from ..tasks.adapted import Adapted, open_adapted
from ..tasks.task import Data
from .stage import Stage

_SAMPLE_SEED = 0


def run(config: EvaluateConfig, stage: Stage) -> dict[str, Any]:
    """Evaluate and write the result; its metrics. Gates (`fail_under`) are checked by the caller.

    DataError for test data that cannot be used, or that holds a label the model was not trained on.
    """
    machine = runtime.prepare(stage.runtime)
    if config.task == "mlm":
        metrics: dict[str, Any] = dict(evaluate_mlm.run(stage.inputs, machine.device))
        predictions: Iterable[Mapping[str, Any]] = ()
        errors: Iterable[Mapping[str, Any]] = ()
    else:
        adapted = open_adapted(stage.inputs["model"], machine.device)
        data = _read(config, adapted, stage)
        features = adapted.features(data)
        stage.emit(Progress(stage.name, 0, len(data), "examples"))
        report = adapted.task.score(data, adapted.predict(features, config.batch_size), adapted.settings)
        stage.emit(Progress(stage.name, len(data), len(data), "examples"))
        metrics = {
            "num_examples": len(data),
            "num_trained_on": _num_trained_on(stage.inputs["model"], data, stage),
            "share_windowed": features.share_windowed,
            **report.metrics,
        }
        predictions, errors = report.predictions, report.errors
    (stage.out / "metrics.json").write_bytes(
        json.dumps(metrics, indent=1, ensure_ascii=False).encode() + b"\n"
    )
    _write_lines(stage.out / "predictions.jsonl", predictions)
    _write_lines(stage.out / "errors.jsonl", errors)
    return metrics


def _read(config: EvaluateConfig, adapted: Adapted, stage: Stage) -> Data:
    if stage.data is None:
        raise UsageError("usage.no-data", "no test data is named", hint="--data FILE")
    data = adapted.task.read(stage.data, config, stage.emit, adapted.settings)
    if config.max_examples is None:
        return data  # type: ignore[no-any-return]
    return data.take(adapted.task.sample(data, config.max_examples, _SAMPLE_SEED))  # type: ignore[no-any-return]


def _num_trained_on(model: Path, data: Data, stage: Stage) -> int:
    """How many test texts the model was trained on: told as a warning, for they flatter the result."""
    trained_on = np.load(model / "train_hashes.npy", allow_pickle=False)
    count = int(np.isin(data.hashes, trained_on).sum())
    if count:
        message = f"{count:,} of {len(data):,} test texts were in the training data: the result flatters"
        stage.emit(Note(message, level="warning"))
    return count


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("xb") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
