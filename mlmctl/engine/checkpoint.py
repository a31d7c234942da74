"""Checkpoints: the whole state of a run, published like any artifact, so that a kill costs only time.

A checkpoint is `checkpoints/step-00000100/` in the stage's work folder: `model.safetensors` (float32),
`optimizer.safetensors`, `state.json` (the counters). The newest two are kept, and the one before the
decay, from which a larger budget continues. Times and the length of `metrics.jsonl` stand in the
manifest, so that the three files of two runs can be compared by their hashes.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ..artifact import open_artifact, publish
from ..errors import ArtifactError, one_line
from ..events import Emit, Note
from ..json_files import read_json
from ..manifest import Header, Manifest
from ..storage import TEMPORARY, make_folder, sync
from . import weights
from .optimizer import Optimizer
from .schedule import Schedule

_FOLDER = "checkpoints"
_NUM_KEPT = 2
_NAME = re.compile(r"step-(\d{8,})")


@dataclass
class Counters:
    """The part of a run's state that is neither weights nor optimizer; exact in JSON."""

    step: int = 0
    """Finished steps, skipped ones included."""
    num_tokens: int = 0
    num_skipped: int = 0
    num_skipped_in_a_row: int = 0
    evaluated_step: int = -1
    """The last step whose evaluation stands in metrics.jsonl."""
    recent_loss: float | None = None
    """Running mean of the training loss: what divergence is measured against."""
    order_hash: str = ""
    """Of all batches so far, masks included, in their order: the same for any number of ranks."""


def exist(work: Path) -> bool:
    """Whether a work folder holds checkpoints, valid or not: such a run does not begin anew."""
    return any((work / _FOLDER).glob("step-*"))


def keep_only(work: Path, step: int) -> None:
    """Delete all checkpoints of a work folder but the one after `step` steps."""
    for path in (work / _FOLDER).glob("step-*"):
        if path.name != f"step-{step:08d}":
            _remove(path)


