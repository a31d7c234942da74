"""From the bytes of a file to lines of text, in bounded memory whatever the file holds.

Newlines are `\\n`, `\\r\\n` and a lone `\\r`, nothing else. A byte-order mark at the start is dropped. What
cannot be decoded is refused with its place, unless replacing was asked for. A line of any length is
handed on in pieces.
"""

from __future__ import annotations

import codecs
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from ..config import CorpusConfig
from ..errors import DataError, UsageError, one_line
from .compression import CHUNK, AtByte, decompressed, way_out
from .corpus import Source

MAX_PIECE = 2**20
"""Characters: a longer line comes in pieces, a longer document is cut."""

_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_UTF_16 = "--encoding utf-16-le (or -be) reads UTF-16 without a byte-order mark"
_WAYS_OUT = "--encoding NAME or --encoding-errors replace"


@dataclass
class Tally:
    """What was read so far."""

    num_documents: int = 0
    num_lines: int = 0
    """Newlines, and one for a last line without: what `wc -l` says of files that end in a newline."""
    num_bytes: int = 0
    """Bytes after decompression."""
    num_empty: int = 0
    """Documents of nothing but white space, which are dropped."""
    num_replacements: int = 0
    """Replacement characters (U+FFFD) in the decoded text."""
    num_cut: int = 0
    """Documents that were longer than `MAX_PIECE` characters and became several."""
    num_filtered: dict[str, int] = field(default_factory=dict)
    """Documents that were dropped by a filter of the configuration, by its name; in no other count."""


def chunks(source: Source, at_byte: AtByte) -> Iterator[bytes]:
    """The decompressed bytes; `at_byte` is told how far the file on disk has been read."""
    with source.path.open("rb") as file:
        if source.compression:
            yield from decompressed(file, source.compression, source.name, at_byte)
        else:
            yield from _plain(file, at_byte)


def lines(source: Source, config: CorpusConfig, tally: Tally, at_byte: AtByte) -> Iterator[str]:
    """The lines, each with its `\\n`; what has none is a piece of a long line, or the end of the file.

    DataError `data.encoding` with line and byte (of the decompressed file, from 0) for what cannot be
    decoded; UsageError for an encoding that does not exist.
    """
    decode = _Decoder(source, config, tally)
    pending: list[str] = []  # an unfinished line; never longer than a piece and a chunk
    pending_size = 0
    held = ""  # a `\r` at the end of a chunk may be half of a `\r\n`
    for chunk in itertools.chain(chunks(source, at_byte), [b""]):
        text = held + decode(chunk)
        held = ""
        if "\r" in text:
            if text.endswith("\r") and chunk:
                text, held = text[:-1], "\r"
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        first, *others = text.split("\n")
        tally.num_lines += len(others)
        decode.line += len(others)
        pending.append(first)
        pending_size += len(first)
        if others:
            yield from _pieces("".join(pending) + "\n")
            for line in others[:-1]:
                if len(line) < MAX_PIECE:
                    yield line + "\n"
                else:
                    yield from _pieces(line + "\n")
            pending, pending_size = [others[-1]], len(others[-1])
        if pending_size > MAX_PIECE:
            *whole, rest = _pieces("".join(pending))
            yield from whole
            pending, pending_size = [rest], len(rest)
    if pending_size:
        tally.num_lines += 1
        yield "".join(pending)


def cut(text: str) -> list[str]:
    """A text in pieces of at most `MAX_PIECE` characters, cut behind white space where there is any."""
    return list(_pieces(text))


def _pieces(text: str) -> Iterator[str]:
    start = 0
    while len(text) - start > MAX_PIECE:
        end = start + MAX_PIECE
        space = max(text.rfind(mark, start, end) for mark in " \t\n")
        end = space + 1 if space > start else end
        yield text[start:end]
        start = end
    yield text[start:] if start else text


class _Decoder:
    """An incremental decoder that knows where it is; an empty chunk ends the text."""

    def __init__(self, source: Source, config: CorpusConfig, tally: Tally) -> None:
        try:
            "".encode(config.encoding)
            self._decoder = codecs.getincrementaldecoder(config.encoding)(config.encoding_errors)
        except (LookupError, ValueError):  # ValueError, of which UnicodeError is one: `undefined`, or a NUL
            raise UsageError("usage.encoding", f"{config.encoding!r} is not a text encoding") from None
        self._source, self._tally = source, tally
        self._start = b""
        self._num_bytes = 0
        self._has_begun = False
        self.line = 1

    def __call__(self, chunk: bytes) -> str:
        if self._num_bytes == 0:
            self._start = chunk[:8]
        buffered = len(self._decoder.getstate()[0])
        try:
            text: str = self._decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            raise self._error(error, self._num_bytes - buffered) from None
        except UnicodeError as error:  # codecs that are no encodings of files, such as idna
            found = f"cannot be read in this encoding: {one_line(error)}"
            raise DataError("data.encoding", found, where=self._source.name, hint=_WAYS_OUT) from None
        self._num_bytes += len(chunk)
        self._tally.num_bytes += len(chunk)
        if text and not self._has_begun:
            self._has_begun = True
            text = text.removeprefix("\ufeff")
            if text.count("\0") * 10 > len(text):
                raise DataError(
                    "data.encoding",
                    "every tenth character is NUL: this is UTF-16 or not text",
                    where=self._source.name,
                    hint=_UTF_16,
                )
        if "\ufffd" in text:
            self._tally.num_replacements += text.count("\ufffd")
        return text

    def _error(self, error: UnicodeDecodeError, offset: int) -> DataError:
        before = error.object[: error.start].decode(error.encoding, "replace")
        line = self.line + before.replace("\r\n", "\n").replace("\r", "\n").count("\n")
        byte = error.object[error.start]
        found, hint = f"byte 0x{byte:02x} is not {error.encoding} ({error.reason})", _WAYS_OUT
        for mark, name in _BYTE_ORDER_MARKS.items():
            if self._start.startswith(mark):
                found += f"; the file begins with the byte-order mark of {name}"
                hint = f"--encoding {name}"
                break
        else:
            if self._start.count(0) * 4 > len(self._start):
                found, hint = f"{found}; there is NUL between the letters", _UTF_16
        where = f"{self._source.name}:{line}:{offset + error.start}"
        return DataError("data.encoding", found, where=where, hint=way_out(self._start) or hint)


def _plain(file: BinaryIO, at_byte: AtByte) -> Iterator[bytes]:
    num_bytes = 0
    while chunk := file.read(CHUNK):
        num_bytes += len(chunk)
        at_byte(num_bytes)
        yield chunk
