"""How good a classifier is: everything is counted from one table of true against predicted labels.

The definitions are the usual ones (and scikit-learn's defaults, against which they are tested): a
quotient whose divisor is zero is 0, and macro F1 is the plain mean over the labels that occur, as
truth or as prediction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def confusion_matrix(labels: Ints, predictions: Ints, num_labels: int) -> Ints:
    """Counts [num_labels, num_labels]: row = true label, column = predicted label.

    `labels` and `predictions` are [num_examples] label numbers; ValueError if one is out of range.
    """
    if labels.shape != predictions.shape:
        raise ValueError(f"{labels.shape} labels, {predictions.shape} predictions")
    both = np.concatenate([labels, predictions])
    if both.size and not 0 <= both.min() <= both.max() < num_labels:
        raise ValueError(f"label numbers must lie in 0..{num_labels - 1}")
    cells = np.bincount(labels * num_labels + predictions, minlength=num_labels**2)
    return cells.reshape(num_labels, num_labels).astype(np.int64)


@dataclass(frozen=True)
class LabelScores:
    """Precision, recall, F1 and the number of true examples (support) of every label, [num_labels]."""

    precision: Floats
    recall: Floats
    f1: Floats
    support: Ints


def label_scores(confusion: Ints) -> LabelScores:
    """The scores of every label of a confusion matrix."""
    hits = np.diagonal(confusion).astype(np.float64)
    support, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    return LabelScores(
        precision=_quotient(hits, predicted),
        recall=_quotient(hits, support),
        f1=_quotient(2 * hits, support + predicted),
        support=support,
    )


def accuracy(confusion: Ints) -> float:
    """Share of examples whose prediction is right; 0 for no examples."""
    return float(_quotient(np.trace(confusion), confusion.sum()))


def majority_accuracy(confusion: Ints) -> float:
    """Accuracy of always answering the most frequent true label: the baseline to beat."""
    return float(_quotient(confusion.sum(axis=1).max(initial=0), confusion.sum()))


def macro_f1(confusion: Ints) -> float:
    """Mean F1 over the labels that occur as truth or prediction; 0 for no examples."""
    occurs = (confusion.sum(axis=0) + confusion.sum(axis=1)) > 0
    return float(label_scores(confusion).f1[occurs].mean()) if occurs.any() else 0.0


def by_length(lengths: Ints, is_right: NDArray[np.bool_]) -> dict[str, dict[str, float]]:
    """Accuracy of each quarter of the examples by length, shortest first; both [num_examples].

    `quarter_1` to `quarter_4`, with the greatest length in each. Equal lengths are in the same one, so some
    may be larger, or empty and left out.
    """
    if not lengths.size:
        return {}
    ends = np.quantile(lengths, [0.25, 0.5, 0.75], method="inverted_cdf")
    quarter = np.searchsorted(ends, lengths, side="left")
    return {
        f"quarter_{number + 1}": {
            "accuracy": float(is_right[quarter == number].mean()),
            "num_examples": int((quarter == number).sum()),
            "max_characters": int(lengths[quarter == number].max()),
        }
        for number in np.unique(quarter).tolist()
    }


def _quotient(above: NDArray[np.generic] | np.generic, below: NDArray[np.generic] | np.generic) -> Floats:
    divisor = np.asarray(below, dtype=np.float64)
    zeros = np.zeros(np.shape(divisor))
    return np.divide(np.asarray(above, dtype=np.float64), divisor, out=zeros, where=divisor > 0)