class Checkpoints:
    """The checkpoints and `metrics.jsonl` of one run, in its work folder."""

    def __init__(
        self,
        work: Path,
        stage: str,
        emit: Emit,
        *,
        environment: Mapping[str, Any] | None = None,
        schedule: Schedule | None = None,
    ) -> None:
        """`schedule`: checkpoints of a run with another one are used as far as both have the same steps, and
        the one where the decay begins is kept. None for runs that are never extended.
        """
        self._folder = work / _FOLDER
        self._metrics = work / "metrics.jsonl"
        self._stage = stage
        self._emit = emit
        self._environment = dict(environment or {})
        self._schedule = schedule

    def restore(self, model: nn.Module, optimizer: Optimizer) -> tuple[Counters, float]:
        """Load the newest valid checkpoint into both; its counters and the seconds trained so far.

        Without any checkpoint nothing is loaded and the counters are zero. A damaged one is told and
        the next older taken. ArtifactError if some exist and none can be used: never a silent restart.
        """
        found = self._found()
        for path in found:
            try:
                manifest = open_artifact(path)
            except ArtifactError as error:
                self._emit(Note(f"{error}; trying the checkpoint before it", "warning"))
                continue
            if not self._continues(manifest):
                continue
            self._load(path, model, optimizer)
            counters = read_json(path / "state.json", lambda state: Counters(**state))
            self._truncate_metrics(int(manifest.details["metrics_bytes"]))
            self._tell_changes(manifest.environment)
            for other in found[: found.index(path)]:  # damaged, or of a shorter run's decay
                _remove(other)
            return counters, float(manifest.details["seconds"])
        if found:
            raise ArtifactError(
                "checkpoint.none-valid",
                f"none of the {len(found)} checkpoints can be used",
                where=str(self._folder),
                hint=f"--force {self._stage.split('/')[0]} starts again from step 0",
            )
        self._truncate_metrics(0)
        return Counters(), 0.0

    def save(self, model: nn.Module, optimizer: Optimizer, counters: Counters, seconds: float) -> None:
        """Publish the state after `counters.step` steps, verify it, then delete what it makes needless."""
        target = self._folder / f"step-{counters.step:08d}"
        with self._metrics.open("ab") as file:
            os.fsync(file.fileno())
            metrics_bytes = file.tell()
        if target.exists():  # saved before a stop, and stopped again before the next step
            try:
                open_artifact(target)
                return
            except ArtifactError:
                _remove(target)
        config = {
            "stage": self._stage,
            "step": counters.step,
            "schedule": self._schedule and asdict(self._schedule),
        }
        with publish(target, Header("checkpoint", config), environment=self._environment) as draft:
            weights.write(dict(_weights(model)), draft.path / "model.safetensors")
            weights.write(optimizer.state(), draft.path / "optimizer.safetensors")
            state = json.dumps(asdict(counters), sort_keys=True, allow_nan=False)
            (draft.path / "state.json").write_text(state + "\n")
            draft.details.update(metrics_bytes=metrics_bytes, seconds=seconds)
        open_artifact(target)
        self._prune()

    def log(self, line: Mapping[str, Any]) -> None:
        """Append one line to metrics.jsonl."""
        with self._metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")

    def _found(self) -> list[Path]:
        """All checkpoints, the newest (highest step) first."""
        if not self._folder.is_dir():
            return []
        steps = {path: m for path in self._folder.iterdir() if (m := _NAME.fullmatch(path.name))}
        return sorted(steps, key=lambda path: int(steps[path][1]), reverse=True)

    def _continues(self, manifest: Manifest) -> bool:
        """Whether this run would have come through the state of that checkpoint."""
        config = manifest.config
        if self._schedule is None:
            return True
        return self._schedule.agrees(Schedule.from_json(config["schedule"]), config["step"])

    def _prune(self) -> None:
        kept = f"step-{self._schedule.decay_start:08d}" if self._schedule else ""
        for path in self._found()[_NUM_KEPT:]:
            if path.name != kept:
                _remove(path)

    @torch.no_grad()
    def _load(self, path: Path, model: nn.Module, optimizer: Optimizer) -> None:
        tensors = _tensors(path / "model.safetensors")
        parameters = _weights(model)
        if {n: t.shape for n, t in tensors.items()} != {n: p.shape for n, p in parameters.items()}:
            raise ArtifactError("checkpoint.mismatch", "is of a model of another shape", where=str(path))
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name])
        try:
            optimizer.load_state(_tensors(path / "optimizer.safetensors"))
        except ValueError as error:
            raise ArtifactError("checkpoint.mismatch", str(error), where=str(path)) from error

    def _truncate_metrics(self, num_bytes: int) -> None:
        make_folder(self._metrics.parent)
        with self._metrics.open("ab") as file:
            if file.tell() < num_bytes:
                self._emit(Note(f"{self._metrics.name} is shorter than at the checkpoint", "warning"))
            file.truncate(min(num_bytes, file.tell()))
            os.fsync(file.fileno())
        sync(self._metrics.parent)

    def _tell_changes(self, old: Mapping[str, Any]) -> None:
        changes = [
            f"{name}: {old[name]} -> {value}"
            for name, value in self._environment.items()
            if name in old and old[name] != value
        ]
        if changes:
            told = "; ".join(changes)
            self._emit(Note(f"continues in another environment ({told}); the bits may differ", "warning"))


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except SafetensorError as error:
        found = f"cannot be read: {one_line(error)}"
        raise ArtifactError("artifact.damaged", found, where=str(path)) from None
    return tensors


def _weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters by name, tied ones once."""
    return dict(model.named_parameters())


def _remove(path: Path) -> None:
    """Delete a checkpoint so that a kill half-way leaves no damaged one under its name."""
    gone = path.with_name(f"{TEMPORARY}{path.name}-{secrets.token_hex(4)}")
    path.rename(gone)
    shutil.rmtree(gone)
