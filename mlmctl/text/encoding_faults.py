"""Where the bytes of a corpus are not what its encoding says: all are counted, the first have their place."""

from __future__ import annotations

import codecs
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..config import CorpusConfig
from ..errors import DataError
from .corpus import Source
from .reading import Tally, chunks
from .rows import texts

_MAX_PLACES = 10
_HANDLER = "mlmctl.note-and-replace"


@dataclass
class EncodingFaults:
    """What could not be decoded."""

    count: int = 0
    """Byte sequences; of Parquet and of JSON's own escapes only the first of a file."""
    places: list[str] = field(default_factory=list)
    """`file:line:byte: byte 0xe9` of the first ones; bytes of the decompressed file, from 0."""


def find(sources: Sequence[Source], corpus: CorpusConfig) -> EncodingFaults:
    """Read everything once more, and note what cannot be decoded."""
    found = EncodingFaults()
    for source in sources:
        before = found.count
        if source.format != "parquet":
            _Reader(source, corpus.encoding, found).read()
        if found.count == before and source.format != "text":
            _first_of_rows(source, corpus, found)
    return found


class _Reader:
    """Decodes a file with an error handler that counts, and knows lines and bytes."""

    def __init__(self, source: Source, encoding: str, found: EncodingFaults) -> None:
        self._name, self._source, self._found = source.name, source, found
        codecs.register_error(_HANDLER, self._note)
        self._decoder = codecs.getincrementaldecoder(encoding)(_HANDLER)
        self._start = 0  # byte at which what the decoder is handed begins
        self._line = 1
        self._held = ""  # a `\r` at the end of a chunk may be half of a `\r\n`

    def read(self) -> None:
        num_read = 0
        for chunk in itertools.chain(chunks(self._source, lambda at: None), [b""]):
            self._start = num_read - len(self._decoder.getstate()[0])
            text = self._held + self._decoder.decode(chunk, final=not chunk)
            num_read += len(chunk)
            self._held = "\r" if text.endswith("\r") else ""
            self._line += _num_newlines(text.removesuffix("\r"))

    def _note(self, error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeDecodeError)
        self._found.count += 1
        if len(self._found.places) < _MAX_PLACES:
            # What is decoded in this call is not yet counted.
            before = self._held + error.object[: error.start].decode(error.encoding, "replace")
            place = f"{self._name}:{self._line + _num_newlines(before)}:{self._start + error.start}"
            self._found.places.append(f"{place}: byte 0x{error.object[error.start]:02x}")
        return "\ufffd", error.end


def _num_newlines(text: str) -> int:
    return text.count("\n") + text.count("\r") - text.count("\r\n")


def _first_of_rows(source: Source, corpus: CorpusConfig, found: EncodingFaults) -> None:
    """What only the reader of rows sees: text of Parquet that is not UTF-8, half a surrogate pair in JSON."""
    strict = corpus.model_copy(update={"encoding_errors": "strict"})
    try:
        for _ in texts(source, strict, Tally(), lambda at: None):
            pass
    except DataError as error:
        found.count += 1
        if len(found.places) < _MAX_PLACES:
            found.places.append(f"{error.where}: {error.message}")
