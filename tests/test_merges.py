"""Merging pairs: what the definition says, and what the trainer of the `tokenizers` library does."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, pre_tokenizers, trainers
from vocabularies import counted

from mlmctl.text import bytelevel, vocabulary, wordpiece
from mlmctl.text.specials import NAMES


def reference_merges(counts: dict[str, int], alphabet: list[str], size: int) -> list[str]:
    """Byte-pair encoding written as its definition reads: recount everything for every merge."""
    pieces = list(alphabet)
    words = {word: [word[0], *("##" + c for c in word[1:])] for word in counts}
    while len(pieces) < size:
        totals: Counter[tuple[str, str]] = Counter()
        for word, split in words.items():
            for pair in itertools.pairwise(split):
                totals[pair] += counts[word]
        number = {piece: i for i, piece in enumerate(pieces)}
        ranked = sorted(totals, key=lambda p: (-totals[p], number[p[0]], number[p[1]]))
        if not ranked or totals[ranked[0]] < 2:
            break
        left, right = ranked[0]
        merged = left + right.removeprefix("##")
        if merged not in pieces:
            pieces.append(merged)
        for word, split in words.items():
            at, new = 0, []
            while at < len(split):
                if split[at : at + 2] == [left, right]:
                    new.append(merged)
                    at += 2
                else:
                    new.append(split[at])
                    at += 1
            words[word] = new
    return pieces


@settings(deadline=None)
@given(
    st.dictionaries(
        st.text(alphabet="abc", min_size=1, max_size=9), st.integers(1, 9), min_size=1, max_size=14
    ),
    st.integers(12, 40),
)
def test_pieces_are_those_of_the_definition(counts: dict[str, int], size: int) -> None:
    pieces = wordpiece.learn(counts, size)
    num_characters = sum(len(piece.removeprefix("##")) == 1 for piece in pieces)
    assert pieces == reference_merges(counts, pieces[:num_characters], size)
    shuffled = list(counts.items())
    random.Random(size).shuffle(shuffled)
    assert wordpiece.learn(dict(shuffled), size) == pieces


def model_of(tokenizer: Tokenizer) -> dict[str, Any]:
    model: dict[str, Any] = json.loads(tokenizer.to_str())["model"]
    return model


def by_the_library(texts: list[str], size: int) -> Tokenizer:
    tokenizer = vocabulary.untrained(cased=False, kind="bpe")
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        special_tokens=list(NAMES.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


FEW_LETTERS = st.text(alphabet=st.sampled_from("aaabbc ä\n.'s"), max_size=60)


@settings(deadline=None)
@given(st.lists(FEW_LETTERS, min_size=1, max_size=6), st.integers(261, 330))
def test_byte_level_merges_are_those_of_the_library(texts: list[str], size: int) -> None:
    words = counted(texts, kind="bpe").words
    ours, theirs = vocabulary.train(words, size, False, "bpe"), by_the_library(texts, size)
    assert model_of(ours)["merges"] == model_of(theirs)["merges"]
    assert model_of(ours)["vocab"] == model_of(theirs)["vocab"]


def test_all_bytes_come_first() -> None:
    learned = bytelevel.learn({"Ġthe": 5, "Ġtheir": 3}, 300)
    assert sorted(bytelevel.ALPHABET.values()) == list(range(256))
    assert set(learned.pieces[:256]) == set(pre_tokenizers.ByteLevel.alphabet())
    assert learned.pieces[256:] == ["he", "the", "Ġthe", "ir", "Ġtheir"]
