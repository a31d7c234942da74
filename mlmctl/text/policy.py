"""The masking policy of a run: the frozen validation masks, and an audit of what masking really does."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import masking
from .blocks import Blocks
from .masking import SHARES, Masked
from .order import block_numbers

VALID_RATE = 0.15
"""Share masked in validation, whatever the training rate: losses stay comparable."""

_NUM_DECILES = 10
_NUM_TOKENS = 50


@dataclass(frozen=True)
class Sample:
    """Some blocks, and the same blocks masked."""

    numbers: NDArray[np.int64]
    input_ids: NDArray[np.int64]
    """[B, L] as packed."""
    masked: Masked


def draw(blocks: Blocks, most: int, rate: float, seed: int) -> Sample:
    """Mask at most `most` blocks, picked and masked by `seed`; all blocks if there are no more."""
    numbers = block_numbers(seed, 0, 0, min(most, blocks.num_blocks), blocks.num_blocks)
    return sample(blocks, numbers, rate, seed)


def sample(blocks: Blocks, numbers: NDArray[np.int64], rate: float, seed: int) -> Sample:
    """Mask these blocks as epoch 0 of `seed` does."""
    input_ids = blocks.rows(numbers)
    keys = masking.block_keys(seed, np.zeros(len(numbers), np.int64), numbers)
    room = masking.capacity(blocks.block_length, rate)
    return Sample(numbers, input_ids, masking.mask_tokens(input_ids, keys, rate, blocks.specials, room))


def audit(blocks: Blocks, drawn: Sample, tokens: dict[int, str]) -> dict[str, Any]:
    """Counts and shares of what was masked, to be read beside what was asked for.

    Shares of places and of word starts come with the shares among all tokens that could be masked, so
    that a bias can be seen.
    """
    is_maskable = blocks.specials.is_ordinary[drawn.input_ids]  # [B, L]
    labels = drawn.masked.dense_labels()
    is_masked = labels != masking.IGNORED
    starts = blocks.word_starts(drawn.numbers)
    num_maskable, num_masked = int(is_maskable.sum()), int(is_masked.sum())
    used = drawn.masked.weights > 0
    kinds = np.bincount(drawn.masked.kinds[used], minlength=len(SHARES)).tolist()
    decile = np.arange(blocks.block_length) * _NUM_DECILES // blocks.block_length
    by_decile = [
        _share(is_masked[:, decile == d].sum(), is_maskable[:, decile == d].sum())
        for d in range(_NUM_DECILES)
    ]
    often = Counter(labels[is_masked].tolist())
    ranked = sorted(often.items(), key=lambda item: (-item[1], item[0]))[:_NUM_TOKENS]
    return {
        "num_blocks": len(drawn.numbers),
        "num_maskable": num_maskable,
        "num_masked": num_masked,
        "masked_share": _share(num_masked, num_maskable),
        "num_blocks_without_masks": int((~is_masked.any(axis=1)).sum()),
        "kinds": {kind: _share(n, num_masked) for kind, n in zip(SHARES, kinds, strict=True)},
        "masked_share_by_decile_of_place": by_decile,
        "word_starts": {
            "share_of_masked": _share((starts & is_masked).sum(), num_masked),
            "share_of_maskable": _share((starts & is_maskable).sum(), num_maskable),
        },
        "most_often_masked": [{"token": tokens.get(i, ""), "count": n} for i, n in ranked],
    }


def _share(part: Any, whole: Any) -> float:
    return round(float(part) / float(whole), 6) if whole else 0.0
