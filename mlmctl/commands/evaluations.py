"""Two evaluations side by side: an earlier one is opened, and what changed since is told example by example.

The predictions in the artifacts are all that is needed: neither a model nor the data is read again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..artifact import open_artifact
from ..errors import ArtifactError, UsageError
from ..json_files import read_lines
from ..manifest import MANIFEST, Manifest
from ..measure import bootstrap, outcomes
from ..measure.bootstrap import Difference

_PREFIX = "evaluate/"
_KEEP = "keep a copy of the folder evaluate/<model>/<data>, and name that"


@dataclass(frozen=True)
class Evaluation:
    """An evaluation on disk, verified."""

    path: Path
    manifest: Manifest
    rows: outcomes.Rows
    """Its predictions."""

    @property
    def task(self) -> str:
        return str(self.manifest.config["task"])

    @classmethod
    def open(cls, folder: Path) -> Evaluation:
        """ArtifactError if the folder is no whole evaluation."""
        manifest = open_artifact(folder)
        if not manifest.stage.startswith(_PREFIX):
            found = f"is an artifact of {manifest.stage}, not an evaluation"
            raise ArtifactError("artifact.no-evaluation", found, where=str(folder), hint=_KEEP)
        return cls(folder, manifest, read_lines(folder / "predictions.jsonl"))


def named(name: str) -> Evaluation:
    """The evaluation of a folder, or the one that a file made by `evaluate --json` tells of.

    UsageError for a name that is neither, ArtifactError for one that is damaged or no longer there.
    """
    path = Path(name)
    if path.is_dir():
        return Evaluation.open(path)
    if not path.is_file():
        raise UsageError("usage.no-baseline", "does not exist", where=name, hint="--baseline DIR|FILE.json")
    try:
        told = json.loads(path.read_bytes())
        (stage,) = (s for s in told["stages"] if s["name"].startswith(_PREFIX))
        folder, fingerprint = Path(told["artifacts"][stage["name"]]), stage["fingerprint"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        hint = "a folder evaluate/<model>/<data>, or the output of evaluate --json"
        raise UsageError("usage.no-baseline", "tells of no evaluation", where=name, hint=hint) from None
    if not (folder / MANIFEST).is_file():
        found = f"tells of {folder}, which is not there"
        raise ArtifactError("artifact.missing", found, where=name, hint=_KEEP)
    opened = Evaluation.open(folder)
    if opened.manifest.fingerprint != fingerprint:
        found = f"tells of another evaluation than the one that is now in {folder}"
        raise ArtifactError("artifact.replaced", found, where=name, hint=_KEEP)
    return opened


def differences(new: Evaluation, baseline: Evaluation) -> dict[str, Difference]:
    """Every metric that both have, by name. ArtifactError, saying why, unless the test data is the same."""
    if unlike := what_differs(new, baseline):
        raise ArtifactError(
            "artifact.other-test",
            f"cannot be compared: {'; '.join(unlike)}",
            where=str(baseline.path),
            hint="evaluate both on the same test data",
        )
    ours, theirs = outcomes.both(new.task, new.rows, baseline.rows)
    return {name: bootstrap.paired(ours[name], theirs[name]) for name in ours if name in theirs}


def what_differs(new: Evaluation, baseline: Evaluation) -> list[str]:
    """What keeps two evaluations from being compared example by example; empty if nothing does."""
    kind = outcomes.OF_TASK[new.task]
    if kind is not outcomes.OF_TASK[baseline.task]:
        return [f"its task is {baseline.task}, not {new.task}"]
    found = []
    ours, theirs = (each.manifest.inputs.get("data") for each in (new, baseline))
    if ours != theirs:
        origins = [_origin(each.manifest.details) for each in (baseline, new)]
        found.append(f"its test data was {origins[0]}, with another content than {origins[1]}")
    if len(new.rows) != len(baseline.rows):
        return [*found, f"it has {len(baseline.rows):,} examples, not {len(new.rows):,}"]
    if not new.rows:
        return [*found, "it holds no predictions"]
    for number, (row, other) in enumerate(zip(new.rows, baseline.rows, strict=True), start=1):
        if unlike := [name for name in kind.identity if row[name] != other.get(name)]:
            return [*found, f"its example {number:,} has another {' and '.join(unlike)}"]
    return found


def _origin(details: Mapping[str, Any]) -> str:
    return Path(str(details.get("data", "unknown"))).name
