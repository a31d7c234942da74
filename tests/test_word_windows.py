"""Words as pieces in windows: nothing lost, every word found again, cuts between words."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from mlmctl.tasks.word_windows import cuts, owners, word_windows
from mlmctl.text import vocabulary
from mlmctl.text.masking import IGNORED
from mlmctl.text.specials import NAMES

WORDS = ["abba", "bab", "dabba", "Éclair", "don't", "漢字", "cab.bac"]
DELETED = "\u200b\u00ad\u0001"  # what the normaliser leaves nothing of


def word_piece() -> Tokenizer:
    made = vocabulary.train(Counter(dict.fromkeys(WORDS, 50)), 60, cased=False)
    made.encode_special_tokens = True
    return made


def byte_level(adds_blank: bool) -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=adds_blank)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=list(NAMES.values()),
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    made.train_from_iterator([" ".join(WORDS)] * 20, trainer)
    return made


TOKENIZERS = {
    "word pieces": word_piece(),
    "bytes": byte_level(adds_blank=False),
    "bytes, a blank before": byte_level(adds_blank=True),
}
word = st.text(st.sampled_from(f"abdé漢🎬.'-{DELETED}"), min_size=1, max_size=14)
sentences = st.lists(st.lists(word | st.sampled_from(["[MASK]", "New York"]), max_size=12), max_size=4)


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(deadline=None)
@given(sentences=sentences, block_length=st.integers(3, 24))
def test_every_piece_is_kept_and_every_word_is_found_again(
    name: str, sentences: list[list[str]], block_length: int
) -> None:
    tokenizer = TOKENIZERS[name]
    specials = vocabulary.special_ids(tokenizer)
    windows = word_windows(sentences, tokenizer, specials, block_length)
    assert windows.lengths.max(initial=0) <= block_length
    numbers = windows.token_targets["words"]
    for example, words in enumerate(sentences):
        pieces: list[int] = []
        places: list[int] = []
        num_words = 0.0
        for window in np.flatnonzero(windows.examples == example):
            start, end = windows.starts[window : window + 2]
            assert windows.input_ids[start] == specials.cls
            assert windows.input_ids[end - 1] == specials.sep
            assert numbers[start] == numbers[end - 1] == IGNORED
            pieces += windows.input_ids[start + 1 : end - 1].tolist()
            places += numbers[start + 1 : end - 1].tolist()
            num_words += windows.weights[window]
        assert pieces == tokenizer.encode(" ".join(words), add_special_tokens=False).ids
        firsts = [place for place, number in enumerate(places) if number != IGNORED]
        assert num_words == len(firsts)
        found: dict[int, list[int]] = {}
        for place, after in itertools.pairwise([*firsts, len(pieces)]):
            found[places[place]] = pieces[place:after]
        assert list(found) == sorted(found)
        for number, text in enumerate(words):
            seen = f" {text}" if name != "word pieces" and number else text
            assert found.get(number, []) == tokenizer.encode(seen, add_special_tokens=False).ids


@settings(deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=40), st.integers(1, 20))
def test_cuts_are_between_words_and_windows_as_few_as_that_allows(lengths: list[int], room: int) -> None:
    is_first = np.zeros(sum(lengths), dtype=bool)
    is_first[np.cumsum([0, *lengths[:-1]])] = True
    borders = cuts(is_first, room)
    sizes = np.diff(borders)
    assert borders[0] == 0
    assert borders[-1] == len(is_first)
    assert (sizes > 0).all()
    assert (sizes <= room).all()
    if max(lengths) <= room:
        assert is_first[borders[:-1]].all()
    if set(lengths) == {1}:
        assert len(sizes) == -(-len(is_first) // room)
        assert np.ptp(sizes) <= 1


def test_a_word_longer_than_a_window_is_cut_itself_and_nothing_else_is() -> None:
    is_first = np.array([1, 1, 1] + [0] * 10 + [1, 1], dtype=bool)
    borders = cuts(is_first, 4)
    assert borders == [0, 2, 6, 10, 13, 15]
    assert cuts(np.zeros(0, dtype=bool), 4) == [0, 0]


def test_a_blank_goes_with_the_word_behind_it() -> None:
    offsets = [(0, 2), (2, 3), (3, 5), (5, 9), (9, 10)]  # "ab", " ", "cd", " efg", and what is past the end
    assert owners(["ab", "cd", "efg"], offsets).tolist() == [0, 1, 1, 2, 2]
    assert owners(["ab", "", "cd"], [(0, 2), (4, 6)]).tolist() == [0, 2]
    assert owners(["ab"], []).tolist() == []
