"""Files on disk: written whole or not at all, hashed, synced; the floor under artifacts."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from .errors import ResourceError, UsageError

TEMPORARY = ".tmp-"
"""How the name of everything unfinished begins: what is left of a killed run is deleted by that."""

_CACHE_FROM_BYTES = 16 * 2**20


def sha256_file(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class HashCache:
    """Hashes of large files, remembered by (size, modification time, inode) in one JSON file.

    Only a convenience: `mlmctl verify` never asks it, and a cache that cannot be read is empty.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._known: dict[str, list[Any]] = {}
        self._unread: set[str] = set()
        if path is not None:
            try:
                known = json.loads(path.read_text())
                self._known = known if isinstance(known, dict) else {}
            except (OSError, ValueError):
                pass

    def sha256(self, path: Path) -> str:
        info = path.stat()
        if info.st_size < _CACHE_FROM_BYTES or self._path is None:
            return sha256_file(path)
        state = [info.st_size, info.st_mtime_ns, info.st_ino]
        name = os.path.realpath(path)
        entry = self._known.get(name)
        if isinstance(entry, list) and len(entry) == 4 and entry[:3] == state:
            self._unread.add(name)
            return str(entry[3])
        value = sha256_file(path)
        self._known[name] = [*state, value]
        with suppress(OSError):  # a folder that may only be read
            write_file(self._path, json.dumps(self._known, sort_keys=True).encode())
        return value

    def has_not_read(self, folder: Path) -> bool:
        """Whether a hash of a file in this folder was remembered and not computed: a bit may have flipped."""
        return any(name.startswith(os.path.join(os.path.realpath(folder), "")) for name in self._unread)


@contextmanager
def whole_path(path: Path) -> Iterator[Path]:
    """A temporary name for a file that gets its own, in place of an older one, only when all is on disk.

    The body writes and closes it. If the body raises, nothing is left and the older one stays.
    """
    temporary = path.with_name(f"{TEMPORARY}{secrets.token_hex(8)}")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """The same as a file that is open for writing."""
    with whole_path(path) as temporary, temporary.open("xb") as file:
        yield file


def write_file(path: Path, content: bytes) -> None:
    """Write one small file so that it is whole or absent."""
    with whole_file(path) as file:
        file.write(content)


def check_writable(path: Path) -> None:
    """Before any work is done: whether a file can be written there.

    UsageError for a folder, or in a folder that does not exist; ResourceError where we may not write.
    """
    if path.is_dir() or not path.parent.is_dir():
        found = "is a folder" if path.is_dir() else "lies in a folder that does not exist"
        raise UsageError("usage.output", found, where=str(path))
    place = path if path.exists() else path.parent
    if not os.access(place, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        raise ResourceError("resource.output", "cannot be written", where=str(path), hint="name another")


def check_space(folder: Path, needed: int, held: int = 0) -> None:
    """ResourceError unless `needed` bytes (and a reserve of a twentieth) are free at `folder`.

    `held` bytes of them are there already.
    """
    free = shutil.disk_usage(folder).free
    if free < needed * 1.05 - held:
        raise ResourceError(
            "resource.disk",
            f"needs {needed - held:,} bytes of disk, {free:,} are free",
            where=str(folder),
            hint="free some space or choose another --run folder",
        )


def folder_size(folder: Path) -> int:
    """Bytes of the files in a folder and below it."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def make_folder(path: Path) -> None:
    """Make a folder and what is missing above it, so that their names survive a power cut.

    FileExistsError where a file has one of the names.
    """
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    sync(path.parent)


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's entries, would survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
