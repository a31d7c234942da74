"""Whether a classifier is as often right as it says: expected calibration error, and the one temperature.

A model that says 0.9 should be right nine times of ten. Bins of confidence compare the two (Naeini et al.
2015; Guo et al. 2017, arXiv 1706.04599, 15 bins of equal width), and dividing all logits by one number that
is fitted on held-out examples brings them together: the answers stay, only how sure they are changes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .ratios import Floats, Ints

NUM_BINS = 15
_SHARPNESS = (0.05, 20.0)  # 1 / temperature lies between
_NUM_HALVINGS = 60  # to the last bits of a float64
_TINY = 1e-300  # a probability that was rounded to 0


@dataclass(frozen=True)
class Bin:
    """The examples whose confidence is in (low, high]."""

    low: float
    high: float
    confidence: float
    """Their mean."""
    accuracy: float
    num_examples: int

    def to_json(self) -> dict[str, float]:
        return dict(vars(self))


def reliability(
    confidence: Floats, is_right: NDArray[np.bool_], num_bins: int = NUM_BINS, *, adaptive: bool = False
) -> list[Bin]:
    """The bins that hold an example, in order; `confidence` is of the answer given, both [num_examples].

    Of equal width from 0 to 1, or, if `adaptive`, of as equal numbers of examples as equal confidences, which
    stay together, allow (Nixon et al. 2019).
    """
    edges = np.arange(num_bins + 1) / num_bins
    if adaptive and len(confidence):
        inner = np.quantile(confidence, edges[1:-1], method="inverted_cdf")
        edges = np.unique(np.concatenate([[0.0], inner, [1.0]]))
    place = np.searchsorted(edges[1:-1], confidence, side="left")
    bins = []
    for number in np.unique(place):
        chosen = place == number
        bins.append(
            Bin(
                low=float(edges[number]),
                high=float(edges[number + 1]),
                confidence=float(confidence[chosen].mean()),
                accuracy=float(is_right[chosen].mean()),
                num_examples=int(chosen.sum()),
            )
        )
    return bins


def calibration_error(bins: list[Bin]) -> float:
    """Expected calibration error, 0 to 1: the mean gap of bins, by their numbers of examples; 0 for none."""
    total = sum(each.num_examples for each in bins)
    gaps = (each.num_examples * abs(each.confidence - each.accuracy) for each in bins)
    return sum(gaps) / total if total else 0.0


def tempered(probabilities: Floats, temperature: float) -> Floats:
    """The probabilities [num_examples, num_labels] of the same logits divided by the temperature."""
    logits = _logits(probabilities) / temperature
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def fitted_temperature(probabilities: Floats, labels: Ints) -> float:
    """The temperature whose probabilities have the least cross-entropy with the labels [num_examples].

    One example more than there are is thought of, of every label alike, so that the answer is finite
    where all are right (as Platt 1999 smooths his targets). The cross-entropy is convex in 1 / temperature:
    the root of its slope is found by halving. 1 for no examples.
    """
    if not len(labels):
        return 1.0
    logits = _logits(probabilities)
    num_examples = len(labels)
    true = logits[np.arange(num_examples), labels]
    # The logit that is to be expected under the smoothed targets [num_examples].
    target = (num_examples * true + logits.mean(axis=1)) / (num_examples + 1)
    low, high = _SHARPNESS
    for _ in range(_NUM_HALVINGS):
        middle = (low + high) / 2
        expected = (tempered(probabilities, 1 / middle) * logits).sum(axis=1)
        low, high = (low, middle) if (expected - target).mean() > 0 else (middle, high)
    return 2 / (low + high)


def _logits(probabilities: Floats) -> Floats:
    return np.log(np.maximum(probabilities, _TINY))
