"""Measure a model: each kind of measurement is a file here, chosen by the task; this one writes the result.

Reads:  what the measurement says it reads
Writes: evaluate/<model>/<data>/  metrics.json, predictions.jsonl, errors.jsonl
        The same model on the same data gives the same bytes: no times and no paths are in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from ...config import EvaluateConfig
from ...engine import runtime
from ...json_files import indented, json_bytes
from ...measure import bootstrap, outcomes
from ...tasks.task import Report
from ..stage import Stage
from . import examples, masks, pairs

_MEASUREMENTS: dict[str, Callable[[EvaluateConfig, Stage, torch.device], Report]] = {
    "mlm": masks.measure,
    "pairs": pairs.measure,
}
"""Of encoders, by the name of the task; all other tasks have labelled examples."""


def run(config: EvaluateConfig, stage: Stage) -> dict[str, Any]:
    """Evaluate and write the result; its metrics. Gates (`fail_under`) are checked by the caller.

    DataError for test data that cannot be used, ArtifactError for a model that does not do the task.
    """
    device = runtime.prepare(stage.runtime).device
    report = _MEASUREMENTS.get(config.task, examples.measure)(config, stage, device)
    ratios = outcomes.ratios(config.task, report.predictions)
    intervals = {name: bootstrap.interval(ratio).to_json() for name, ratio in ratios.items()}
    metrics = {**report.metrics, "intervals": intervals}
    for name, content in {"metrics.json": metrics, **report.files}.items():
        (stage.out / name).write_bytes(indented(content))
    _write_lines(stage.out / "predictions.jsonl", report.predictions)
    _write_lines(stage.out / "errors.jsonl", report.errors)
    return metrics


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("xb") as file:
        for row in rows:
            file.write(json_bytes(row) + b"\n")
