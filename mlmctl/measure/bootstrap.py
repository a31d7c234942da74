"""How sure a metric is: intervals over draws of other test examples, and whether two models really differ.

An interval is the bias-corrected and accelerated bootstrap's (BCa: Efron 1987; Efron and Tibshirani 1993,
chapter 14). It holds for examples drawn one by one from what the model will meet, the model being fixed. The
p-value of a difference is that of approximate randomization (Noreen 1989; Yeh 2000): how often a difference
as large comes about if each example's two answers change sides at random. Both are functions of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from .ratios import Floats, Ints, Ratio

LEVEL = 0.95
NUM_RESAMPLES = 5000
_SEED = 0
_AT_ONCE = 2**22  # numbers drawn together: 32 MB
_DECIMALS = 6  # what the order of a sum cannot change
_TIE = 1e-12

_NORMAL = NormalDist()
Statistic = Callable[[Floats], Floats]
"""Sums of rows of a table [num_rows, num_columns] -> the statistic of each [num_rows]."""


@dataclass(frozen=True)
class Interval:
    """Where the metric of the population lies, with a confidence of 95 %."""

    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        return dict(vars(self))


@dataclass(frozen=True)
class Difference:
    """A metric of two models on the same examples."""

    value: float
    baseline: float
    difference: float
    """value - baseline"""
    low: float
    """Of the difference, with a confidence of 95 %."""
    high: float
    p_value: float
    """Two-sided, of no difference; 1 for the same answers."""
    lower_is_better: bool

    @property
    def drops(self) -> tuple[float, float, float]:
        """By how much it became worse: (least, estimate, most) of the interval; negative where better."""
        if self.lower_is_better:
            return self.low, self.difference, self.high
        return -self.high, -self.difference, -self.low

    def to_json(self) -> dict[str, float | bool]:
        return dict(vars(self))


def interval(ratio: Ratio) -> Interval:
    """The interval of a metric. Without variation (one example, all the same) it is a point."""
    return Interval(*_bca(ratio.table, ratio.counts, ratio.values))


def paired(new: Ratio, baseline: Ratio) -> Difference:
    """One metric of two models; ValueError unless both are of the same examples (in order) and parts."""
    sizes, others = (new.num_examples, new.above.shape[1]), (baseline.num_examples, baseline.above.shape[1])
    if sizes != others:
        raise ValueError(f"(examples, parts) are {sizes} against {others}")
    num_groups = len(baseline.above)
    pairs, counts = np.unique(new.group_of * num_groups + baseline.group_of, return_counts=True)
    ours, theirs = new.table[pairs // num_groups], baseline.table[pairs % num_groups]
    width = ours.shape[1]

    def difference(sums: Floats) -> Floats:
        return new.values(sums[:, :width]) - baseline.values(sums[:, width:])

    table = np.concatenate([ours, theirs], axis=1)
    low, high = _bca(table, counts, difference)
    swap = np.concatenate([theirs - ours, ours - theirs], axis=1)
    found = float(difference((counts @ table)[None])[0])
    draw = np.random.Generator(np.random.PCG64(_SEED))
    at_least = 0
    for num_rows in _pieces(len(counts)):
        swapped = draw.binomial(counts, 0.5, size=(num_rows, len(counts)))
        drawn = difference(counts @ table + swapped @ swap)
        at_least += int((np.abs(drawn) >= abs(found) - _TIE).sum())
    return Difference(
        value=new.value,
        baseline=baseline.value,
        difference=found,
        low=low,
        high=high,
        p_value=round((at_least + 1) / (NUM_RESAMPLES + 1), _DECIMALS),
        lower_is_better=new.lower_is_better,
    )


def _bca(table: Floats, counts: Ints, statistic: Statistic) -> tuple[float, float]:
    """The BCa interval of a statistic of the sum of a table's rows, each taken `counts` times."""
    total = counts @ table
    (found,) = statistic(total[None])
    drawn = np.sort(np.concatenate(list(_resampled(table, counts, statistic))))
    if drawn[-1] - drawn[0] <= _TIE:
        return round(float(found), _DECIMALS), round(float(found), _DECIMALS)
    below, equal = (drawn < found - _TIE).sum(), (np.abs(drawn - found) <= _TIE).sum()
    share = (below + equal / 2) / len(drawn)
    bias = _NORMAL.inv_cdf(float(np.clip(share, 0.5 / len(drawn), 1 - 0.5 / len(drawn))))
    acceleration = _acceleration(statistic(total - table), counts)
    ends = []
    for tail in ((1 - LEVEL) / 2, (1 + LEVEL) / 2):
        shifted = bias + _NORMAL.inv_cdf(tail)
        level = _NORMAL.cdf(bias + shifted / (1 - acceleration * shifted))
        ends.append(round(float(np.quantile(drawn, level)), _DECIMALS))
    return ends[0], ends[1]


def _resampled(table: Floats, counts: Ints, statistic: Statistic) -> Iterator[Floats]:
    """The statistic of each resample, in pieces: as many rows as examples, drawn with replacement."""
    num_examples = counts.sum()
    draw = np.random.Generator(np.random.PCG64(_SEED))
    for num_rows in _pieces(len(counts)):
        chosen = draw.multinomial(num_examples, counts / max(num_examples, 1), size=num_rows)
        yield statistic(chosen @ table)


def _acceleration(left_out: Floats, counts: Ints) -> float:
    """A sixth of the skewness of the statistic without one example: `left_out` [num_groups], by `counts`."""
    lead = np.average(left_out, weights=counts) - left_out
    spread = float(counts @ lead**2)
    return float(counts @ lead**3) / (6 * spread**1.5) if spread > 0 else 0.0


def _pieces(num_groups: int) -> Iterator[int]:
    """The resamples, in pieces whose draws fit in memory."""
    at_once = max(1, _AT_ONCE // max(num_groups, 1))
    for first in range(0, NUM_RESAMPLES, at_once):
        yield min(at_once, NUM_RESAMPLES - first)
