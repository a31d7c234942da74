"""Artifacts: folders closed by a manifest, published by one function, verified before they are read.

The commit protocol (`publish`): a temporary folder beside the target, the files, an fsync of each,
the manifest last, an fsync of it and of the folders, a rename to a name that does not exist, an fsync
of the parent. A kill at any point leaves the target either absent, old, or new, never half-written.
To replace, the old artifact is first renamed into `.old/` of the run folder; `recover` completes or
undoes a swap that was cut short.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import ArtifactError
from .json_files import REMAKE
from .manifest import MANIFEST, FileRecord, Header, Manifest, fingerprint_of, is_manifest, read_manifest
from .storage import TEMPORARY, HashCache, make_folder, sha256_file, sync

PATTERNS = ("tokenizer", "mask/blocks", "mask/policy", "pretrain", "finetune/*", "evaluate/*/*")
"""Where the artifacts of a run folder are."""
LOCK = ".lock"
"""What every run folder holds."""

_DRAFT = "-" + "[0-9a-f]" * 8
_FILE = TEMPORARY + "[0-9a-f]" * 16
_UNFINISHED = (
    *(str(Path(pattern).with_name(TEMPORARY + Path(pattern).name + _DRAFT)) for pattern in PATTERNS),
    *(f"{place}/{TEMPORARY}*{_DRAFT}" for place in (".work/**", ".spool")),
    *(f"{place}/{_FILE}" for place in (".", ".work/**", ".spool")),
)
"""Names of what a kill leaves, where it is written: what others call alike elsewhere is theirs, and so is
another run folder inside this one, which may be in use."""


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
            check_file(folder, name, record, cache)
        except ArtifactError as error:
            yield error


def check_file(folder: Path, name: str, record: FileRecord, cache: HashCache | None = None) -> None:
    """ArtifactError unless this file of an artifact is what was recorded of it."""
    path = folder / name
    if name.startswith("/") or ".." in Path(name).parts or "\0" in name:
        raise ArtifactError("artifact.outside", "lies outside its artifact", where=str(path))
    try:
        info = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        raise ArtifactError(
            "artifact.missing-file", "is recorded but missing", where=str(path), hint=REMAKE
        ) from None
    if not stat.S_ISREG(info.st_mode) or path.parent.resolve() != folder.resolve() / Path(name).parent:
        raise ArtifactError("artifact.link", "is not a regular file", where=str(path))
    if info.st_size != record.size:
        found = f"has {info.st_size} bytes, not the {record.size} recorded"
        raise ArtifactError("artifact.damaged", found, where=str(path), hint=REMAKE)
    found_hash = cache.sha256(path) if cache else sha256_file(path)
    if found_hash != record.sha256:
        raise ArtifactError(
            "artifact.damaged", "its SHA-256 is not the one recorded", where=str(path), hint=REMAKE
        )


def is_ours(folder: Path) -> bool:
    """Whether a folder is a run folder or claims to be an artifact; what is in it is not looked at."""
    return (folder / LOCK).exists() or is_manifest(folder / MANIFEST)


def recover(run: Path) -> list[str]:
    """Complete or undo swaps that a kill cut short, delete leftovers; what was done, in words.

    Must be called under the run folder's lock: every temporary folder is then nobody's.
    """
    done = []
    old = run / ".old"
    refuse_links(run, old)
    for kept in _ours(run, [f"{old.name}/{pattern}" for pattern in PATTERNS]):
        target = run / kept.relative_to(old)
        if (kept / MANIFEST).exists() and not target.exists():
            make_folder(target.parent)
            kept.rename(target)
            sync(target.parent)
            sync(kept.parent)
            done.append(f"put back {target.relative_to(run)}, whose replacement was cut short")
        else:
            shutil.rmtree(kept, ignore_errors=True)
    for folder in [*sorted(old.rglob("*"), reverse=True), old]:
        with suppress(OSError):  # others have put something there
            folder.rmdir()
    for left in _ours(run, _UNFINISHED):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
            done.append(f"removed {left.name}, left by a run that was killed")
        else:
            left.unlink(missing_ok=True)
    return done


def _ours(run: Path, patterns: Iterable[str]) -> list[Path]:
    """What a run folder holds under these names, and not behind a link."""
    found = sorted({path for pattern in patterns for path in run.glob(pattern)})
    return [path for path in found if _link(run, path) is None]


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
    if link := _link(run, path):
        raise ArtifactError(
            "artifact.link", "is a symbolic link; nothing is written through it", where=str(link)
        )


def _link(run: Path, path: Path) -> Path | None:
    within = path.relative_to(run)
    places = [run / place for place in (within, *within.parents) if place != Path()]
    return next((place for place in places if place.is_symlink()), None)


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
        fingerprint=fingerprint_of(header.key, outputs),
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
