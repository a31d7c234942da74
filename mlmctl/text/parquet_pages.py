"""What a Parquet file is about to become in memory: the headers of its pages, before any page is unpacked.

The metadata at the end of a file may say what it likes: a reader makes room for what the header of each page
says. So the headers are looked at here first, a few bytes a page, by as much of Thrift's compact protocol as
that takes (https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md; `PageHeader` in
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import DataError
from .compression import check_ratio

MOST_OF_A_PAGE = 2**27
"""Bytes of a page unpacked: writers begin a new one after about one MiB, or after 1,024 values."""

_USUAL_HEADER = 2**12
_MOST_OF_A_HEADER = 2**20
_MOST_OF_THE_END = 2**24
_DEEPEST = 8
_DICTIONARY = 2


@dataclass(frozen=True)
class Page:
    """The header of a page: its kind, and its size in bytes unpacked and in the file."""

    kind: int
    unpacked: int
    packed: int


@contextmanager
def opened(path: Path, name: str) -> Iterator[BinaryIO]:
    """The file; DataError if the metadata at its end, which pyarrow reads whole, would take much memory."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 8))
        length = int.from_bytes(file.read(4), "little")
        if length > min(size, _MOST_OF_THE_END):
            raise _refusal(f"its metadata are said to have {length:,} bytes", name)
        yield file


def largest_dictionary(file: BinaryIO, chunk: Any, name: str) -> int:
    """Bytes of the largest dictionary page of a column chunk (`chunk` is its pyarrow metadata), 0 for none.

    DataError for a page that says of itself that it would explode, or whose header is none.
    """
    start = chunk.data_page_offset
    if chunk.has_dictionary_page and chunk.dictionary_page_offset:
        start = min(start, chunk.dictionary_page_offset)
    if start < 0:
        raise _refusal("a column begins before the file does", name)
    end, largest = start + chunk.total_compressed_size, 0
    while start < end:
        page, size = _page_at(file, start, name)
        if page.unpacked > MOST_OF_A_PAGE:
            raise DataError(
                "data.ratio",
                f"a page becomes {page.unpacked:,} bytes: refused as an explosion",
                where=name,
                hint=f"write it with pages of at most {MOST_OF_A_PAGE:,} bytes",
            )
        check_ratio(page.unpacked, page.packed, name)
        if page.kind == _DICTIONARY:
            largest = max(largest, page.unpacked)
        start += size + page.packed
    return largest


def _page_at(file: BinaryIO, start: int, name: str) -> tuple[Page, int]:
    """The page whose header begins there, and the bytes of the header."""
    for size in (_USUAL_HEADER, _MOST_OF_A_HEADER):
        try:
            file.seek(start)
            reader = _Reader(file.read(size))
            page = reader.page()
        except (IndexError, ValueError):
            continue
        if page.packed >= 0 and page.unpacked >= 0:
            return page, reader.at
    raise _refusal("a page has no header that can be read", name)


def _refusal(found: str, name: str) -> DataError:
    return DataError("data.parquet", f"is damaged, or not Parquet ({found})", where=name)


class _Reader:
    """Thrift's compact protocol. IndexError at the end of the bytes, ValueError for what is not it."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.at = 0

    def page(self) -> Page:
        """A `PageHeader`: its first three fields, the others passed over."""
        numbers = {1: 0, 2: -1, 3: -1}
        field = 0
        while kind := self._byte():
            field = field + (kind >> 4) if kind >> 4 else self._number()
            if field in numbers and kind & 15 == 5:
                numbers[field] = self._number()
            else:
                self._pass(kind & 15, 0)
        return Page(numbers[1], numbers[2], numbers[3])

    def _byte(self) -> int:
        self.at += 1
        return self._content[self.at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
            if shift > 63:
                raise ValueError("a number without end")

    def _number(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _skip(self, size: int) -> None:
        self.at += size
        if self.at > len(self._content):
            raise IndexError("ends too early")

    def _pass(self, kind: int, depth: int) -> None:
        """Pass over a value of this kind."""
        if depth > _DEEPEST:
            raise ValueError("nested too deeply")
        match kind:
            case 1 | 2:  # true, false: the kind is the value
                pass
            case 3:
                self._skip(1)
            case 4 | 5 | 6:
                self._varint()
            case 7:
                self._skip(8)
            case 8:
                self._skip(self._varint())
            case 9 | 10:
                head = self._byte()
                size = head >> 4 if head >> 4 < 15 else self._varint()
                for _ in range(size):
                    self._skip(1) if head & 15 in (1, 2) else self._pass(head & 15, depth + 1)
            case 12:
                while inner := self._byte():
                    if not inner >> 4:
                        self._number()
                    self._pass(inner & 15, depth + 1)
            case _:
                raise ValueError("a value of no known kind")
