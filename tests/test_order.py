"""The order of the blocks is a permutation that needs no memory of what came before."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlmctl.text.order import block_numbers, blocks_at, permute


@given(st.integers(1, 300), st.integers(0, 2**31 - 1), st.integers(0, 1000))
def test_every_epoch_is_a_permutation(num_blocks: int, seed: int, epoch: int) -> None:
    numbers = block_numbers(seed, epoch, 0, num_blocks, num_blocks)
    assert sorted(numbers.tolist()) == list(range(num_blocks))


def test_large_numbers_are_permuted_too() -> None:
    num_blocks = 100_003
    numbers = block_numbers(7, 3, 0, num_blocks, num_blocks)
    assert np.array_equal(np.sort(numbers), np.arange(num_blocks))


def test_epochs_and_seeds_differ_and_look_shuffled() -> None:
    first = block_numbers(0, 0, 0, 10_000, 10_000)
    assert (first == block_numbers(0, 1, 0, 10_000, 10_000)).sum() < 10
    assert (first == block_numbers(1, 0, 0, 10_000, 10_000)).sum() < 10
    assert abs(np.corrcoef(first, np.arange(10_000))[0, 1]) < 0.05
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.05


@given(st.integers(1, 50), st.integers(0, 200), st.integers(1, 120))
def test_a_global_index_runs_on_over_the_epochs(num_blocks: int, index: int, count: int) -> None:
    epochs, numbers = blocks_at(5, index, count, num_blocks)
    assert epochs.tolist() == [i // num_blocks for i in range(index, index + count)]
    one_by_one = [
        block_numbers(5, i // num_blocks, i % num_blocks, 1, num_blocks)[0]
        for i in range(index, index + count)
    ]
    assert numbers.tolist() == one_by_one


def test_a_place_outside_is_refused() -> None:
    with pytest.raises(ValueError, match="outside"):
        permute(np.array([3]), 3, 0, 0)
