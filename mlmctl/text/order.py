"""In which order the blocks are read: a shuffle that is computed, not stored.

The order of an epoch is a keyed bijection of the block numbers, so the block at any place is found
without a permutation in memory and without replaying what came before: resume needs one integer.

The bijection is an alternating Feistel network (Luby and Rackoff 1988) on the smallest power of two
that holds the numbers; a result outside is enciphered again until it falls inside ("cycle walking",
Black and Rogaway 2002), which takes less than two rounds on average.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from . import draws

_ROUNDS = 8


def permute(places: NDArray[np.int64], num_blocks: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The block number at each place [n] of an epoch; over all places a permutation of [0, num_blocks)."""
    if places.size and not (places.min() >= 0 and places.max() < num_blocks):
        raise ValueError(f"a place outside 0..{num_blocks - 1}")
    bits = (num_blocks - 1).bit_length()
    numbers = places.astype(np.uint64)
    if bits == 0:
        return places.copy()
    round_keys = draws.keys(seed, np.array([epoch], np.int64), np.arange(2 * _ROUNDS, dtype=np.int64))
    outside = np.ones(len(numbers), bool)
    while outside.any():
        numbers[outside] = _encipher(numbers[outside], bits, round_keys)
        outside = numbers >= num_blocks
    return numbers.astype(np.int64)


def block_numbers(seed: int, epoch: int, start: int, count: int, num_blocks: int) -> NDArray[np.int64]:
    """The numbers of the blocks at places `start` to `start + count - 1` of one epoch, int64 [count]."""
    return permute(np.arange(start, start + count, dtype=np.int64), num_blocks, seed, epoch)


def blocks_at(
    seed: int, index: int, count: int, num_blocks: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(epochs, block numbers), int64 [count] each, from a global index that runs on over the epochs."""
    indices = np.arange(index, index + count, dtype=np.int64)
    epochs, places = np.divmod(indices, num_blocks)
    numbers = np.empty(count, np.int64)
    for epoch in np.unique(epochs).tolist():
        here = epochs == epoch
        numbers[here] = permute(places[here], num_blocks, seed, epoch)
    return epochs, numbers


def _encipher(numbers: draws.U64, bits: int, round_keys: draws.U64) -> draws.U64:
    """A bijection of the numbers of `bits` bits: the halves are hashed into each other in turn."""
    low_bits = np.uint64(bits - bits // 2)
    low_mask = np.uint64((1 << (bits - bits // 2)) - 1)
    high_mask = np.uint64((1 << (bits // 2)) - 1)
    low, high = numbers & low_mask, numbers >> low_bits
    for number in range(0, len(round_keys), 2):
        low = low ^ (draws.mix(high ^ round_keys[number]) & low_mask)
        high = high ^ (draws.mix(low ^ round_keys[number + 1]) & high_mask)
    return (high << low_bits) | low
