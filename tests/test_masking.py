"""Masking: budgets, whole units, never a special token, and a function of the block alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlmctl.text.masking import (
    IGNORED,
    SHARES,
    Masked,
    block_keys,
    capacity,
    choose,
    mask_blocks,
    num_masked,
    take_fitting,
)
from mlmctl.text.specials import Specials
from mlmctl.text.units import MAX_SPAN_WORDS, TOKENS, Units, opening_probability, whole_words

SPECIALS = Specials(pad=0, unk=1, cls=2, sep=3, mask=4, vocab_size=50, others=(20,))
WORDS, SPANS = Units("word"), Units("span")
EVERY = pytest.mark.parametrize("units", [TOKENS, WORDS, SPANS], ids=lambda units: units.kind)
units_drawn = st.builds(Units, st.sampled_from(["token", "word", "span"]), st.floats(1, 8))


def blocks_of(rng: np.random.Generator, num_blocks: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Blocks with special tokens anywhere, and words of any length (one in some blocks, up to a block)."""
    ids = rng.integers(0, SPECIALS.vocab_size, (num_blocks, length))
    ids[:, 0], ids[:, -1] = SPECIALS.cls, SPECIALS.sep
    starts = rng.random(ids.shape) < rng.choice([0.02, 0.3, 0.8], (num_blocks, 1))
    return ids, starts & SPECIALS.is_ordinary[ids]


def keys_of(num_blocks: int, seed: int = 0) -> np.ndarray:
    return block_keys(seed, np.zeros(num_blocks, np.int64), np.arange(num_blocks))


def words_in(ids: np.ndarray, starts: np.ndarray) -> list[list[list[int]]]:
    """For each block, the places of each word: told one token at a time."""
    found = []
    for row, bits in zip(ids.tolist(), starts.tolist(), strict=True):
        words: list[list[int]] = []
        for at, (token, is_start) in enumerate(zip(row, bits, strict=True)):
            if SPECIALS.is_ordinary[token]:
                if is_start or not at or not SPECIALS.is_ordinary[row[at - 1]]:
                    words.append([])
                words[-1].append(at)
        found.append(words)
    return found


@given(st.integers(1, 6), st.integers(8, 70), st.floats(0.01, 0.95), st.integers(0, 10**6), units_drawn)
def test_ordinary_tokens_only_and_labels_where_they_were(
    b: int, length: int, rate: float, seed: int, units: Units
) -> None:
    ids, starts = blocks_of(np.random.default_rng(seed), b, length)
    masked = mask_blocks(ids, starts, keys_of(b, seed), rate, SPECIALS, units)
    maskable = SPECIALS.is_ordinary[ids]
    labels = masked.dense_labels()
    chosen = labels != IGNORED
    assert not ((masked.input_ids != ids) & ~chosen).any()
    assert maskable[chosen].all()
    assert (labels[chosen] == ids[chosen]).all()
    assert np.isin(masked.input_ids[chosen], [*SPECIALS.ordinary, SPECIALS.mask]).all()
    for row, weights in zip(masked.positions, masked.weights, strict=True):
        assert (np.diff(row[weights > 0]) > 0).all()
    unused = masked.weights == 0
    for array in (masked.labels, masked.positions, masked.kinds, masked.opens):
        assert not array[unused].any()
    assert (chosen.any(1) == maskable.any(1)).all()
    if units.kind == "token":
        expected = [min(max(round(rate * n), 1), n) for n in maskable.sum(1).tolist()]
        assert chosen.sum(1).tolist() == expected
        assert masked.positions.shape[1] == capacity(length, rate)


@given(st.integers(8, 70), st.floats(0.01, 0.95), st.integers(0, 10**6), st.sampled_from([WORDS, SPANS]))
def test_words_are_hidden_whole_and_within_the_budget(
    length: int, rate: float, seed: int, units: Units
) -> None:
    ids, starts = blocks_of(np.random.default_rng(seed), 3, length)
    chosen, _ = choose(SPECIALS.is_ordinary[ids], starts, keys_of(3, seed), rate, units)
    for row, words in zip(chosen, words_in(ids, starts), strict=True):
        num_maskable = sum(map(len, words))
        budget = min(max(round(rate * num_maskable), 1), num_maskable)
        hidden = [word for word in words if row[word].all()]
        assert sum(map(len, hidden)) == row.sum()  # no word in part
        if row.sum() > budget:
            assert len(hidden) == 1
            assert min(map(len, words)) > budget
        else:
            left_out = [len(word) for word in words if word not in hidden]
            assert min(left_out, default=length) > budget - row.sum()  # nothing more would fit


MASK64 = 2**64 - 1


def mixed(value: int) -> int:
    """The finaliser of SplitMix64, in plain integers."""
    value = (value + 0x9E3779B97F4A7C15) & MASK64
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK64
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK64
    return value ^ (value >> 31)


