"""Artifacts: folders closed by a manifest, published by one function, verified before they are read.

The commit protocol (`publish`): a temporary folder beside the target, the files, an fsync of each,
the manifest last, an fsync of it and of the folders, a rename to a name that does not exist, an fsync
of the parent. A kill at any point leaves the target either absent, old, or new, never half-written.
To replace, the old artifact is first renamed into `.old/` of the run folder; `recover` completes or
undoes a swap that was cut short.

A manifest holds the `key` (what was asked: stage, configuration, inputs) and the `fingerprint` (what
came out: key and the hashes of the files). Paths, times and worker counts are in neither.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from .errors import ArtifactError, one_line
from .storage import TEMPORARY, HashCache, json_bytes, make_folder, sha256_file, sync

T = TypeVar("T")

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"


def canonical(value: Any) -> bytes:
    """The one JSON text of a value: sorted keys, no blanks, no NaN. ValueError for NaN or infinity."""
    return json_bytes(value, sort_keys=True, separators=(",", ":"))


def digest(value: Any) -> str:
    """SHA-256 (hex) of the canonical JSON of a value."""
    return hashlib.sha256(canonical(value)).hexdigest()


@dataclass(frozen=True)
class FileRecord:
    """Size in bytes and SHA-256 of one file of an artifact."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Header:
    """What identifies an artifact before it is made; `config` holds only what is in the key."""

    stage: str
    config: Mapping[str, Any]
    inputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return digest([SCHEMA_VERSION, self.stage, self.config, self.inputs])


@dataclass(frozen=True)
class Manifest:
    """The contents of `manifest.json`: see the module's docstring for key and fingerprint."""

    stage: str
    key: str
    fingerprint: str
    config: Mapping[str, Any]
    inputs: Mapping[str, str]
    outputs: Mapping[str, FileRecord]
    metrics: Mapping[str, Any]
    details: Mapping[str, Any]
    environment: Mapping[str, Any]
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> dict[str, Any]:
        outputs = {name: {"size": r.size, "sha256": r.sha256} for name, r in sorted(self.outputs.items())}
        return {
            "schema_version": self.schema_version,
            "stage": self.stage,
            "key": self.key,
            "fingerprint": self.fingerprint,
            "config": dict(self.config),
            "inputs": dict(self.inputs),
            "outputs": outputs,
            "metrics": dict(self.metrics),
            "details": dict(self.details),
            "environment": dict(self.environment),
        }

    def to_bytes(self) -> bytes:
        """Indented JSON, the last field a checksum over the others, so that any flip is seen."""
        content = self.to_json()
        content["checksum"] = digest(content)
        return json_bytes(content, indent=1) + b"\n"


@dataclass
class Draft:
    """An artifact being written: files go to `path`; `metrics` and `details` go to the manifest."""

    path: Path
    metrics: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)


