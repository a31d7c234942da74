"""Masking while a task is learned: other tokens each time, so that no single word can carry the answer.

Word dropout (Iyyer et al. 2015, aclanthology.org/P15-1162) with the token that an encoder knows for a word
that is not there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..text.specials import Specials

_STREAM = 1
"""Or the numbers would be those that shuffle the windows: a seed that is shorter is filled with zeros."""


@dataclass(frozen=True)
class Hiding:
    """Which tokens of a micro-batch are masked."""

    rate: float
    """Share of the ordinary tokens, each drawn by itself."""
    specials: Specials

    def hide(self, input_ids: Tensor, seed: int, step: int, number: int) -> Tensor:
        """The ids [B, L] with masks in them, a function of (seed, step, number)."""
        generator = np.random.Generator(np.random.PCG64([seed, step, number, _STREAM]))
        ids = input_ids.numpy()
        is_drawn = generator.random(ids.shape, dtype=np.float32) < self.rate
        return torch.from_numpy(np.where(is_drawn & self.specials.is_ordinary[ids], self.specials.mask, ids))