def chosen_by_hand(words: list[list[int]], key: int, rate: float, units: Units, chance: float) -> set[int]:
    """The rule as one would tell it: cut into runs, shuffle the runs, take each unit that still fits."""
    pieces = [[at] for word in words for at in word] if units.kind == "token" else words
    runs: list[list[list[int]]] = []
    for unit in pieces:
        goes_on = (
            units.kind == "span"
            and runs
            and runs[-1][-1][-1] == unit[0] - 1
            and (mixed(mixed(key ^ MASK64) ^ unit[0]) >> 11) * 2.0**-53 >= chance
            and len(runs[-1]) < MAX_SPAN_WORDS
        )
        runs[-1].append(unit) if goes_on else runs.append([unit])
    runs.sort(key=lambda run: mixed(key ^ mixed(run[0][0])))
    ordered = [unit for run in runs for unit in (reversed(run) if key % 2 else run)]
    num_maskable = sum(map(len, pieces))
    budget = min(max(round(rate * num_maskable), 1), num_maskable)
    taken: set[int] = set()
    for unit in ordered:
        if len(taken) + len(unit) <= budget:
            taken |= set(unit)
    return taken or set(ordered[0] if ordered else [])


@given(st.integers(8, 40), st.floats(0.01, 0.95), st.integers(0, 10**6), units_drawn)
def test_the_choice_is_the_one_made_by_hand(length: int, rate: float, seed: int, units: Units) -> None:
    ids, starts = blocks_of(np.random.default_rng(seed), 4, length)
    keys = keys_of(4, seed)
    chosen, _ = choose(SPECIALS.is_ordinary[ids], starts, keys, rate, units)
    chance = opening_probability(units.span_length)
    for row, words, key in zip(chosen, words_in(ids, starts), keys.tolist(), strict=True):
        assert set(np.flatnonzero(row).tolist()) == chosen_by_hand(words, key, rate, units, chance)


@given(st.lists(st.lists(st.integers(1, 9), max_size=12), min_size=1, max_size=4), st.data())
def test_everything_that_fits_is_taken_in_order(rows: list[list[int]], data: st.DataObject) -> None:
    budgets = [data.draw(st.integers(0, 30)) for _ in rows]
    width = max(map(len, rows))
    sizes = np.array([[*row, *[0] * (width - len(row))] for row in rows], np.int64)
    taken = take_fitting(sizes, np.array(budgets))
    for row, budget, found in zip(rows, budgets, taken.tolist(), strict=True):
        left, expected = budget, []
        for size in row:
            expected.append(size <= left)
            left -= size * expected[-1]
        if row and not any(expected):
            expected[0] = True
        assert found == expected + [False] * (width - len(row))


@given(st.integers(0, 10**6), st.permutations(range(6)), units_drawn)
def test_a_mask_does_not_depend_on_the_batch(seed: int, order: list[int], units: Units) -> None:
    ids, starts = blocks_of(np.random.default_rng(seed), 6, 32)
    keys = keys_of(6, seed)
    together = mask_blocks(ids, starts, keys, 0.3, SPECIALS, units)
    shuffled = mask_blocks(ids[order], starts[order], keys[order], 0.3, SPECIALS, units)
    alone = mask_blocks(ids[2:3], starts[2:3], keys[2:3], 0.3, SPECIALS, units)
    assert np.array_equal(together.input_ids[order], shuffled.input_ids)
    assert np.array_equal(together.positions[order], shuffled.positions)
    assert np.array_equal(together.input_ids[2:3], alone.input_ids)
    assert np.array_equal(together.dense_labels()[2:3], alone.dense_labels())


def test_seed_epoch_and_number_each_change_the_mask() -> None:
    ids = np.tile(np.arange(5, 20), (1, 8))
    one, zero = np.array([1]), np.array([0])
    masks = [
        mask_blocks(ids, ids > 0, block_keys(seed, epoch, number), 0.3, SPECIALS).positions.tobytes()
        for seed, epoch, number in [(0, zero, zero), (1, zero, zero), (0, one, zero), (0, zero, one)]
    ]
    assert len(set(masks)) == 4


def of_equal_words(num_blocks: int, size: int, units: Units, rate: float = 0.15) -> Masked:
    """Blocks of 120 ordinary tokens, all words of one size."""
    ids = np.full((num_blocks, 122), 30)
    ids[:, 0], ids[:, -1] = SPECIALS.cls, SPECIALS.sep
    starts = np.tile(np.arange(122) % size == 1 % size, (num_blocks, 1))
    return mask_blocks(ids, starts, keys_of(num_blocks), rate, SPECIALS, units)


