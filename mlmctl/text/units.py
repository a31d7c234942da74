"""What is hidden as a whole: single tokens, whole words, or spans of neighbouring words.

Where words start is known from the tokenizer's own splitting (the bits that are stored with the blocks),
not from marks in the pieces, so one rule serves every kind of tokenizer. A word ends where the next one
starts, and at every special token: what a block's border cuts off is a word of the block it is in.

Spans are SpanBERT's (Joshi et al. 2020): runs of whole words of one document, their lengths geometric and
clipped at ten words. SpanBERT throws spans until enough is hidden; here the words of a block are cut into
spans first and spans are taken from them in random order. So every word is in exactly one span and is
hidden as often as any other, and all of it is arithmetic on arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import MaskUnit
from . import draws

MAX_SPAN_WORDS = 10
"""Longer spans are cut here (Joshi et al. 2020, section 3.1)."""


@dataclass(frozen=True)
class Units:
    """Which units are hidden."""

    kind: MaskUnit = "token"
    span_length: float = 3.8
    """Mean number of words of the spans that blocks are cut into; of no other kind's concern."""

    def starts(
        self, is_ordinary: NDArray[np.bool_], word_starts: NDArray[np.bool_], keys: draws.U64
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Where units start and where runs of units that go together start, bool [B, L] each.

        Both go on to their next start or special token. A unit is a token or a word and never divided; a
        run is a span, or a single unit where there are no spans.

        Args:
            is_ordinary: bool [B, L], the tokens that may be masked.
            word_starts: bool [B, L] as `Blocks.word_starts` gives them.
            keys: uint64 [B], the keys of the blocks' masks.
        """
        if self.kind == "token":
            return is_ordinary, is_ordinary
        words = whole_words(is_ordinary, word_starts)
        if self.kind == "word":
            return words, words
        is_first = _after_special(is_ordinary)
        return words, _span_starts(words, is_first, keys, self.span_length)

    def to_json(self) -> dict[str, Any]:
        return {"unit": self.kind, "span_length": self.span_length}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Units:
        return cls(fields["unit"], float(fields["span_length"]))


TOKENS = Units()


def whole_words(is_ordinary: NDArray[np.bool_], word_starts: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where words start, bool [B, L]: by the stored bits, and at the first token after a special one."""
    words: NDArray[np.bool_] = is_ordinary & (word_starts | _after_special(is_ordinary))
    return words


def _after_special(is_ordinary: NDArray[np.bool_]) -> NDArray[np.bool_]:
    is_first = is_ordinary.copy()
    is_first[:, 1:] &= ~is_ordinary[:, :-1]
    return is_first


def _span_starts(
    words: NDArray[np.bool_], is_first: NDArray[np.bool_], keys: draws.U64, span_length: float
) -> NDArray[np.bool_]:
    """Each word opens a span with one probability, and so the lengths are geometric; then the clipping."""
    places = np.arange(words.shape[1], dtype=np.uint64)
    chance = draws.fraction(draws.mix(draws.mix(~keys)[:, None] ^ places))
    opens = is_first | (words & (chance < opening_probability(span_length)))
    number = np.cumsum(words, axis=1)  # of the word, within its block
    since: NDArray[np.int64] = number - np.maximum.accumulate(
        np.where(opens, number, 0), axis=1
    )  # words since one opened
    starts: NDArray[np.bool_] = words & (since % MAX_SPAN_WORDS == 0)
    return starts


@lru_cache
def opening_probability(span_length: float) -> float:
    """The p with which a geometric length clipped at `MAX_SPAN_WORDS` has the mean `span_length`.

    The mean is 1 + q + q^2 + ... + q^9 with q = 1 - p: the chances that a span reaches each of its words.
    """
    low, high = 0.0, 1.0
    for _ in range(60):
        q = (low + high) / 2
        low, high = (q, high) if sum(q**n for n in range(MAX_SPAN_WORDS)) < span_length else (low, q)
    return 1.0 - low
