"""Masking: exact counts, never a special token, and a function of the block alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlmctl.text.masking import IGNORED, Masked, block_keys, capacity, mask_tokens, num_masked
from mlmctl.text.specials import Specials

SPECIALS = Specials(pad=0, unk=1, cls=2, sep=3, mask=4, vocab_size=50, others=(20,))


def blocks_of(rng: np.random.Generator, num_blocks: int, length: int) -> np.ndarray:
    ids = rng.integers(0, SPECIALS.vocab_size, (num_blocks, length))
    ids[:, 0], ids[:, -1] = SPECIALS.cls, SPECIALS.sep
    return ids


def mask(ids: np.ndarray, rate: float, numbers: np.ndarray | None = None, seed: int = 0) -> Masked:
    numbers = np.arange(len(ids)) if numbers is None else numbers
    keys = block_keys(seed, np.zeros(len(ids), np.int64), numbers)
    return mask_tokens(ids, keys, rate, SPECIALS, capacity(ids.shape[1], 0.95))


@given(st.integers(1, 6), st.integers(8, 70), st.floats(0.01, 0.95), st.integers(0, 10**6))
def test_exactly_the_promised_number_of_ordinary_tokens(b: int, length: int, rate: float, seed: int) -> None:
    ids = blocks_of(np.random.default_rng(seed), b, length)
    masked = mask(ids, rate, seed=seed)
    maskable = SPECIALS.is_ordinary[ids]
    expected = [min(max(round(rate * n), 1), n) for n in maskable.sum(1).tolist()]
    assert masked.weights.sum(1).tolist() == expected
    changed = masked.input_ids != ids
    chosen = masked.dense_labels() != IGNORED
    assert not (changed & ~chosen).any()
    assert maskable[chosen].all()
    assert (masked.dense_labels()[chosen] == ids[chosen]).all()
    assert np.isin(masked.input_ids[chosen], [*SPECIALS.ordinary, SPECIALS.mask]).all()
    for row, weights in zip(masked.positions, masked.weights, strict=True):
        used = row[weights > 0]
        assert (np.diff(used) > 0).all()
    assert (masked.labels[masked.weights == 0] == 0).all()
    assert (masked.positions[masked.weights == 0] == 0).all()


@given(st.integers(0, 10**6), st.permutations(range(6)))
def test_a_mask_does_not_depend_on_the_batch(seed: int, order: list[int]) -> None:
    ids = blocks_of(np.random.default_rng(seed), 6, 32)
    together = mask(ids, 0.3, seed=seed)
    shuffled = mask(ids[order], 0.3, np.array(order), seed=seed)
    alone = mask(ids[2:3], 0.3, np.array([2]), seed=seed)
    assert np.array_equal(together.input_ids[order], shuffled.input_ids)
    assert np.array_equal(together.positions[order], shuffled.positions)
    assert np.array_equal(together.input_ids[2:3], alone.input_ids)


def test_seed_epoch_and_number_each_change_the_mask() -> None:
    ids = np.tile(np.arange(5, 20), (1, 8))
    one, zero = np.array([1]), np.array([0])
    masks = [
        mask_tokens(ids, block_keys(seed, epoch, number), 0.3, SPECIALS, 60).positions.tobytes()
        for seed, epoch, number in [(0, zero, zero), (1, zero, zero), (0, one, zero), (0, zero, one)]
    ]
    assert len(set(masks)) == 4


def test_shares_places_and_replacements_are_even() -> None:
    ids = np.full((2000, 100), 30)
    ids[:, 0], ids[:, -1] = SPECIALS.cls, SPECIALS.sep
    masked = mask(ids, 0.15)
    used = masked.weights > 0
    shares = np.bincount(masked.kinds[used], minlength=3) / used.sum()
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.01)
    places = np.bincount(masked.positions[used], minlength=100)[1:-1]
    assert places.std() < 1.3 * np.sqrt(places.mean())
    drawn = masked.input_ids[:, 1:-1][(masked.input_ids[:, 1:-1] != 30) & (masked.input_ids[:, 1:-1] != 4)]
    counts = np.bincount(drawn, minlength=50)[SPECIALS.ordinary]
    counts = counts[counts > 0]
    assert len(counts) == len(SPECIALS.ordinary) - 1
    assert counts.std() < 1.5 * np.sqrt(counts.mean())


def test_fault_44_special_tokens_only_and_a_single_token() -> None:
    nothing = np.array([[2, 3, 0, 0, 0, 0, 0, 0]])
    masked = mask(nothing, 0.15)
    assert masked.weights.sum() == 0
    assert np.array_equal(masked.input_ids, nothing)
    assert (masked.dense_labels() == IGNORED).all()
    single = np.array([[2, 30, 3, 0, 0, 0, 0, 0]])
    masked = mask(single, 0.15)
    assert masked.weights.sum() == 1
    assert masked.labels[0, 0] == 30


def test_no_room_is_an_error_and_capacity_is_enough() -> None:
    ids = np.full((1, 100), 30)
    ids[:, 0], ids[:, -1] = 2, 3
    keys = block_keys(0, np.array([0]), np.array([0]))
    assert mask_tokens(ids, keys, 0.3, SPECIALS, capacity(100, 0.3)).weights.all()
    with pytest.raises(ValueError, match="room"):
        mask_tokens(ids, keys, 0.3, SPECIALS, capacity(100, 0.3) - 1)


def test_counts_by_hand() -> None:
    assert num_masked(np.array([0, 1, 6, 10, 126]), 0.15).tolist() == [0, 1, 1, 2, 19]
