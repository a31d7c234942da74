"""Numbers of a masked language model: mean loss and accuracy, and what they are to be compared with.

A loss means little alone. `uniform_loss` is that of a model that knows the vocabulary only, and
`unigram_loss` that of one that knows how frequent each token is; below it a model uses the context.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Sums:
    """Sums over predicted tokens; those of parts add up to those of the whole."""

    nll: float = 0.0
    """Negative log-likelihood in nats."""
    num_hits: int = 0
    """Tokens whose most probable prediction was right."""
    num_tokens: int = 0

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.nll + other.nll, self.num_hits + other.num_hits, self.num_tokens + other.num_tokens)

    @property
    def loss(self) -> float:
        """Nats a predicted token; 0 if there is none."""
        return self.nll / self.num_tokens if self.num_tokens else 0.0

    @property
    def accuracy(self) -> float:
        """Share of tokens predicted right; 0 if there is none."""
        return self.num_hits / self.num_tokens if self.num_tokens else 0.0


def sums(nll: NDArray[np.float32], is_hit: NDArray[np.bool_]) -> Sums:
    """From the loss and the hit of each predicted token, both [num_tokens]; added in float64."""
    return Sums(float(nll.sum(dtype=np.float64)), int(is_hit.sum()), len(nll))


def unigram_loss(labels: NDArray[np.integer], counts: NDArray[np.int64]) -> float:
    """Cross-entropy (nats a token) of labels [n] under the token counts [vocab_size], add-one smoothed."""
    if not len(labels):
        return 0.0
    smoothed = counts.astype(np.float64) + 1.0
    log_probability = np.log(smoothed) - math.log(smoothed.sum())
    return float(-log_probability[labels].mean())


def uniform_loss(vocab_size: int) -> float:
    """Cross-entropy (nats a token) of a guess among `vocab_size` tokens: its logarithm."""
    return math.log(vocab_size)