@EVERY
@pytest.mark.parametrize("size", [1, 3])
def test_every_word_is_equally_likely(units: Units, size: int) -> None:
    masked = of_equal_words(4000, size, units)
    chosen = masked.dense_labels() != IGNORED
    by_place = chosen[:, 1:-1].reshape(4000, -1, size).mean(axis=(0, 2))
    assert chosen.mean() * 122 / 120 == pytest.approx(0.15, abs=1e-6)
    # The first and last words of a text are always at an end of their span, from which it is hidden.
    assert by_place == pytest.approx(np.full(len(by_place), 0.15), abs=0.04 if units is SPANS else 0.02)
    assert by_place.std() < 0.01


def test_long_words_are_hardly_spared() -> None:
    rng = np.random.default_rng(0)
    is_ordinary = np.ones((8000, 128), bool)
    is_ordinary[:, [0, -1]] = False
    starts = whole_words(is_ordinary, rng.random(is_ordinary.shape) < 0.75)
    for units in (WORDS, SPANS):
        chosen, _ = choose(is_ordinary, starts, keys_of(8000), 0.3, units)
        word = np.cumsum(starts)[is_ordinary.ravel()] - 1
        sizes, hidden = np.bincount(word), np.bincount(word, weights=chosen[is_ordinary])
        shares = [hidden[sizes == size].sum() / sizes[sizes == size].sum() for size in (1, 2, 3)]
        assert shares == pytest.approx([0.3, 0.3, 0.3], abs=0.025)


@EVERY
def test_shares_and_replacements_are_even(units: Units) -> None:
    masked = of_equal_words(3000, 2, units)
    used = masked.weights > 0
    shares = np.bincount(masked.kinds[used], minlength=3) / used.sum()
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.02)
    inner = masked.input_ids[:, 1:-1]
    counts = np.bincount(inner[(inner != 30) & (inner != SPECIALS.mask)], minlength=50)[SPECIALS.ordinary]
    counts = counts[counts > 0]
    assert len(counts) == len(SPECIALS.ordinary) - 1
    assert counts.std() < 1.5 * np.sqrt(counts.mean())


def test_what_becomes_of_it_is_decided_for_each_token_but_once_for_a_span() -> None:
    for units, is_shared in ((WORDS, False), (SPANS, True)):
        masked = of_equal_words(500, 2, units)
        used = masked.weights > 0
        unit = np.cumsum(masked.opens)[used.ravel()]
        kinds = masked.kinds[used]
        assert (len(np.unique(np.stack([unit, kinds]), axis=1).T) == masked.opens.sum()) == is_shared
        words = kinds.reshape(-1, 2)  # every word is hidden whole, and in order
        differ = (words[:, 0] != words[:, 1]).mean()
        assert differ == (0 if is_shared else pytest.approx(1 - 0.8**2 - 2 * 0.1**2, abs=0.03))
    assert list(SHARES) == ["mask", "random", "keep"]


@EVERY
def test_fault_44_special_tokens_only_and_a_single_token(units: Units) -> None:
    nothing = np.array([[2, 3, 0, 0, 0, 0, 0, 0]])
    none = np.zeros(nothing.shape, bool)
    masked = mask_blocks(nothing, none, keys_of(1), 0.15, SPECIALS, units)
    assert masked.weights.sum() == 0
    assert np.array_equal(masked.input_ids, nothing)
    assert (masked.dense_labels() == IGNORED).all()
    single = np.array([[2, 30, 3, 0, 0, 0, 0, 0]])
    masked = mask_blocks(single, none, keys_of(1), 0.15, SPECIALS, units)
    assert masked.weights.sum() == 1
    assert masked.labels[0, 0] == 30
    empty = mask_blocks(nothing[:0], none[:0], keys_of(0), 0.15, SPECIALS, units)
    assert empty.positions.shape == (0, 1)


@pytest.mark.parametrize("units", [WORDS, SPANS], ids=lambda units: units.kind)
def test_fault_44_a_word_as_long_as_the_block_is_hidden_and_has_room(units: Units) -> None:
    ids = np.full((2, 100), 30)
    ids[:, 0], ids[:, -1] = 2, 3
    starts = np.zeros(ids.shape, bool)
    starts[1] = ids[1] == 30
    masked = mask_blocks(ids, starts, keys_of(2), 0.15, SPECIALS, units)
    assert masked.weights.sum(1).tolist() == [98, 15]
    assert masked.positions.shape[1] == 100
    ordinary = mask_blocks(ids[1:], starts[1:], keys_of(2)[1:], 0.15, SPECIALS, units)
    assert ordinary.positions.shape[1] == capacity(100, 0.15) == 15
    starts[0, [1, 21, 41, 61, 81]] = True  # words of 20 tokens, and the last of 18: one does not fit 15
    masked = mask_blocks(ids, starts, keys_of(2), 0.15, SPECIALS, units)
    assert masked.weights.sum(1)[0] in (18, 20)
    assert masked.positions.shape[1] == 30


def test_counts_by_hand() -> None:
    assert num_masked(np.array([0, 1, 6, 10, 126]), 0.15).tolist() == [0, 1, 1, 2, 19]
