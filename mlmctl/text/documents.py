"""Documents: the units that are deduplicated, split and packed.

A document is a block between blank lines; where the first MiB of the first text file has no blank line
it is a line. The choice is told, and contradicted by a warning if the rest of the corpus disagrees. A
row of JSON Lines is a document. Lines of a document are joined by `\\n`; a document of more than 2**20
characters is cut at white space into several. What a filter drops is counted.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from ..config import CorpusConfig
from ..errors import DataError
from ..events import Emit, Note, Progress
from . import filters
from .compression import AtByte
from .corpus import Source
from .reading import MAX_PIECE, Tally, chunks, cut, lines
from .rows import texts

_BLANK_LINE = re.compile(r"\n[^\S\n]*\n")
_FIRST = 2**20
_LONG_DOCUMENT = 100_000


class Documents:
    """One pass over a corpus: iterate for the documents, then ask for the facts."""

    def __init__(self, sources: Sequence[Source], config: CorpusConfig, emit: Emit, stage: str) -> None:
        self.tally = Tally()
        self.unit: str = config.unit
        self.file = 0
        """Number of the source that the last document came from."""
        self.position = 0
        """Bytes of all sources that have been read."""
        self._sources, self._config, self._emit, self._stage = sources, config, emit, stage
        self._source, self._begins = "", 0  # of the document in hand
        prose = [source for source in sources if source.format == "text"]
        if len(prose) == len(sources) and config.text_column != "text":
            text = (
                f"--text-column {config.text_column!r} is for files with rows; here all are read as text "
                "(of standard input only JSON Lines are rows)"
            )
            emit(Note(text, "warning"))
        if not prose:
            if config.unit != "auto":
                text = (
                    f"--unit {config.unit} is for files of text; here all have rows, and a row is a document"
                )
                emit(Note(text, "warning"))
            self.unit = "row"
        elif config.unit == "auto":
            self.unit = choose_unit(prose[0], config)
            emit(Note(f"a document is a {self.unit} (--unit decides otherwise)"))

    def __iter__(self) -> Iterator[str]:
        """The documents in order that pass the filters, white space at their ends removed.

        DataError `data.empty` at the end if there was none, `data.filtered` if none passed.
        """
        total = sum(source.size for source in self._sources)
        done = 0
        for self.file, source in enumerate(self._sources):  # noqa: B020
            at_byte = self._progress(done, total)
            for document in self._read(source, at_byte):
                text = document.strip()
                if not text:
                    self.tally.num_empty += 1
                elif reason := filters.failed(text, self._config):
                    self.tally.num_filtered[reason] = self.tally.num_filtered.get(reason, 0) + 1
                else:
                    self.tally.num_documents += 1
                    yield text
            done += source.size
        self._conclude()

    @property
    def place(self) -> str:
        """Where the document that was handed out last begins: `file:line`, or `file: row number`."""
        return f"{self._source}{self._begins}"

    def contradiction(self) -> str:
        """After the pass: what speaks against the unit that was chosen; nothing if one was asked for."""
        tally = self.tally
        if self._config.unit != "auto":
            return ""
        if self.unit == "line" and tally.num_empty > max(10, tally.num_lines // 20):
            return (
                f"a document was taken to be a line, but {tally.num_empty:,} of {tally.num_lines:,} "
                "lines are blank: is it a paragraph? (--unit paragraph)"
            )
        num_found = tally.num_documents + sum(tally.num_filtered.values())
        mean = tally.num_bytes / num_found
        if self.unit == "paragraph" and mean > _LONG_DOCUMENT and tally.num_lines > 100 * num_found:
            return (
                f"a document was taken to be a paragraph, but their mean length is {mean:,.0f} bytes: "
                "is it a line? (--unit line)"
            )
        return ""

    def facts(self) -> dict[str, Any]:
        """The counts of the pass and the unit, for `corpus.json`."""
        return {"unit": self.unit, **asdict(self.tally)}

    def _read(self, source: Source, at_byte: AtByte) -> Iterator[str]:
        self._source = source.name + (":" if source.format == "text" else ": row ")
        if source.format != "text":
            for row, text in enumerate(texts(source, self._config, self.tally, at_byte), start=1):
                self._begins = row
                pieces = cut(text)
                self.tally.num_cut += len(pieces) > 1
                yield from pieces
            return
        read = lines(source, self._config, self.tally, at_byte)
        if self.unit == "line":
            yield from self._lines(read)
        else:
            yield from self._paragraphs(read)

    def _lines(self, read: Iterator[str]) -> Iterator[str]:
        num_pieces, number = 0, 1
        for line in read:
            self._begins = number
            num_pieces += 1
            self.tally.num_cut += num_pieces == 2
            if line.endswith("\n"):
                num_pieces = 0
                number += 1
            yield line

    def _paragraphs(self, read: Iterator[str]) -> Iterator[str]:
        parts: list[str] = []
        size, number = 0, 1
        is_cut = is_rest = False
        for line in read:
            if self.unit == "paragraph" and not is_rest and line.isspace():
                if parts:
                    yield "".join(parts)
                parts, size, is_cut = [], 0, False
                number += 1
                continue
            if size + len(line) > MAX_PIECE and parts:
                yield "".join(parts)
                self.tally.num_cut += not is_cut
                parts, size, is_cut = [], 0, True
            if not parts:
                self._begins = number
            parts.append(line)
            size += len(line)
            is_rest = not line.endswith("\n")
            number += not is_rest
        if parts:
            yield "".join(parts)

    def _progress(self, done: int, total: int) -> AtByte:
        def at_byte(at: int) -> None:
            self.position = done + at
            self._emit(Progress(self._stage, self.position, total, "bytes"))

        return at_byte

    def _conclude(self) -> None:
        tally = self.tally
        num_filtered = sum(tally.num_filtered.values())
        num_found = tally.num_documents + num_filtered
        reasons = filters.told(tally.num_filtered, self._config)
        if not tally.num_documents:
            names = ", ".join(source.name for source in itertools.islice(self._sources, 3))
            if num_filtered:
                found = f"nothing is left: all {num_filtered:,} documents are dropped ({reasons})"
                hint = "the filters are corpus." + ", corpus.".join(tally.num_filtered)
                raise DataError("data.filtered", found, where=names, hint=hint)
            raise DataError(
                "data.empty", f"no text but white space in {tally.num_bytes:,} bytes", where=names
            )
        if num_filtered:
            self._emit(Note(f"{num_filtered:,} of {num_found:,} documents are dropped: {reasons}"))
        if tally.num_replacements:
            self._emit(Note(f"{tally.num_replacements:,} replacement characters in the text", "warning"))
        if tally.num_cut:
            self._emit(Note(f"{tally.num_cut:,} documents of more than {MAX_PIECE:,} characters were cut"))
        if found := self.contradiction():
            self._emit(Note(found, "warning"))


def choose_unit(source: Source, config: CorpusConfig) -> str:
    """`paragraph` if a blank line is between two others in the first MiB of the text, else `line`."""
    raw = bytearray()
    for chunk in chunks(source, lambda at: None):
        raw += chunk
        if len(raw) >= _FIRST:
            break
    try:
        text = bytes(raw[:_FIRST]).decode(config.encoding, "replace")
    except (LookupError, ValueError):
        return "line"  # reading says what is wrong with the encoding
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").strip()
    return "paragraph" if _BLANK_LINE.search(text) else "line"
