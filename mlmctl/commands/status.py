"""`mlmctl status`: what a run folder holds, and whether its parts were made for each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..artifact import PATTERNS
from ..errors import ArtifactError, UsageError
from ..manifest import MANIFEST, Manifest, read_manifest

OK = "ok"
_FACTS = (
    "vocab_size",
    "num_train_tokens",
    "valid_loss",
    "num_steps",
    "accuracy",
    "f1",
    "exact_match",
    "macro_f1",
    "num_examples",
)


@dataclass(frozen=True)
class Row:
    """One artifact: `state` is `ok`, `damaged`, `begun`, or what it no longer fits."""

    name: str
    state: str
    facts: str
    fingerprint: str | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def run(folder: Path) -> list[Row]:
    """One row for every artifact and for every stage that was begun; reads manifests only.

    UsageError if there is no such run folder.
    """
    if not folder.is_dir():
        raise UsageError("usage.no-run", "there is no such run folder", where=str(folder), hint="--run DIR")
    manifests: dict[str, Manifest] = {}
    rows = []
    for pattern in PATTERNS:
        for path in sorted(folder.glob(f"{pattern}/{MANIFEST}")):
            name = str(path.parent.relative_to(folder))
            try:
                manifests[name] = read_manifest(path.parent)
            except ArtifactError as error:
                rows.append(Row(name, "damaged", error.message))
    rows += [Row(name, state_of(m, manifests), _facts(m), m.fingerprint) for name, m in manifests.items()]
    return rows + [Row(name, "begun", "the same command continues") for name in _begun(folder, manifests)]


def state_of(manifest: Manifest, manifests: Mapping[str, Manifest]) -> str:
    """Whether an artifact is `ok` among all of its run folder, or what it no longer fits."""
    for name, path in manifest.details.get("reads", {}).items():
        beside = manifests.get(path)
        if beside is not None and beside.fingerprint != manifest.inputs.get(name):
            return f"made with another {path}"
    return OK


def _facts(manifest: Manifest) -> str:
    found = [(name, manifest.metrics.get(name)) for name in _FACTS]
    known = [(name, value) for name, value in found if isinstance(value, int | float)]
    facts = [
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value:,}" for name, value in known
    ]
    if manifest.details.get("built_in_data"):
        facts.append("built-in data")
    return ", ".join(facts)


def _begun(folder: Path, manifests: Mapping[str, Manifest]) -> list[str]:
    begun = {
        path.parent.name.rpartition("-")[0].replace("+", "/") for path in folder.glob(".work/*/request.json")
    }
    return sorted(begun - manifests.keys())