@contextmanager
def publish(
    target: Path, header: Header, *, environment: Mapping[str, Any] | None = None, old: Path | None = None
) -> Iterator[Draft]:
    """Give the body a draft folder; when it ends well, close it with a manifest as `target`.

    An existing `target` is replaced if `old` (a folder on the same file system to keep it in
    meanwhile) is given, and refused otherwise. If the body raises, nothing is left and `target` is
    as it was.
    """
    make_folder(target.parent)
    if target.is_symlink():
        raise ArtifactError(
            "artifact.link", "is a symbolic link; nothing is written through it", where=str(target)
        )
    draft = Draft(target.parent / f"{TEMPORARY}{target.name}-{secrets.token_hex(4)}")
    draft.path.mkdir()
    try:
        yield draft
        _close(draft, header, environment or {})
        _swap_in(draft.path, target, old)
    except BaseException:
        shutil.rmtree(draft.path, ignore_errors=True)
        raise


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an artifact, checked against itself (schema, checksum, key, fingerprint).

    ArtifactError if the folder or its manifest is missing, damaged, or of a newer schema.
    """
    path = folder / MANIFEST
    try:
        if path.is_symlink():
            raise ArtifactError("artifact.link", "is a symbolic link, not a file", where=str(path))
        content = path.read_bytes()
    except FileNotFoundError:
        what = "has no manifest" if folder.is_dir() else "does not exist"
        raise ArtifactError("artifact.missing", what, where=str(folder)) from None
    try:
        parsed = json.loads(content)
        version = parsed["schema_version"]
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise ArtifactError(
                "artifact.newer-schema",
                f"has schema {version}; this mlmctl reads up to {SCHEMA_VERSION}",
                where=str(path),
                hint="upgrade mlmctl",
            )
        if isinstance(version, int) and version < SCHEMA_VERSION:
            raise ArtifactError(
                "artifact.older-schema",
                f"has schema {version}; this mlmctl reads {SCHEMA_VERSION} only",
                where=str(path),
                hint=_REMAKE,
            )
        parsed.pop("checksum")
        outputs = {n: FileRecord(r["size"], r["sha256"]) for n, r in parsed.pop("outputs").items()}
        manifest = Manifest(outputs=outputs, **parsed)
        sound = (
            manifest.to_bytes() == content
            and manifest.key == Header(manifest.stage, manifest.config, manifest.inputs).key
            and manifest.fingerprint == _fingerprint(manifest.key, outputs)
            and isinstance(manifest.stage, str)
            and all(isinstance(getattr(manifest, name), dict) for name in _OBJECTS)
        )
    except ArtifactError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        sound = False
    if not sound:
        raise ArtifactError("artifact.damaged", "the manifest is damaged", where=str(path), hint=_REMAKE)
    return manifest


def open_artifact(folder: Path, cache: HashCache | None = None) -> Manifest:
    """The manifest of an artifact all of whose files have just been verified, byte for byte.

    ArtifactError names the first file that is missing, a link, of another size or another hash.
    Files that the manifest does not record are not looked at, and must not be read.
    """
    manifest = read_manifest(folder)
    for fault in faults(folder, manifest, cache):
        raise fault
    return manifest


def faults(folder: Path, manifest: Manifest, cache: HashCache | None = None) -> Iterator[ArtifactError]:
    """One error for each recorded file that is not what was recorded; none for a whole artifact."""
    for name, record in manifest.outputs.items():
        try:
            _check(folder, name, record, cache)
        except ArtifactError as error:
            yield error


def _check(folder: Path, name: str, record: FileRecord, cache: HashCache | None) -> None:
    path = folder / name
    if name.startswith("/") or ".." in Path(name).parts or "\0" in name:
        raise ArtifactError("artifact.outside", "lies outside its artifact", where=str(path))
    try:
        info = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        raise ArtifactError(
            "artifact.missing-file", "is recorded but missing", where=str(path), hint=_REMAKE
        ) from None
    if not stat.S_ISREG(info.st_mode) or path.parent.resolve() != folder.resolve() / Path(name).parent:
        raise ArtifactError("artifact.link", "is not a regular file", where=str(path))
    if info.st_size != record.size:
        found = f"has {info.st_size} bytes, not the {record.size} recorded"
        raise ArtifactError("artifact.damaged", found, where=str(path), hint=_REMAKE)
    found_hash = cache.sha256(path) if cache else sha256_file(path)
    if found_hash != record.sha256:
        raise ArtifactError(
            "artifact.damaged", "its SHA-256 is not the one recorded", where=str(path), hint=_REMAKE
        )


def recover(run: Path) -> list[str]:
    """Complete or undo swaps that a kill cut short, delete leftovers; what was done, in words.

    Must be called under the run folder's lock: every temporary folder is then nobody's.
    """
    done = []
    old = run / ".old"
    refuse_links(run, old)
    for kept in sorted(old.rglob(MANIFEST), key=lambda p: len(p.parts)) if old.is_dir() else []:
        target = run / kept.parent.relative_to(old)
        if not target.exists():
            make_folder(target.parent)
            kept.parent.rename(target)
            sync(target.parent)
            sync(kept.parent.parent)
            done.append(f"put back {target.relative_to(run)}, whose replacement was cut short")
    if old.is_dir():
        shutil.rmtree(old)
    for folder, names, files in os.walk(run):
        for name in [n for n in names if n.startswith(TEMPORARY)]:
            names.remove(name)
            if (Path(folder) / name).is_symlink():
                continue  # none of ours
            shutil.rmtree(Path(folder) / name, ignore_errors=True)
            done.append(f"removed {name}, left by a run that was killed")
        for name in [n for n in files if n.startswith(TEMPORARY)]:
            (Path(folder) / name).unlink(missing_ok=True)
    return done


def recover_target(target: Path, old: Path) -> None:
    """The same for one artifact outside a run folder; `old` is where `publish` keeps what it replaces.

    Must be called under a lock of those who publish there.
    """
    if (old / MANIFEST).exists() and not target.exists():
        old.rename(target)
        sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)
    unfinished = re.compile(re.escape(f"{TEMPORARY}{target.name}-") + "[0-9a-f]{8}")
    for left in [path for path in target.parent.iterdir() if unfinished.fullmatch(path.name)]:
        shutil.rmtree(left, ignore_errors=True)


def refuse_links(run: Path, path: Path) -> None:
    """ArtifactError if anything on the way from the run folder down to `path` is a symbolic link.

    The run folder itself may be one: it is the user's. What lies in it is ours, and a link there would lead
    what is written, moved or deleted to a place that nobody named.
    """
    for place in (path, *path.parents):
        if place == run:
            return
        if place.is_symlink():
            raise ArtifactError(
                "artifact.link", "is a symbolic link; nothing is written through it", where=str(place)
            )


def read_json(path: Path, make: Callable[[dict[str, Any]], T]) -> T:
    """What `make` builds of the JSON object in a small file.

    ArtifactError if the file is missing or too large, is no JSON object, or is one that `make` cannot use.
    """
    try:
        return make(parse_json(path))
    except FileNotFoundError:
        raise ArtifactError("artifact.missing-file", "does not exist", where=str(path)) from None
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        found_out = f"cannot be read: {one_line(error)}"
        raise ArtifactError("artifact.damaged", found_out, where=str(path), hint=_REMAKE) from None


def parse_json(path: Path) -> dict[str, Any]:
    """The JSON object in a small file, whoever wrote it; ValueError or RecursionError if it is none."""
    with path.open("rb") as file:
        content = file.read(_MAX_JSON + 1)
    if len(content) > _MAX_JSON:
        raise ValueError(f"it has more than {_MAX_JSON:,} bytes")
    if content.count(b"[") > _MAX_LISTS:
        raise ValueError(f"it has more than {_MAX_LISTS:,} lists")
    found = json.loads(content)
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")
    return found


_REMAKE = "make it again: --force with the stage's name"
_OBJECTS = ("config", "inputs", "metrics", "details", "environment")
_MAX_JSON = 2**22
"""Bytes: far above what is written here, and what parses to less than 200 MB whatever it holds."""
_MAX_LISTS = 2**16
"""Of which Python's collector of garbage takes a second for a million."""


