"""Labelled data in files: rows by the reader that corpora have, or whole for a task's own format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..config import CorpusConfig
from ..errors import DataError
from ..text.compression import COMPRESSIONS
from ..text.corpus import FORMATS as _CORPUS
from ..text.corpus import Source, shown, suffix_of
from ..text.reading import Tally, lines
from ..text.rows import Row, rows

__all__ = ["FORMATS", "Row", "content", "read", "suffix"]

FORMATS = {suffix: form for suffix, form in _CORPUS.items() if form != "text"}
"""Suffixes of files with rows."""


def read(path: Path, kinds: Iterable[str] = (), columns: Sequence[str] = ()) -> Iterator[Row]:
    """The rows of a labelled file in order; DataError for anything that is not what its suffix says.

    `kinds` are the suffixes that will do, all tables unless it says otherwise; `columns` as for `rows.rows`.
    """
    source = _source(path, kinds or FORMATS, FORMATS.get(suffix(path), ""))
    with _only_utf8():
        yield from rows(source, CorpusConfig(), Tally(), _ignore, columns)


def suffix(path: Path) -> str:
    """The suffix that says what is in a file, in lower case: that before `.gz` of a compressed one."""
    return suffix_of(path)[0]


def content(path: Path, kinds: Iterable[str]) -> tuple[str, str]:
    """The whole text of a file, its lines ended by `\\n`, and its name for messages.

    DataError unless its suffix is one of `kinds`.
    """
    source = _source(path, kinds, "text")
    with _only_utf8():
        return "".join(lines(source, CorpusConfig(), Tally(), _ignore)), source.name


def _source(path: Path, kinds: Iterable[str], form: str) -> Source:
    suffix, compression = suffix_of(path)
    if suffix not in kinds or (compression and form == "parquet"):
        hint = f"{' '.join(kinds)}, plain or (but for .parquet) with {' '.join(COMPRESSIONS)}"
        found = "is not a labelled file of a known kind"
        raise DataError("data.format", found, where=shown(str(path)), hint=hint)
    return Source(path, shown(str(path)), compression, path.stat().st_size, form)


@contextmanager
def _only_utf8() -> Iterator[None]:
    """Corrects the hint of an error of decoding: the options for other encodings are for corpora."""
    try:
        yield
    except DataError as error:
        if error.code == "data.encoding" and error.hint and "--encoding" in error.hint:
            error.hint = "save the file as UTF-8"
        raise


def _ignore(num_bytes: int) -> None:
    """Labelled data is small against a corpus: no progress is told."""
