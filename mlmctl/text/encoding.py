"""Documents to ids, fast: a unit of text (a word, where it is plain) is tokenized once, then looked up.

The tokenizers trained here (and BERT's and RoBERTa's) see no further than the next white space. The same
words come again and again, so a table of those already seen leaves numpy most of the work: several times
as fast on one thread as the library. Other tokenizers go through the library.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from . import pieces
from .imported import library
from .specials import Specials
from .vocabulary import special_ids
from .words import WHOLE, batches, cut_of

_MAX_UNITS = 2**19
_MAX_CHARACTERS = 2**25
_MAX_IDS = 2**23
_AT_ONCE = 2**18
"""Characters of documents whose units are in memory at the same time."""
_LIBRARY_AT_ONCE = 2**13
"""Texts that the library encodes in one call: it holds a kilobyte for each."""


@dataclass(frozen=True)
class Encoded:
    """A batch of documents as flat arrays; a document may have no tokens."""

    ids: NDArray[np.int64]
    """[num_tokens]"""
    lengths: NDArray[np.int64]
    """[num_documents]"""
    is_start: NDArray[np.bool_]
    """[num_tokens] True where a word starts."""


class Encoder:
    """Encodes documents without special tokens; the table it keeps is bounded and never shows."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.specials: Specials = special_ids(tokenizer)
        self.tokenizer = tokenizer
        self._begins_word = pieces.of(tokenizer).begins_word
        self._cut = cut_of(tokenizer)
        self._clear()

    def encode(self, documents: Sequence[str]) -> Encoded:
        encode = self._by_library if self._cut is WHOLE else self._by_table
        done = [encode(some) for some in batches(documents, _AT_ONCE)]
        if len(done) == 1:
            return done[0]
        return Encoded(
            np.concatenate([np.zeros(0, np.int64), *(one.ids for one in done)]),
            np.concatenate([np.zeros(0, np.int64), *(one.lengths for one in done)]),
            np.concatenate([np.zeros(0, bool), *(one.is_start for one in done)]),
        )

    def _clear(self) -> None:
        self._numbers = _Numbers()
        self._num_characters = 0
        # The tokens of number n are those from `_offsets[n]` to `_offsets[n + 1]`. Arrays that grow.
        self._offsets = array("q", [0])
        self._ids = array("q")
        self._is_start = array("b")

    def _by_table(self, documents: Sequence[str]) -> Encoded:
        if (
            len(self._numbers) > _MAX_UNITS
            or self._num_characters > _MAX_CHARACTERS
            or len(self._ids) > _MAX_IDS
        ):
            self._clear()
        cut = [self._cut.units(document) for document in documents]
        units = [unit for some in cut for unit in some]
        numbers = np.fromiter(map(self._numbers.__getitem__, units), np.int64, len(units))
        self._learn()
        offsets = np.frombuffer(self._offsets, np.int64)
        sizes = np.diff(offsets)[numbers]  # tokens of each unit
        ends = np.cumsum(sizes)
        total = int(ends[-1]) if len(ends) else 0
        places = np.arange(total) + np.repeat(offsets[numbers] - (ends - sizes), sizes)
        borders = np.cumsum([0, *map(len, cut)])
        lengths = np.diff(np.concatenate([[0], ends])[borders])
        ids = np.frombuffer(self._ids, np.int64) if self._ids else np.zeros(0, np.int64)
        is_start = np.frombuffer(self._is_start, bool) if self._ids else np.zeros(0, bool)
        return Encoded(ids[places], lengths, is_start[places])

    def _learn(self) -> None:
        """Append the tokens of the units that were numbered since the last time."""
        new, self._numbers.new = self._numbers.new, []
        for start in range(0, len(new), _LIBRARY_AT_ONCE):
            encoded = self._by_library(new[start : start + _LIBRARY_AT_ONCE])
            self._offsets.frombytes((self._offsets[-1] + np.cumsum(encoded.lengths)).tobytes())
            self._ids.frombytes(encoded.ids.tobytes())
            self._is_start.frombytes(encoded.is_start.tobytes())
        self._num_characters += sum(map(len, new))

    def _by_library(self, texts: Sequence[str]) -> Encoded:
        # Not `encode_batch_fast`, which knows no words.
        with library("tokenizer"):
            rows = self.tokenizer.encode_batch(list(texts), add_special_tokens=False)
        of_row = [row.ids for row in rows]
        lengths = np.fromiter(map(len, of_row), np.int64, len(rows))
        total = int(lengths.sum())
        ids = np.fromiter((i for some in of_row for i in some), np.int64, total)
        is_start = np.fromiter((s for row in rows for s in _changes(row.word_ids)), bool, total)
        return Encoded(ids, lengths, is_start | self._begins_word[ids])


class _Numbers(dict[str, int]):
    """Units, numbered as they come; those not yet learned are in `new`."""

    def __init__(self) -> None:
        self.new: list[str] = []

    def __missing__(self, unit: str) -> int:
        number = self[unit] = len(self)
        self.new.append(unit)
        return number


def _changes(words: list[int | None]) -> list[bool]:
    """Where the number of the word is not the one before."""
    return [word is None or word != before for word, before in zip(words, [None, *words], strict=False)]
