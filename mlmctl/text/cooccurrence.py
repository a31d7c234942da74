"""Counts which tokens stand near which others: what a model can be told before it has learned anything."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from . import order
from .blocks import Blocks

_WEIGHTS = (12, 6, 4, 3)  # of a neighbour 1, 2, 3, 4 places away: 1/distance, in whole numbers
_TOKENS_AT_ONCE = 2**18


def counts(blocks: Blocks, contexts: NDArray[np.int64], most_tokens: int, seed: int) -> NDArray[np.int32]:
    """How often each token stands within 4 places of each of `contexts`: int32 [vocab_size, len(contexts)].

    A neighbour counts 12 divided by its distance, so the sums are exact in any order. Special tokens count
    as neighbours of nothing. Of a larger corpus a sample of blocks with `most_tokens` is counted, drawn by
    `seed`; `contexts` holds ids without repetition.
    """
    vocab_size, num_contexts = blocks.specials.vocab_size, len(contexts)
    column = np.full(vocab_size, -1, np.int64)
    column[contexts] = np.arange(num_contexts)
    column[~blocks.specials.is_ordinary] = -1
    num_blocks = min(blocks.num_blocks, max(1, most_tokens // blocks.block_length))
    numbers = np.sort(order.block_numbers(seed, 0, 0, num_blocks, blocks.num_blocks))
    found = np.zeros(vocab_size * num_contexts, np.int32)
    at_once = max(1, _TOKENS_AT_ONCE // blocks.block_length)
    for first in range(0, num_blocks, at_once):
        rows = blocks.rows(numbers[first : first + at_once])
        for distance, weight in enumerate(_WEIGHTS, start=1):
            left, right = rows[:, :-distance], rows[:, distance:]
            for tokens, neighbours in ((left, right), (right, left)):
                columns = column[neighbours]
                is_counted = (columns >= 0) & blocks.specials.is_ordinary[tokens]
                places = tokens[is_counted] * num_contexts + columns[is_counted]
                np.add.at(found, places, weight)
    return found.reshape(vocab_size, num_contexts)
