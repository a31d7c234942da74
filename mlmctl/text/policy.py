"""The masking policy of a run: what is hidden in training, and which validation blocks are frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import MaskConfig
from ..json_files import read_json
from . import masking
from .blocks import Blocks
from .masking import SHARES, Masked
from .order import block_numbers
from .units import TOKENS, Units

VALID_RATE = 0.15
"""Share masked in validation, token by token, whatever training does: losses stay comparable."""


@dataclass(frozen=True)
class Policy:
    """The rules in `policy.json`."""

    rate_start: float
    """Share masked in training before the decay."""
    rate_end: float
    """Share masked at the end of the decay."""
    units: Units
    """What is hidden as a whole in training."""
    seed: int
    """Of the frozen masks."""
    num_frozen_blocks: int

    def to_json(self, blocks: Blocks) -> dict[str, Any]:
        """What `policy.json` holds, with the facts about the blocks that a reader needs beside it."""
        return {
            "rate_start": self.rate_start,
            "rate_end": self.rate_end,
            **self.units.to_json(),
            "valid_rate": VALID_RATE,
            "shares": SHARES,
            "seed": self.seed,
            "num_frozen_blocks": self.num_frozen_blocks,
            "block_length": blocks.block_length,
            "vocab_size": blocks.specials.vocab_size,
            "special_ids": blocks.specials.to_json(),
        }

    @classmethod
    def read(cls, folder: Path) -> Policy:
        """From the artifact `mask/policy`. ArtifactError if it cannot be read."""

        def made(rules: Mapping[str, Any]) -> Policy:
            names = ("rate_start", "rate_end", "unit", "span_length", "seed")
            config = MaskConfig(**{name: rules[name] for name in names})  # holds them to their limits
            return cls(
                rate_start=config.rate_start,
                rate_end=config.rate_end,
                units=Units.from_json(rules),
                seed=config.seed,
                num_frozen_blocks=int(rules["num_frozen_blocks"]),
            )

        return read_json(folder / "policy.json", made)


@dataclass(frozen=True)
class Sample:
    """Some blocks, and the same blocks masked."""

    numbers: NDArray[np.int64]
    input_ids: NDArray[np.int64]
    """[B, L] as packed."""
    word_starts: NDArray[np.bool_]
    """[B, L]"""
    masked: Masked


def frozen_numbers(blocks: Blocks, most: int, seed: int) -> NDArray[np.int64]:
    """The numbers of at most `most` blocks, picked by `seed`; of all blocks if there are no more."""
    return block_numbers(seed, 0, 0, min(most, blocks.num_blocks), blocks.num_blocks)


def sample(
    blocks: Blocks, numbers: NDArray[np.int64], rate: float, seed: int, units: Units = TOKENS
) -> Sample:
    """Mask these blocks as epoch 0 of `seed` does."""
    input_ids, word_starts = blocks.rows(numbers), blocks.word_starts(numbers)
    keys = masking.block_keys(seed, np.zeros(len(numbers), np.int64), numbers)
    masked = masking.mask_blocks(input_ids, word_starts, keys, rate, blocks.specials, units)
    return Sample(numbers, input_ids, word_starts, masked)
