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
import torch

from ..artifact import read_manifest
from ..config import EvaluateConfig
from ..engine import evaluate_mlm, model, runtime
from ..errors import ArtifactError, UsageError
from ..events import Note, Progress
from ..tasks.adapted import TASKS, Adapted, open_adapted
from ..tasks.task import Data
from ..text.npy import open_array
from .stage import Stage

_SAMPLE_SEED = 0


def run(config: EvaluateConfig, stage: Stage) -> dict[str, Any]:
    """Evaluate and write the result; its metrics. Gates (`fail_under`) are checked by the caller.

    DataError for test data that cannot be used, or that holds a label the model was not trained on.
    """
    machine = runtime.prepare(stage.runtime)
    if config.task == "mlm":
        metrics: dict[str, Any] = _masked_language(stage.inputs, machine.device)
        predictions: Iterable[Mapping[str, Any]] = ()
        errors: Iterable[Mapping[str, Any]] = ()
    else:
        adapted = open_adapted(stage.inputs["model"], machine.device)
        _check_task(config, adapted, stage.inputs["model"])
        data = _read(config, adapted, stage)
        features = adapted.features(data)
        stage.emit(Progress(stage.name, 0, len(data), "examples"))
        report = adapted.task.score(data, adapted.predict(features, config.batch_size), adapted.settings)
        stage.emit(Progress(stage.name, len(data), len(data), "examples"))
        metrics = {
            "num_examples": len(data),
            "num_trained_on": _num_trained_on(stage.inputs["model"], data, stage),
            "share_windowed": features.share_windowed,
            **features.facts,
            **report.metrics,
        }
        predictions, errors = report.predictions, report.errors
        for name, content in report.files.items():
            _write_json(stage.out / name, content)
    _write_json(stage.out / "metrics.json", metrics)
    _write_lines(stage.out / "predictions.jsonl", predictions)
    _write_lines(stage.out / "errors.jsonl", errors)
    return metrics


def _masked_language(inputs: Mapping[str, Path], device: torch.device) -> dict[str, Any]:
    """Loss and accuracy of an encoder on all frozen masks, and what guessing by frequency would get."""
    network, report = model.load(inputs["pretrain"], "masked_lm", device=device)
    if report.new:
        raise ArtifactError(
            "model.no-head",
            f"has no masked-language head: {', '.join(report.new)}",
            where=str(inputs["pretrain"]),
            hint="name the folder that pretrain wrote",
        )
    _check_tokenizer(inputs)
    masks = evaluate_mlm.FrozenMasks.open(inputs["mask/policy"], inputs["mask/blocks"])
    return {
        **evaluate_mlm.evaluate(network, masks, device),
        **masks.baselines,
        "num_tokens": masks.num_tokens,
    }


def _check_tokenizer(inputs: Mapping[str, Path]) -> None:
    """ArtifactError unless encoder and masks were made with one tokenizer: by content, not by its size."""
    of_encoder, of_masks = (read_manifest(inputs[name]).inputs for name in ("pretrain", "mask/policy"))
    if of_encoder.get("tokenizer") != of_masks.get("tokenizer"):
        raise ArtifactError(
            "model.tokenizer",
            "was made with another tokenizer than the masks",
            where=str(inputs["pretrain"]),
            hint="evaluate an encoder in the run folder it was pretrained in",
        )


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


def _num_trained_on(folder: Path, data: Data, stage: Stage) -> int:
    """How many test texts the model was trained on: told as a warning, for they flatter the result."""
    trained_on = open_array(folder / "train_hashes.npy", np.dtype(np.uint64))
    count = int(np.isin(data.hashes, trained_on).sum())
    if count:
        message = f"{count:,} of {len(data):,} test texts were in the training data: the result flatters"
        stage.emit(Note(message, level="warning"))
    return count


def _write_json(path: Path, value: Any) -> None:
    path.write_bytes(json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n")


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("xb") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
