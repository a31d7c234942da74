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
    return float(unigram_nll(labels, counts).mean()) if len(labels) else 0.0


def unigram_nll(labels: NDArray[np.integer], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Nats [n] that each of the labels [n] costs under the token counts [vocab_size], add-one smoothed."""
    smoothed = counts.astype(np.float64) + 1.0
    return np.asarray(math.log(smoothed.sum()) - np.log(smoothed)[labels])


def bits_per_byte(loss: float, num_tokens: int, num_bytes: int) -> float:
    """Bits a byte of text: of a loss in nats a token, where `num_tokens` tokens are `num_bytes` of UTF-8."""
    return loss * num_tokens / (math.log(2) * num_bytes) if num_bytes else 0.0


BANDS = {"over_1000": 1000.0, "100_to_1000": 100.0, "10_to_100": 10.0, "under_10": -1.0}
"""Bands of frequency, the most frequent tokens first -> what a frequency in a million is above."""


def by_frequency(
    labels: NDArray[np.integer],
    nll: NDArray[np.float32],
    is_hit: NDArray[np.bool_],
    counts: NDArray[np.int64],
) -> dict[str, dict[str, float]]:
    """Loss, accuracy and unigram loss of predicted tokens [n] by how often each occurs in training.

    `counts` [vocab_size] are those of the training text. Bands in which no token was predicted are left out.
    """
    per_million = 1e6 * counts / max(int(counts.sum()), 1)
    left = np.ones(len(labels), dtype=bool)
    baseline = unigram_nll(labels, counts)
    found = {}
    for name, above in BANDS.items():
        chosen = left & (per_million[labels] > above)
        left &= ~chosen
        if chosen.any():
            of_band = sums(nll[chosen], is_hit[chosen])
            found[name] = {
                "loss": of_band.loss,
                "unigram_loss": float(baseline[chosen].mean()),
                "accuracy": of_band.accuracy,
                "num_tokens": of_band.num_tokens,
            }
    return found


def uniform_loss(vocab_size: int) -> float:
    """Cross-entropy (nats a token) of a guess among `vocab_size` tokens: its logarithm."""
    return math.log(vocab_size)
