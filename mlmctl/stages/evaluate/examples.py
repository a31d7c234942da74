"""A fine-tuned model on labelled test data.

Reads: `model` (finetune/<name>), labelled data
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from ...config import EvaluateConfig
from ...errors import UsageError
from ...events import Note, Progress
from ...tasks.adapted import TASKS, Adapted, open_adapted
from ...tasks.task import Data, Report, learned_hashes, num_trained_on
from ..stage import Stage

_SAMPLE_SEED = 0


def measure(config: EvaluateConfig, stage: Stage, device: torch.device) -> Report:
    """The task's report, and what is told of all such tasks: examples, leakage, windows.

    DataError for test data that cannot be used, or that holds a label the model was not trained on.
    """
    folder = stage.inputs["model"]
    adapted = open_adapted(folder, device)
    _check_task(config, adapted, folder)
    data = _read(config, adapted, stage)
    features = adapted.features(data)
    stage.emit(Progress(stage.name, 0, len(data), "examples"))
    report = adapted.task.score(data, adapted.predict(features, config.batch_size), adapted.settings)
    stage.emit(Progress(stage.name, len(data), len(data), "examples"))
    common = {
        "num_examples": len(data),
        **_leakage(folder, data, stage),
        "share_windowed": features.share_windowed,
        **features.facts,
    }
    return replace(report, metrics={**common, **report.metrics})


def _check_task(config: EvaluateConfig, adapted: Adapted, folder: Path) -> None:
    """UsageError unless the model does what is to be measured (`sentiment` and `classify` do the same)."""
    if TASKS[config.task].model_head != adapted.task.model_head:
        raise UsageError(
            "usage.task",
            f"is a model for {adapted.task.name}, not for {config.task}",
            where=str(folder),
            hint=f"--task {adapted.task.name}, or another --model",
        )


def _read(config: EvaluateConfig, adapted: Adapted, stage: Stage) -> Data:
    if stage.data is None:
        raise UsageError("usage.no-data", "no test data is named", hint="--data FILE")
    data = adapted.task.read(stage.data, config, stage.emit, adapted.settings)
    if config.max_examples is None:
        return data  # type: ignore[no-any-return]
    return data.take(adapted.task.sample(data, config.max_examples, _SAMPLE_SEED))  # type: ignore[no-any-return]


def _leakage(folder: Path, data: Data, stage: Stage) -> dict[str, int]:
    """How many test texts the model was trained on: told as a warning, for they flatter the result. A model
    that was exported does not say what it was trained on.
    """
    known = learned_hashes(folder)
    if known is None:
        message = (
            "the model's folder does not say what it was trained on: that is not looked for in the test data"
        )
        stage.emit(Note(message, level="warning"))
        return {}
    return {"num_trained_on": num_trained_on(data, known, stage.emit)}
