"""Which files a corpus is: names on the command line become a list of `Source`.

Formats and compressions are two explicit tables of suffixes. Nothing is guessed from the content but of
standard input, which has no name, and nothing outside the tables is read: an archive, a picture or a model
file in a folder of text would otherwise become training data without anybody noticing.
"""

from __future__ import annotations

import errno
import functools
import glob
import itertools
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..artifact import is_ours
from ..errors import DataError, UsageError
from ..events import Emit, Note
from ..json_files import json_object
from ..manifest import digest
from .compression import CHUNK, COMPRESSIONS
from .spool import Spool

FORMATS = {
    ".txt": "text",
    ".md": "text",
    ".jsonl": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
"""Suffix to format: plain text (Markdown is read as it stands), or rows with named columns."""

STDIN = "-"
_MAX_LINE = 2**24
"""Bytes of the first line on standard input that are looked at: about what a row may have."""
_ARCHIVES = {".zip", ".tar", ".tgz", ".tbz", ".tbz2", ".txz", ".tzst", ".7z", ".rar", ".jar"}
_COMPRESSED_INSIDE = ".parquet"
_TABLE = (
    " ".join(suffix for suffix in FORMATS if suffix != _COMPRESSED_INSIDE)
    + f", plain or with {' '.join(COMPRESSIONS)}, and {_COMPRESSED_INSIDE}"
)
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_ALMOST_REMOTE = re.compile(r"(s3|gs|gcs|abfs|az|https?|hf|ftp|sftp):", re.IGNORECASE)
COMPRESSED_RATIO = 4
_SPLIT = "train"
"""Of a data set from a hub, where none is named."""


@dataclass(frozen=True)
class Source:
    """One file of the corpus."""

    path: Path
    name: str
    """As shown to people: what they wrote, with unprintable characters escaped."""
    compression: str
    """"" or one of `COMPRESSIONS`."""
    size: int
    """Bytes on disk."""
    format: str
    """One of `FORMATS`."""

    @property
    def is_compressed(self) -> bool:
        """Whether its text is larger than the file."""
        return bool(self.compression) or self.format == "parquet"


def resolve(
    paths: Sequence[str], spool: Path, emit: Emit, column: str = "text", scratch: Path | None = None
) -> list[Source]:
    """The files that `paths` name (files, folders, globs, `-`, remote ones), in order, each file once.

    Folders are searched recursively for known suffixes, sorted by the bytes of the relative path; passed
    over are hidden entries, links to folders, run folders and artifacts in them, and also those that a glob
    matches or that are named beside others. Standard input and what is remote is read into the folder `spool`
    under the hash of its content; of a data set that is the `column`. With `scratch`, what `spool` does not
    have yet is read into that folder instead.

    UsageError for a path that does not exist; DataError for what exists but is not text of a known kind;
    ResourceError for what is remote and cannot be read.
    """
    if not paths:
        raise UsageError("usage.no-corpus", "no corpus is named", hint="name files, folders or - for stdin")
    new = unread(paths, spool, column) if scratch else []
    sources: dict[str, Source] = {}
    for path in paths:
        folder = scratch if scratch and path in new else spool
        for source in _found(path, Spool(folder), emit, column, is_alone=len(paths) == 1):
            known = sources.setdefault(os.path.realpath(source.path), source)
            if known is not source:
                emit(Note(f"{source.name} is named twice and read once"))
    if not sources:
        raise DataError(
            "data.no-text",
            "names no text beside run folders and artifacts",
            where=", ".join(map(shown, paths[:3])),
            hint="name the files of text",
        )
    return list(sources.values())


def fingerprint(sources: Sequence[Source], hash_file: Callable[[Path], str]) -> str:
    """Hash of the raw contents in order and of how they are read; names and places are not in it."""
    return digest([[source.format, source.compression, hash_file(source.path)] for source in sources])


def text_bytes(sources: Sequence[Source]) -> int:
    """About how many bytes of text there are: what is compressed becomes four times as much."""
    return sum(source.size * (COMPRESSED_RATIO if source.is_compressed else 1) for source in sources)


def unread(paths: Sequence[str], spool: Path, column: str = "text") -> list[str]:
    """Those of `paths` that `resolve` would have to read first: remote and not in the spool, or `-`."""
    return [
        path
        for path in paths
        if path == STDIN or (is_remote(path) and not Spool(spool).recall(_known_as(path, column)))
    ]


def is_remote(path: str) -> bool:
    """Whether a path asks for what is not on this machine; only `scheme://` does."""
    return _REMOTE.match(path) is not None


def shown(path: str) -> str:
    """A path as it may be printed: escape sequences and undecodable bytes as backslash escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in path)


def _found(path: str, spool: Spool, emit: Emit, column: str, is_alone: bool) -> Iterator[Source]:
    if path == STDIN:
        yield _standard_input(spool, emit)
        return
    if is_remote(path):
        yield from _remote(path, spool, emit, column)
        return
    mode = _mode(path)
    if mode is None:
        yield from _matches(path, emit)
    elif not stat.S_ISDIR(mode):
        yield source_of(path)
    elif is_ours(Path(path)) and not is_alone:  # a shell has put the names for a `*`
        emit(_ours_is_passed_over(path))
    else:
        yield from _folder(path, emit)


def _standard_input(spool: Spool, emit: Emit) -> Source:
    """What comes in: JSON Lines if its first line that is not blank is a JSON object, else text."""
    given, head, line = sys.stdin.buffer, bytearray(), b""
    while not line.strip() and len(head) < CHUNK and (line := given.readline(_MAX_LINE)):
        head += line
    suffix = ".txt"
    if json_object(line.decode("utf-8-sig", "replace")) is not None:  # whatever the encoding of its texts
        suffix = ".jsonl"
        emit(Note("standard input begins with a JSON object: it is read as JSON Lines (save text as .txt)"))
    chunks = itertools.chain([bytes(head)], iter(lambda: given.read(CHUNK), b""))
    spooled = spool.add(chunks, "stdin", suffix)
    return Source(spooled, "standard input", "", spooled.stat().st_size, FORMATS[suffix])


def _matches(pattern: str, emit: Emit) -> Iterator[Source]:
    """What a glob matches, but for what lies in run folders and artifacts that it does not name itself."""
    names = sorted(glob.glob(pattern, recursive=True), key=os.fsencode) if glob.has_magic(pattern) else []
    if not names:
        raise _missing(pattern)
    num_named = len([*itertools.takewhile(lambda part: not glob.has_magic(part), Path(pattern).parts)])
    is_known, told = functools.cache(is_ours), set()
    for name in names:
        path = Path(name)
        above = [folder for folder in [*reversed(path.parents), path] if len(folder.parts) > num_named]
        ours = next(filter(is_known, above), None)
        if ours is None:
            yield from _folder(name, emit) if os.path.isdir(name) else [source_of(name)]
        elif ours not in told:
            told.add(ours)
            emit(_ours_is_passed_over(str(ours)))


def _mode(path: str) -> int | None:
    """The file mode behind a path, None where there is nothing; DataError for a link that leads nowhere."""
    try:
        return os.stat(path).st_mode
    except ValueError:
        raise UsageError("usage.path", "is not a path", where=shown(path)) from None
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise
        if os.path.islink(path):
            end = "leads in a circle" if error.errno == errno.ELOOP else "does not exist"
            found = f"is a link to {shown(os.readlink(path))}, which {end}"
            raise DataError("data.dangling-link", found, where=shown(path)) from None
        return None


def _remote(path: str, spool: Spool, emit: Emit, column: str) -> Iterator[Source]:
    from . import hub_datasets, remote

    if is_dataset(path):
        kept = hub_datasets.read(path, spool, emit, _SPLIT, [column])
    else:
        kept = remote.read(path, spool, emit, lambda name: _refusal(name, remote.public(path)))
    for one in kept:
        compression, form = kind_of(one.path.name) or ("", "text")
        yield Source(one.path, one.name, compression, one.path.stat().st_size, form)


def is_dataset(path: str) -> bool:
    """Whether a remote path is a data set of the hub, and not a file of one."""
    return path.startswith("hf://datasets/") and kind_of(path) is None


def _known_as(path: str, column: str) -> str:
    from . import hub_datasets

    return hub_datasets.key(path, _SPLIT, [column]) if is_dataset(path) else path


def _missing(path: str) -> UsageError:
    if glob.has_magic(path):
        return UsageError("usage.no-match", "no file matches this pattern", where=shown(path))
    hint = "check the spelling and the working folder"
    if _HUB_NAME.fullmatch(path) and Path(path).suffix not in FORMATS | COMPRESSIONS:
        hint = f"nothing was looked up on a network; a data set of the hub is hf://datasets/{path}"
    elif _ALMOST_REMOTE.match(path):
        hint = "nothing was looked up on a network; remote paths begin with a scheme and ://"
    return UsageError("usage.no-such-path", "does not exist", where=shown(path), hint=hint)


def source_of(path: str) -> Source:
    """One file by the tables of suffixes; DataError for what is no regular file of a known kind."""
    mode = _mode(path)
    if mode is None or not stat.S_ISREG(mode):
        raise DataError(
            "data.not-a-file", "is not a regular file", where=shown(path), hint="use - for standard input"
        )
    if refused := _refusal(path, shown(path)):
        raise refused
    compression, form = kind_of(path) or ("", "text")
    return Source(Path(path), shown(path), compression, os.stat(path).st_size, form)


def _refusal(path: str, where: str) -> DataError | None:
    """What is wrong with the suffix of a path, if anything is."""
    if kind_of(path) is not None:
        return None
    suffix = Path(path).suffix.lower()
    if suffix in _ARCHIVES or any(s.lower() == ".tar" for s in Path(path).suffixes):
        found, hint = "is an archive; none is ever unpacked", "unpack it first"
        return DataError("data.archive", found, where=where, hint=hint)
    return DataError(
        "data.unknown-suffix",
        f"has {'the suffix ' + shown(suffix) if suffix else 'no suffix'}; read are {_TABLE}",
        where=where,
        hint="rename it; text or JSON Lines can be piped in through -",
    )


def kind_of(path: str) -> tuple[str, str] | None:
    """(compression, format) of a file by the tables of suffixes, None if they do not know it."""
    suffix, compression = suffix_of(Path(path))
    form = FORMATS.get(suffix)
    if form is None or (compression and suffix == _COMPRESSED_INSIDE):
        return None
    return compression, form


def suffix_of(path: Path) -> tuple[str, str]:
    """(suffix that says what is in a file, compression), in lower case: `.txt` and `gzip` of `a.txt.gz`."""
    *others, last = "", *(suffix.lower() for suffix in path.suffixes)
    compression = COMPRESSIONS.get(last, "")
    return (others[-1] if compression else last), compression


def _folder(folder: str, emit: Emit) -> Iterator[Source]:
    names, num_others = [], 0
    for parent, folders, files in os.walk(folder, onerror=_raise):
        seen = [name for name in folders if not name.startswith(".")]
        # What commands have written (logs, predictions, a vocabulary) is nothing to learn from.
        folders[:] = [name for name in seen if not is_ours(Path(parent, name))]
        for name in sorted({*seen} - {*folders}):
            emit(_ours_is_passed_over(os.path.join(parent, name)))
        for path in sorted(os.path.join(parent, name) for name in folders):
            if os.path.islink(path):
                emit(Note(f"{shown(path)} is passed over: it is a link to a folder; name it too to read it"))
        for name in files:
            if name.startswith(".") or kind_of(name) is None:
                num_others += 1
            else:
                names.append(os.path.relpath(os.path.join(parent, name), folder))
    if not names:
        what = "is a run folder or an artifact and " if is_ours(Path(folder)) else ""
        raise DataError(
            "data.no-text",
            f"{what}holds no text ({num_others:,} other files); read are {_TABLE}",
            where=shown(folder),
        )
    if num_others:
        emit(Note(f"{shown(folder)}: {len(names):,} files of text; {num_others:,} others are passed over"))
    for name in sorted(names, key=os.fsencode):
        yield source_of(os.path.join(folder, name))


def _ours_is_passed_over(path: str) -> Note:
    return Note(f"{shown(path)} is passed over: a run folder or an artifact is no corpus")


def _raise(error: OSError) -> None:
    raise error
