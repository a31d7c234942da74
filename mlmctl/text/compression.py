"""From a compressed file to its bytes: streamed, every member of it, and stopped if it explodes.

Compressions are an explicit table of suffixes. A file is any number of members (gzip, bzip2), streams
(xz) or frames (zstd) one behind the other, as `cat a.gz b.gz` makes it; NUL bytes between them are
padding. The readers of the standard library do not agree on what follows the first member (some stop
there without a word), so one loop over its decompressors serves all.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from ..errors import DataError, UsageError

AtByte = Callable[[int], None]

COMPRESSIONS = {".gz": "gz", ".zst": "zst", ".xz": "xz", ".bz2": "bz2"}
"""Last suffix to compression."""

CHUNK = 2**20
"""Bytes handed on at once."""

_READ = 2**17
_MAX_RATIO = 1000
_RATIO_FROM = 100 * 2**20
_MAX_XZ_MEMORY = 2**28
"""Bytes: four times what `xz -9` needs; a header may ask for gigabytes. zstd itself stops at 128 MiB."""


class _Decompressor(Protocol):
    """What `bz2`, `lzma` and `zstd` have in common: the state of one member."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


@dataclass(frozen=True)
class _Kind:
    name: str
    magic: bytes
    command: str
    """What decompresses it to a pipe."""
    load: Callable[[], tuple[Callable[[], _Decompressor], type[Exception]]]
    """(maker of a decompressor, what it raises for data that is not its own); imports the library."""


def decompressed(file: BinaryIO, compression: str, name: str, at_byte: AtByte) -> Iterator[bytes]:
    """The bytes in `file`, in pieces of at most `CHUNK`; `at_byte` is told how far the file has been read.

    DataError `data.gzip`, `data.zstd`, `data.xz` or `data.bzip2` for what is damaged, not of that kind or
    ends too early (`name` is the file as shown to people), `data.ratio` for what explodes.
    """
    kind = _KINDS[compression]
    make, damage = kind.load()
    worker: _Decompressor | None = None
    data = b""  # read, and not yet given to a decompressor
    num_read = num_bytes = num_members = 0
    while True:
        if not data and (worker is None or worker.needs_input):
            data = file.read(_READ)
            num_read += len(data)
            if not data:
                break
        if worker is None:
            data = data.lstrip(b"\0") if num_members else data
            if not data:
                continue
            worker = make()
            num_members += 1
        try:
            piece = worker.decompress(data, CHUNK)
        except damage as error:
            raise _refusal(kind, f"is damaged, or not {kind.name} ({error})", num_bytes, name) from None
        data = b""
        if worker.eof:
            data, worker = worker.unused_data, None
        num_bytes += len(piece)
        check_ratio(num_bytes, num_read, name)
        at_byte(num_read)
        if piece:
            yield piece
    if worker is not None or not num_members:
        raise _refusal(kind, "ends too early", num_bytes, name)


def check_ratio(num_bytes: int, num_read: int, name: str) -> None:
    """DataError `data.ratio` if so few bytes on disk became so many that it must be on purpose."""
    if num_bytes > _RATIO_FROM and num_bytes > _MAX_RATIO * num_read:
        found = f"{num_read:,} bytes became more than {num_bytes:,}: refused as an explosion"
        raise DataError("data.ratio", found, where=name)


def way_out(start: bytes) -> str | None:
    """The hint for a file that was taken to be text and begins like a compressed one, else None."""
    for suffix, key in COMPRESSIONS.items():
        kind = _KINDS[key]
        if start.startswith(kind.magic):
            return f"this is {kind.name}: name the file {suffix}, or pipe it through {kind.command}"
    return None


def _refusal(kind: _Kind, what: str, num_bytes: int, name: str) -> DataError:
    code = f"data.{kind.name}"
    return DataError(code, f"the {kind.name} data {what} after {num_bytes:,} bytes of text", where=name)


class _Gunzip:
    """zlib's decompressor with the interface of the others; zlib checks length and CRC of the member."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        self._is_full = False

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    @property
    def unused_data(self) -> bytes:
        return self._inflate.unused_data

    @property
    def needs_input(self) -> bool:
        # A full piece may leave more inside, even where no input is left over.
        return not self._is_full

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        piece = self._inflate.decompress(self._inflate.unconsumed_tail + data, max_length)
        self._is_full = len(piece) == max_length or bool(self._inflate.unconsumed_tail)
        return piece


def _gzip() -> tuple[Callable[[], _Decompressor], type[Exception]]:
    return _Gunzip, zlib.error


def _zstd() -> tuple[Callable[[], _Decompressor], type[Exception]]:
    try:
        from compression import zstd  # type: ignore[import-not-found, unused-ignore]  # from Python 3.14
    except ImportError:
        from backports import zstd
    return zstd.ZstdDecompressor, zstd.ZstdError


def _xz() -> tuple[Callable[[], _Decompressor], type[Exception]]:
    try:
        import lzma
    except ImportError:
        raise _not_built("xz") from None
    return lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MAX_XZ_MEMORY), lzma.LZMAError


def _bzip2() -> tuple[Callable[[], _Decompressor], type[Exception]]:
    try:
        import bz2
    except ImportError:
        raise _not_built("bzip2") from None
    return bz2.BZ2Decompressor, OSError


def _not_built(name: str) -> UsageError:
    return UsageError("usage.no-driver", f"this Python was built without {name}", hint="decompress the file")


_KINDS = {
    "gz": _Kind("gzip", b"\x1f\x8b", "zcat", _gzip),
    "zst": _Kind("zstd", b"\x28\xb5\x2f\xfd", "zstdcat", _zstd),
    "xz": _Kind("xz", b"\xfd7zXZ\0", "xzcat", _xz),
    "bz2": _Kind("bzip2", b"BZh", "bzcat", _bzip2),
}
