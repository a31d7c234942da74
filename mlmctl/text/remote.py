"""Remote files through fsspec: `scheme://...` is the only way to ask for one, and each is read once.

A file is streamed into the spool; folders and globs are listed where the store can list. Which schemes
there are is a matter of the installed drivers; archives and wrappers are never opened.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from .. import extras
from ..errors import DataError, MlmctlError, ResourceError, UsageError, one_line, translated
from ..events import Emit, Note, Progress
from ..storage import check_space
from .compression import CHUNK
from .corpus import shown
from .spool import Kept, Spool

_LOCAL = {"file", "local"}
_ARCHIVES = {"zip", "tar", "libarchive"}
_WEB = ("http://", "https://")
_DENIED, _GONE = (401, 403), (404, 410)
_CONNECT_SECONDS, _READ_SECONDS = 30, 120
_MAGIC = re.compile(r"[*?\[]")

Refusal = Callable[[str], MlmctlError | None]
"""What is wrong with the suffix of a path, if anything is."""


@dataclass(frozen=True)
class _File:
    """A remote file: what to call it, how large it says it is, how to open it."""

    url: str
    size: int | None
    open: Callable[[], Any]


def read(name: str, spool: Spool, emit: Emit, refusal: Refusal) -> list[Kept]:
    """The file, or all files of a folder or glob that `refusal` does not refuse, as they are in the spool.

    Files that were read before are not asked for again, so an interrupted listing goes on. UsageError for
    what does not exist or has no driver, ResourceError for what may not be read or cannot be reached,
    DataError for a folder without a file of a known kind.
    """
    if kept := spool.recall(name):
        emit(Note(f"{public(name)}: as it was read before; --refresh reads it anew"))
        return kept
    with _in_one_line(name):
        files = _listed(name, emit, refusal)
    left = [file for file in files if not spool.recall(file.url)]
    total = sum(file.size or 0 for file in left)
    spool.folder.mkdir(parents=True, exist_ok=True)
    check_space(spool.folder, total)
    done = 0
    for file in left:
        emit(Note(f"reading {public(file.url)}"))
        path = spool.add(_chunks(file, emit, done, total), "remote", _suffixes(file.url))
        spool.remember(file.url, [Kept(public(file.url), path)])
        done += file.size or 0
    kept = [one for file in files for one in spool.recall(file.url) or ()]
    spool.remember(name, kept)
    return kept


def public(name: str) -> str:
    """A remote name as it may be shown and written down: without passwords and signatures."""
    return shown(re.sub(r"//[^/@]*@", "//", name.partition("?")[0] if name.startswith(_WEB) else name))


def path_of(name: str) -> str:
    """The part of a remote name that is a path: its suffix says what is in the file."""
    return urlsplit(name).path if name.startswith(_WEB) else name


def _listed(name: str, emit: Emit, refusal: Refusal) -> list[_File]:
    store, path = _store(name)
    is_web, refused = name.startswith(_WEB), refusal(path_of(name))
    if is_web and refused:  # it lists no folders, so nothing has to be asked
        raise refused
    is_pattern = not is_web and glob.has_magic(path)
    if is_pattern or (not is_web and store.isdir(path)):
        return _chosen(name, store, path, is_pattern, emit, refusal)
    size = store.info(path).get("size")
    if refused:
        raise refused
    return [_File(name, size, partial(store.open, path, "rb"))]


def _chosen(name: str, store: Any, path: str, is_pattern: bool, emit: Emit, refusal: Refusal) -> list[_File]:
    """What of a folder or a glob is read, by the rules for local ones: known suffixes, nothing hidden."""
    entries = store.glob(path, detail=True) if is_pattern else {path: {"type": "directory"}}
    start = _MAGIC.split(path)[0].rpartition("/")[0] if is_pattern else path
    found: dict[str, Any] = {}
    for place, info in entries.items():
        found.update(store.find(place, detail=True) if info["type"] == "directory" else {place: info})
    chosen = sorted((p for p in found if not refusal(p) and "/." not in p[len(start) :]), key=str.encode)
    num_others = len(found) - len(chosen)
    if not found:
        raise UsageError("usage.no-match", "holds or matches no file", where=public(name))
    if not chosen:
        text = f"holds no text ({num_others:,} other files)"
        raise DataError("data.no-text", text, where=public(name))
    if num_others:
        emit(Note(f"{public(name)}: {len(chosen):,} files of text; {num_others:,} others are passed over"))
    return [
        _File(store.unstrip_protocol(p), found[p].get("size"), partial(store.open, p, "rb")) for p in chosen
    ]


def _store(name: str) -> tuple[Any, str]:
    """The file system of fsspec and the path in it."""
    scheme = name.partition("://")[0]
    if scheme in _LOCAL:
        hint = f"without {scheme}://"
        raise UsageError("usage.remote", "is a local path", where=public(name), hint=hint)
    if scheme in _ARCHIVES or "::" in name:
        raise UsageError("usage.remote", "is a path in an archive or a chain of paths", where=public(name))
    fsspec = extras.load("fsspec", "remote", "remote files")
    try:
        if name.startswith(_WEB):
            aiohttp = extras.load("aiohttp", "remote", f"{scheme}:// paths")
            # aiohttp would end every download after five minutes, however well it goes.
            limits = aiohttp.ClientTimeout(None, sock_connect=_CONNECT_SECONDS, sock_read=_READ_SECONDS)
            store, path = fsspec.core.url_to_fs(name, client_kwargs={"timeout": limits})
        else:
            store, path = fsspec.core.url_to_fs(name)
    except ImportError as error:
        found = f"{scheme}:// needs a driver that is not installed: {one_line(error)}"
        raise UsageError("usage.missing-extra", found, where=public(name)) from None
    except ValueError as error:
        hint = "such as https://, s3://, gs:// or hf://datasets/OWNER/NAME"
        raise UsageError("usage.remote", one_line(error), where=public(name), hint=hint) from None
    return store, path


def _chunks(file: _File, emit: Emit, done: int, total: int) -> Iterator[bytes]:
    with _in_one_line(file.url):
        stream = file.open()
    num_bytes = 0
    with closing(stream):
        while True:
            with _in_one_line(file.url):
                chunk = stream.read(CHUNK)
            if not chunk:
                break
            num_bytes += len(chunk)
            emit(Progress("corpus", done + num_bytes, total or None, "bytes"))
            yield chunk
    if file.size is not None and num_bytes != file.size:
        found = f"ended after {num_bytes:,} of {file.size:,} bytes"
        hint = "the same command tries again"
        raise ResourceError("resource.network", found, where=public(file.url), hint=hint)


def _suffixes(url: str) -> str:
    """The suffixes of a file's name, as far as they are plain: they say what is in it."""
    name = PurePosixPath(path_of(url)).name
    suffixes = re.findall(r"\.[A-Za-z0-9]{1,8}(?=\.|$)", name)
    return "".join(suffixes[-2:]).lower()


def _in_one_line(name: str) -> AbstractContextManager[None]:
    """Whatever a driver raises, as an error of ours: each has exceptions of its own."""
    return translated(partial(_translate, name))


def _translate(name: str, error: Exception) -> MlmctlError:
    where = public(name)
    while isinstance(error, FileNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # the driver of the web says so of whatever goes wrong
    status = getattr(error, "status", None)
    if isinstance(error, FileNotFoundError) or status in _GONE:
        return UsageError("usage.no-such-path", "does not exist", where=where)
    if isinstance(error, PermissionError) or status in _DENIED:
        hint = "its driver looks for credentials where it always does: see its documentation"
        return ResourceError("resource.permission", "may not be read", where=where, hint=hint)
    reason = f"status {status}" if status else one_line(error).replace(name, where)
    found = f"cannot be read: {type(error).__name__}: {reason}"
    return ResourceError("resource.network", found, where=where)
