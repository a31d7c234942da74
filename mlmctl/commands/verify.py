"""`mlmctl verify`: every byte of a run folder against what was recorded, and the chain that made it.

Three questions, answered offline and without the cache of hashes: is every recorded file what it was when it
was published; was every artifact made from the ones that lie beside it now; are corpus, labelled data and
models from elsewhere still the ones that were read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..artifact import PATTERNS, faults
from ..errors import ArtifactError, MlmctlError, UsageError
from ..events import Emit, Progress, silent
from ..manifest import MANIFEST, Manifest, read_manifest
from ..pipeline import inputs
from ..storage import HashCache
from ..text.corpus import fingerprint, is_remote, resolve

_CHECKPOINTS = ".work/*/checkpoints/step-*"
_ITSELF = "."
"""A folder that is an artifact by itself: an export, or one of a run."""


@dataclass(frozen=True)
class Finding:
    """One artifact or input: `state` is `ok`, `damaged`, `changed` (it is not what was read) or `absent`.

    `absent` is an input from outside that is not there to be checked: no fault of the run folder.
    """

    name: str
    state: str
    found: str
    num_files: int = 0
    num_bytes: int = 0
    unrecorded: tuple[str, ...] = ()
    """Files that no manifest records: they are never read."""

    @property
    def is_fault(self) -> bool:
        return self.state in ("damaged", "changed")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def run(folder: Path, emit: Emit = silent) -> list[Finding]:
    """One finding for every artifact, checkpoint and input, and of what is damaged for every file.

    UsageError if there is no such run folder, or no artifact in it.
    """
    if not folder.is_dir():
        raise UsageError("usage.no-run", "there is no such run folder", where=str(folder), hint="--run DIR")
    patterns = [_ITSELF, *PATTERNS, _CHECKPOINTS]
    paths = [path.parent for pattern in patterns for path in sorted(folder.glob(f"{pattern}/{MANIFEST}"))]
    manifests: dict[str, Manifest] = {}
    findings = [
        Finding(str(path.relative_to(folder)), "damaged", f"{MANIFEST} is gone") for path in _bare(folder)
    ]
    if not paths and not findings:
        raise UsageError("usage.no-run", "nothing is there to verify", where=str(folder), hint="--run DIR")
    for number, path in enumerate(paths):
        name = str(path.relative_to(folder))
        emit(Progress("verify", number, len(paths), "artifacts", name))
        try:
            manifest = read_manifest(path)
        except ArtifactError as error:
            findings.append(Finding(name, "damaged", str(error)))
            continue
        damages = [Finding(name, "damaged", str(fault)) for fault in faults(path, manifest)]
        findings += damages
        if not damages:
            manifests[name] = manifest
    for name, manifest in manifests.items():
        findings.append(_whole(folder, name, manifest))
        findings += _chain(folder, name, manifest, manifests)
    return findings


def _bare(folder: Path) -> Iterator[Path]:
    """Folders where artifacts lie, without what says what they are. (A dot begins the name of a draft.)"""
    for pattern in PATTERNS:
        for path in sorted(folder.glob(pattern)):
            if path.is_dir() and not path.name.startswith(".") and not (path / MANIFEST).exists():
                yield path


def _whole(folder: Path, name: str, manifest: Manifest) -> Finding:
    present = {p.relative_to(folder / name).as_posix() for p in (folder / name).rglob("*") if not p.is_dir()}
    unrecorded = tuple(sorted(present - manifest.outputs.keys() - {MANIFEST}))
    sizes = [record.size for record in manifest.outputs.values()]
    found = f"not recorded, never read: {', '.join(unrecorded[:3])}" if unrecorded else ""
    return Finding(name, "ok", found, len(sizes), sum(sizes), unrecorded)


def _chain(
    folder: Path, name: str, manifest: Manifest, manifests: Mapping[str, Manifest]
) -> Iterator[Finding]:
    """What the artifact was made from, where it is not what lies there now."""
    for role, path in manifest.details.get("reads", {}).items():
        if path in manifests:
            is_same = manifests[path].fingerprint == manifest.inputs.get(role)
            if not is_same:
                yield Finding(f"{name} < {path}", "changed", f"was made with another {path}")
        elif not (folder / path).is_dir():
            yield Finding(f"{name} < {path}", "absent", "is not there: not checked")
        elif not Path(path).is_relative_to(folder) and Path(path).is_absolute():
            yield from _outside(f"{name} < {path}", manifest.inputs.get(role), lambda p=path: _model(Path(p)))
    paths = manifest.details.get("corpus")
    if paths and "corpus" in manifest.inputs:
        column = str(manifest.config.get("text_column", "text"))
        spool = folder / inputs.SPOOL
        yield from _outside(
            f"{name} < corpus",
            manifest.inputs["corpus"],
            lambda: _corpus([inputs.in_spool(folder, path) for path in paths], spool, column),
        )
    data = manifest.details.get("data")
    if data and "data" in manifest.inputs:
        is_pairs, recorded = manifest.config.get("task") == "pairs", manifest.inputs["data"]
        path = Path(data)
        if is_remote(data):  # read once, into a file that is named by what it held
            path = inputs.read_from(folder, recorded) or path
        yield from _outside(f"{name} < data", recorded, lambda: _data(path, is_pairs))


def _outside(name: str, recorded: str | None, compute: Any) -> Iterator[Finding]:
    try:
        found = compute()
    except (OSError, MlmctlError) as error:
        yield Finding(name, "absent", f"{error}: not checked")
        return
    if found == recorded:
        yield Finding(name, "ok", "is what was read")
    else:
        yield Finding(name, "changed", "is no longer what was read")


def _corpus(paths: list[str], spool: Path, column: str) -> str:
    """A manifest names files by their whole paths: whatever else stands there is not looked up, anywhere."""
    for path in paths:
        if not Path(path).is_absolute():
            raise UsageError("usage.no-such-path", "is no file on this machine", where=path)
    return fingerprint(resolve(paths, spool, silent, column), HashCache(None).sha256)


def _model(folder: Path) -> str:
    return inputs.model(folder, HashCache(None))


def _data(path: Path, is_pairs: bool) -> str:
    cache = HashCache(None)
    return inputs.pairs(str(path), cache).fingerprint if is_pairs else cache.sha256(path)
