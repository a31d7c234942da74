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

_NUM_RESAMPLES = 2000
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
    """95 % of draws from the seeds that were measured lie between; equal to `equivalent` where there is one
    seed each."""


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

    The interval is that of the percentile bootstrap over seeds, each number of labels by itself. With few
    seeds it is too narrow: that of the mean of two is from one to the other, which holds the true mean in
    half of all cases. That both starts are judged on the same finite test data is not in it.
    """
    draws = np.random.Generator(np.random.PCG64(_SEED))
    targets = _resampled(scores[index], draws)
    curves = np.stack([_resampled(some, draws) for some in others], axis=1)
    found = np.array(
        [equivalent(counts, curve, target) for curve, target in zip(curves, targets, strict=True)]
    )
    tail = (1 - _LEVEL) / 2
    low, high = np.quantile(found, [tail, 1 - tail], method="closest_observation")
    mean = equivalent(counts, [float(np.mean(some)) for some in others], float(np.mean(scores[index])))
    return Worth(counts[index], mean, min(float(low), mean), max(float(high), mean))


def _resampled(scores: Sequence[float], draws: np.random.Generator) -> NDArray[np.float64]:
    """Means of draws with replacement [num_resamples]."""
    values = np.asarray(scores, np.float64)
    chosen = draws.integers(0, len(values), (_NUM_RESAMPLES, len(values)))
    means: NDArray[np.float64] = values[chosen].mean(axis=1)
    return means
