"""Parquet files as rows: only the columns asked for, a page at a time; memory does not grow with the file.

A row group is read through a small buffer instead of whole: pyarrow's default took the whole column into
memory, 66 MB for 100 MB of text in one row group, and this takes 5 MB. Text is UTF-8 by the definition of
the format, whatever `--encoding` says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from .. import extras
from ..config import CorpusConfig
from ..errors import DataError
from . import parquet_pages
from .compression import CHUNK, AtByte, check_ratio
from .corpus import Source, shown
from .reading import Tally
from .rows import Row

_BATCH_BYTES = 2**22
_EXPANDED_BYTES = 2**25
_MOST_ROWS = 1024


def rows(
    source: Source, config: CorpusConfig, tally: Tally, at_byte: AtByte, columns: Sequence[str]
) -> Iterator[Row]:
    """Every row with `columns`, or with all if not all of those are there; nested values as lists and dicts.

    DataError `data.parquet` for a file that is damaged or no Parquet, `data.encoding` with the row for text
    that is not UTF-8, `data.ratio` for what explodes; UsageError without pyarrow.
    """
    pyarrow = extras.load("pyarrow", "parquet", "Parquet files")
    from pyarrow import parquet

    try:
        with (
            parquet_pages.opened(source.path, source.name) as raw,
            parquet.ParquetFile(
                source.path, buffer_size=CHUNK, pre_buffer=False, page_checksum_verification=True
            ) as file,
        ):
            names = file.schema_arrow.names
            if len(set(names)) < len(names):
                raise DataError("data.columns", "the table names a column twice", where=source.name)
            names = list(columns) if columns and set(columns) <= set(names) else names
            number, bytes_before = 0, tally.num_bytes
            groups = parquet_pages.groups(raw, source.name)
            widths = {len(group.chunks) for group in groups}
            if len(groups) != file.num_row_groups or not widths <= {len(file.schema)}:
                found = "is damaged, or not Parquet (its row groups are not what its schema says)"
                raise DataError("data.parquet", found, where=source.name)
            for place, group in enumerate(groups):
                if not group.num_rows:  # no page of it need be where the metadata say
                    continue
                most_rows = _rows_at_once(raw, group, names, source)
                for batch in file.iter_batches(most_rows, [place], names, use_threads=False):
                    read = _Batch(pyarrow, source, config, tally, number)
                    values = [read.values(batch.column(name)) for name in names]
                    check_ratio(tally.num_bytes - bytes_before, source.size, source.name)
                    for row in zip(*values, strict=True):
                        number += 1
                        yield Row(number, source.name, dict(zip(names, row, strict=True)))
                    tally.num_lines += batch.num_rows
                    at_byte(source.size * number // max(1, file.metadata.num_rows))
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:  # a name that is not UTF-8
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk, not of the file's content
        reason = shown(str(error).partition("\n")[0][:200])
        found = f"is damaged, or not Parquet ({reason})"
        raise DataError("data.parquet", found, where=source.name) from None


def _rows_at_once(raw: BinaryIO, group: parquet_pages.Group, names: Sequence[str], source: Source) -> int:
    """So many rows of a row group that they are some megabytes on average, and bounded if every one of them
    is the whole dictionary. DataError if it would explode.
    """
    chunks = [chunk for chunk in group.chunks if chunk.path and chunk.path[0] in names]
    unpacked = sum(chunk.unpacked for chunk in chunks)
    check_ratio(unpacked, sum(chunk.packed for chunk in chunks), source.name)
    on_average = _BATCH_BYTES * group.num_rows // max(1, unpacked)
    dictionary = max((parquet_pages.largest_dictionary(raw, c, source.name) for c in chunks), default=0)
    return int(min(_MOST_ROWS, max(1, on_average), max(1, _EXPANDED_BYTES // max(1, dictionary))))


@dataclass(frozen=True)
class _Batch:
    """Some rows of a file; `start` of them came before."""

    pyarrow: Any
    source: Source
    config: CorpusConfig
    tally: Tally
    start: int

    def values(self, column: Any) -> list[Any]:
        """The values of a column as Python objects, text decoded as `--encoding-errors` says."""
        types = self.pyarrow.types
        kind = column.type.value_type if types.is_dictionary(column.type) else column.type
        if not (types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)):
            return list(column.to_pylist())
        raw = column.cast(self.pyarrow.large_binary()).to_pylist()  # pyarrow does not check that it is UTF-8
        return [None if value is None else self._text(value, n) for n, value in enumerate(raw, start=1)]

    def _text(self, value: bytes, number: int) -> str:
        try:
            text = value.decode("utf-8", self.config.encoding_errors)
        except UnicodeDecodeError as error:
            found = f"byte 0x{value[error.start]:02x} at {error.start} of the text is not UTF-8"
            row = Row(self.start + number, self.source.name, {})
            row.fail("data.encoding", found, "--encoding-errors replace")
        self.tally.num_bytes += len(value)
        self.tally.num_replacements += text.count("\ufffd")
        return text
