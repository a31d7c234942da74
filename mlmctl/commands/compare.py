"""Runs side by side: what differs in how they were made, and what they measured, with how sure that is.

Only manifests and predictions are read, so nothing is too large and a run may hold whatever it holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..artifact import PATTERNS
from ..errors import UsageError
from ..events import Emit, Note, silent
from ..manifest import MANIFEST, Manifest, read_manifest
from ..quantities import is_number
from . import evaluations, status
from .evaluations import Evaluation

_MEASURED = ("pretrain", "finetune", "evaluate")
"""Stages whose metrics are results."""
_FOREIGN = ("init",)
"""What is read as a folder and yet comes from outside the run."""


@dataclass(frozen=True)
class Setting:
    """Something in which the runs differ; `values` is one for each run, None where it has none."""

    artifact: str
    name: str
    values: Sequence[Any]


@dataclass(frozen=True)
class Metric:
    """A number, one for each run, None where it has none."""

    artifact: str
    name: str
    values: Sequence[float | None]
    intervals: Sequence[Mapping[str, float] | None]
    """{low, high} of each."""
    differences: Sequence[Mapping[str, Any] | None]
    """From the first run, where both were asked the same: see `bootstrap.Difference`."""


@dataclass(frozen=True)
class Comparison:
    """What there is to say of some runs."""

    runs: Sequence[str]
    """A short name of each."""
    settings: Sequence[Setting]
    metrics: Sequence[Metric]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def run(folders: Sequence[Path], emit: Emit = silent) -> Comparison:
    """Compare what the run folders hold, by artifact; evaluations of what was replaced are told, not taken.

    UsageError for a folder that is none or empty, ArtifactError for damaged manifests or predictions.
    """
    manifests = [_manifests(folder, emit) for folder in folders]
    names = list(dict.fromkeys(name for of_run in manifests for name in of_run))
    settings, metrics = [], []
    for name in names:
        of_runs = [of_run.get(name) for of_run in manifests]
        settings += _settings(name, of_runs)
        if name.split("/")[0] in _MEASURED:
            metrics += _metrics(name, of_runs, folders)
    return Comparison(short_names(folders), settings, metrics)


def short_names(folders: Sequence[Path]) -> list[str]:
    """The folders by their own names, or in full where two have the same."""
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def _manifests(folder: Path, emit: Emit) -> dict[str, Manifest]:
    if not folder.is_dir():
        raise UsageError("usage.no-run", "there is no such run folder", where=str(folder))
    found = {
        path.parent.relative_to(folder).as_posix(): read_manifest(path.parent)
        for pattern in PATTERNS
        for path in sorted(folder.glob(f"{pattern}/{MANIFEST}"))
    }
    if not found:
        raise UsageError("usage.no-run", "is no run folder: it holds no artifact", where=str(folder))
    stale = _stale(found)
    for name, state in stale.items():
        told = f"{folder / name} was {state} and is left out; the same evaluate measures again"
        emit(Note(told, "warning"))
    return {name: made for name, made in found.items() if name not in stale}


def _stale(found: Mapping[str, Manifest]) -> dict[str, str]:
    """The evaluations of what was replaced since, each with what `status` says of it."""
    evaluated = {name: made for name, made in found.items() if name.startswith("evaluate/")}
    states = {name: status.state_of(made, found) for name, made in evaluated.items()}
    return {name: state for name, state in states.items() if state != status.OK}


def _settings(name: str, of_runs: Sequence[Manifest | None]) -> list[Setting]:
    """The settings and outside inputs in which the runs that have this artifact differ."""
    made = [_made_from(manifest) if manifest else {} for manifest in of_runs]
    fields = dict.fromkeys(field for each in made for field in each)
    rows = [Setting(name, field, [each.get(field) for each in made]) for field in fields]
    return [
        row
        for row in rows
        if len({repr(v) for v, has in zip(row.values, of_runs, strict=True) if has is not None}) > 1
    ]


def _made_from(manifest: Manifest) -> dict[str, Any]:
    """Its configuration, and of what came from outside the beginning of the fingerprint."""
    reads = manifest.details.get("reads", {})
    inside = {name for name, path in reads.items() if not Path(path).is_absolute()} - set(_FOREIGN)
    outside = {name: value[:12] for name, value in manifest.inputs.items() if name not in inside}
    return {**manifest.config, **outside}


def _metrics(name: str, of_runs: Sequence[Manifest | None], folders: Sequence[Path]) -> list[Metric]:
    of_metrics: list[Mapping[str, Any]] = [manifest.metrics if manifest else {} for manifest in of_runs]
    changes = _differences(name, of_runs, folders) if name.startswith("evaluate/") else [{}] * len(of_runs)
    fields = dict.fromkeys(field for metrics in of_metrics for field in metrics if is_number(metrics[field]))
    return [
        Metric(
            name,
            field,
            [metrics.get(field) for metrics in of_metrics],
            [metrics.get("intervals", {}).get(field) for metrics in of_metrics],
            [found.get(field) for found in changes],
        )
        for field in fields
    ]


def _differences(
    name: str, of_runs: Sequence[Manifest | None], folders: Sequence[Path]
) -> list[dict[str, dict[str, Any]]]:
    """For each run {metric: difference} from the first, where both were asked the same."""
    opened = [
        Evaluation.open(folder / name) if manifest else None
        for folder, manifest in zip(folders, of_runs, strict=True)
    ]
    first, *others = opened
    found: list[dict[str, dict[str, Any]]] = [{}]
    for other in others:
        if first is None or other is None or evaluations.what_differs(other, first):
            found.append({})
            continue
        changes = evaluations.differences(other, first)
        found.append({metric: change.to_json() for metric, change in changes.items()})
    return found
