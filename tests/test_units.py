"""Units: words by the bits and the special tokens, spans with the lengths they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlmctl.text.units import MAX_SPAN_WORDS, Units, opening_probability, whole_words


def row(text: str) -> np.ndarray:
    return np.array([[letter == "1" for letter in text]])


def shown(starts: np.ndarray) -> str:
    return "".join("01"[int(start)] for start in starts[0])


def test_a_word_ends_at_a_start_a_special_token_and_the_block() -> None:
    #                 [CLS] ..ing  a  film    [SEP] s  o  far  [UNK] ..er  [SEP]
    ordinary = row("01111101111010")
    bits = row("00011001110000")
    words = "01011001110010"
    assert shown(whole_words(ordinary, bits)) == words
    keys = np.array([7], np.uint64)
    assert [shown(found) for found in Units("word").starts(ordinary, bits, keys)] == [words, words]
    assert [shown(found) for found in Units("token").starts(ordinary, bits, keys)] == [shown(ordinary)] * 2
    units, spans = Units("span", 8.0).starts(ordinary, bits, keys)
    assert shown(units) == words
    assert not (spans & ~units).any()
    assert spans[0, [1, 7, 12]].all()  # no span goes across a special token


@pytest.mark.parametrize("mean", [1.0, 2.0, 3.8, 8.0])
def test_spans_have_the_mean_length_and_are_clipped(mean: float) -> None:
    ordinary = np.ones((60, 2000), bool)
    _, spans = Units("span", mean).starts(ordinary, ordinary, np.arange(60, dtype=np.uint64))
    places = np.flatnonzero(spans)
    lengths = np.diff(places[places < 59 * 2000])
    assert lengths.max() <= MAX_SPAN_WORDS
    assert lengths.mean() == pytest.approx(mean, rel=0.02)
    p = opening_probability(mean)
    expected = [p * (1 - p) ** n for n in range(MAX_SPAN_WORDS - 1)]
    shares = np.bincount(lengths, minlength=MAX_SPAN_WORDS + 1)[1:] / len(lengths)
    assert shares == pytest.approx([*expected, 1 - sum(expected)], abs=0.01)


@given(st.floats(1, 8))
def test_the_mean_is_solved_for(mean: float) -> None:
    p = opening_probability(mean)
    lengths = np.arange(1, MAX_SPAN_WORDS + 1)
    shares = p * (1 - p) ** (lengths - 1)
    shares[-1] = (1 - p) ** (MAX_SPAN_WORDS - 1)
    assert shares.sum() == pytest.approx(1)
    assert (shares * lengths).sum() == pytest.approx(mean)
