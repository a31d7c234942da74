"""What a Parquet file is about to become in memory: the headers of its pages, before any page is unpacked.

The metadata at the end of a file may say what it likes: a reader makes room for what the header of each page
says. So the headers are looked at here first, a few bytes a page (`FileMetaData`, `PageHeader` in
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift). Where the pages are is
read here, too: pyarrow ends the process if a row group's columns, asked for, are not what they should be.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import DataError
from .compression import check_ratio
from .thrift import Reader

MOST_OF_A_PAGE = 2**27
"""Bytes of a page unpacked: writers begin a new one after about one MiB, or after 1,024 values."""

_USUAL_HEADER = 2**12
_MOST_OF_A_HEADER = 2**20
_MOST_OF_THE_END = 2**24
_DICTIONARY = 2
_FOOTER = {4: {1: {3: {3: None, 6: None, 7: None, 9: None, 11: None}}, 3: None}}
_HEADER = {1: None, 2: None, 3: None}


@dataclass(frozen=True)
class Chunk:
    """A column of a row group: its path in the schema, its bytes unpacked and packed, where they begin."""

    path: tuple[str, ...]
    unpacked: int
    packed: int
    start: int
    has_dictionary: bool


@dataclass(frozen=True)
class Group:
    """A row group."""

    num_rows: int
    chunks: tuple[Chunk, ...]


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


def groups(file: BinaryIO, name: str) -> list[Group]:
    """The row groups of a file. DataError if what it says of them is not sound."""
    size = file.seek(0, 2)
    file.seek(max(0, size - 8))
    length = int.from_bytes(file.read(4), "little")
    file.seek(max(0, size - 8 - length))
    try:
        footer = Reader(file.read(length)).struct(_FOOTER)
        return [_group(found) for found in footer.get(4, [])]
    except (IndexError, KeyError, TypeError, ValueError, AttributeError):
        raise _refusal("its metadata cannot be read", name) from None


def _group(found: dict[int, Any]) -> Group:
    chunks = []
    for column in found[1]:
        facts = column[3]
        starts = [facts[9], facts.get(11) or facts[9]]  # of the data, and of the dictionary before it
        path = tuple(part.decode("utf-8") for part in facts[3])
        chunks.append(Chunk(path, facts[6], facts[7], min(starts), bool(facts.get(11))))
        if min(facts[6], facts[7], *starts) < 0:
            raise ValueError("a negative number")
    if found[3] < 0:
        raise ValueError("a negative number")
    return Group(found[3], tuple(chunks))


def largest_dictionary(file: BinaryIO, chunk: Chunk, name: str) -> int:
    """Bytes of the largest dictionary page of a column, 0 for none.

    DataError for a page that says of itself that it would explode, or whose header is none.
    """
    start = chunk.start
    end, largest = start + chunk.packed, 0
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
            reader = Reader(file.read(size))
            found = reader.struct(_HEADER)
            page = Page(found.get(1, 0), found.get(2, -1), found.get(3, -1))
        except (IndexError, ValueError):
            continue
        if page.packed >= 0 and page.unpacked >= 0:
            return page, reader.at
    raise _refusal("a page has no header that can be read", name)


def _refusal(found: str, name: str) -> DataError:
    return DataError("data.parquet", f"is damaged, or not Parquet ({found})", where=name)
