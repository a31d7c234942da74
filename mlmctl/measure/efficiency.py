"""What a start is worth in labels: read off two curves of a score over numbers of labels.

A score with K labels is worth N labels of another start if that one reaches the score with N. Between two
measured numbers the score is taken to be linear in the logarithm of the number, and never to fall.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_NUM_DRAWS = 2000
_LEVEL = 0.95
_SEED = 0

Scores = Sequence[Sequence[float]]
"""For each number of labels, ascending, the scores of its seeds."""


@dataclass(frozen=True)
class Worth:
    """What `labels` labels of one start are worth in labels of another."""

    labels: int
    equivalent: float
    """inf where the other start never reaches the score; 0 where the fewest labels measured give it more."""
    low: float
    high: float
    """With a confidence of 95 % the other seeds would give a number between; equal to `equivalent` where no
    number of labels has more than one seed."""


def equivalent(counts: Sequence[int], scores: Sequence[float], target: float) -> float:
    """The number of labels at which the curve `scores` over `counts` (ascending) reaches `target`."""
    rising = np.maximum.accumulate(np.asarray(scores, np.float64))
    if target > rising[-1]:
        return math.inf
    at = int(np.searchsorted(rising, target))
    if at == 0:
        return float(counts[0]) if target == rising[0] else 0.0
    share = (target - rising[at - 1]) / (rising[at] - rising[at - 1])
    low, high = math.log(counts[at - 1]), math.log(counts[at])
    return math.exp(low + share * (high - low))


def worth(counts: Sequence[int], scores: Scores, others: Scores, index: int) -> Worth:
    """What `counts[index]` labels with `scores` are worth in labels with `others`.

    The interval is that of draws of the true means of the seeds, each number of labels by itself: Student's t
    about the mean that was measured. Seeds are few, so how widely they spread is taken from the neighbouring
    numbers too. That both starts are judged on the same finite test data is not in it.
    """
    draws = np.random.Generator(np.random.PCG64(_SEED))
    targets = _true_means(scores, index, draws)
    curves = np.stack([_true_means(others, at, draws) for at in range(len(counts))], axis=1)
    found = np.array(
        [equivalent(counts, curve, target) for curve, target in zip(curves, targets, strict=True)]
    )
    tail = (1 - _LEVEL) / 2
    low, high = np.quantile(found, [tail, 1 - tail], method="closest_observation")
    mean = equivalent(counts, [float(np.mean(some)) for some in others], float(np.mean(scores[index])))
    return Worth(counts[index], mean, min(float(low), mean), max(float(high), mean))


def _true_means(scores: Scores, index: int, draws: np.random.Generator) -> NDArray[np.float64]:
    """Where the mean over all seeds may be with the `index`-th number of labels [num_draws]."""
    measured = np.asarray(scores[index], np.float64)
    variance, freedom = _variance(scores, index)
    error = math.sqrt(variance / len(measured))
    means: NDArray[np.float64] = measured.mean() + error * draws.standard_t(max(freedom, 1), _NUM_DRAWS)
    return means


def _variance(scores: Scores, index: int) -> tuple[float, int]:
    """(variance of the seeds, its degrees of freedom), over a number of labels and those next to it.

    Over as many more to both sides as it takes to find one with two seeds; (0, 0) where there is none.
    """
    for reach in range(1, len(scores) + 1):
        near = scores[max(0, index - reach) : index + reach + 1]
        freedom = sum(len(some) - 1 for some in near)
        if freedom:
            return sum(float(np.var(some)) * len(some) for some in near) / freedom, freedom
    return 0.0, 0
