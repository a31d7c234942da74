"""How often a model prefers the right sentence of a minimal pair; a tie is half a success.

So a model that gives all sentences the same score is right in exactly half of all pairs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Share:
    """The share of pairs that are right, and how sure that is."""

    accuracy: float
    standard_error: float
    """Of the accuracy, over draws of pairs: sqrt(variance / n), which without ties is sqrt(p(1-p)/n)."""
    num_examples: int
    num_ties: int

    def to_json(self) -> dict[str, float]:
        return dict(vars(self))


def outcomes(good: NDArray[np.float64], bad: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 where the right sentence scores higher, 0 where the wrong one does, 0.5 for a tie, [num_pairs]."""
    return np.asarray((np.sign(good - bad) + 1) / 2)


def share(outcomes: NDArray[np.float64]) -> Share:
    """Over the pairs of one set; ValueError for none."""
    if not len(outcomes):
        raise ValueError("no pairs")
    error = math.sqrt(float(outcomes.var()) / len(outcomes))
    return Share(float(outcomes.mean()), error, len(outcomes), int((outcomes == 0.5).sum()))


def macro(shares: Sequence[Share]) -> tuple[float, float]:
    """The mean accuracy over sets, however large each is, and its standard error (the sets being fixed)."""
    mean = sum(each.accuracy for each in shares) / len(shares)
    return mean, math.sqrt(sum(each.standard_error**2 for each in shares)) / len(shares)