def _fingerprint(key: str, outputs: Mapping[str, FileRecord]) -> str:
    return digest([key, {name: record.sha256 for name, record in outputs.items()}])


def _close(draft: Draft, header: Header, environment: Mapping[str, Any]) -> None:
    outputs: dict[str, FileRecord] = {}
    folders = {draft.path}
    for path in sorted(draft.path.rglob("*")):
        if path.is_symlink():
            raise ArtifactError("artifact.link", "a link in an artifact", where=str(path))
        if path.is_dir():
            folders.add(path)
            continue
        name = path.relative_to(draft.path).as_posix()
        outputs[name] = FileRecord(path.stat().st_size, sha256_file(path))
        sync(path)
    manifest = Manifest(
        stage=header.stage,
        key=header.key,
        fingerprint=_fingerprint(header.key, outputs),
        config=header.config,
        inputs=header.inputs,
        outputs=outputs,
        metrics=draft.metrics,
        details=draft.details,
        environment=environment,
    )
    with (draft.path / MANIFEST).open("xb") as file:
        file.write(manifest.to_bytes())
        file.flush()
        os.fsync(file.fileno())
    for folder in folders:
        sync(folder)


def _swap_in(new: Path, target: Path, old: Path | None) -> None:
    replaced = target.exists()
    if replaced:
        if old is None:
            raise ArtifactError("artifact.exists", "exists and is never overwritten", where=str(target))
        if old.exists():
            shutil.rmtree(old)
        make_folder(old.parent)
        target.rename(old)
        sync(old.parent)
        sync(target.parent)
    new.rename(target)
    sync(target.parent)
    if replaced and old is not None:
        shutil.rmtree(old)
