"""A metric as what each example adds to it: sums above and below a fraction, from which it can be resampled.

Accuracy is right answers over answers; F1 is twice the right ones over those there are and those found;
macro F1 and an accuracy over sets are means of such fractions. Examples that add the same are one group,
so that resampling a hundred thousand of them costs no more than the few ways they can differ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Ratio:
    """scale * mean over parts of (sum of `above` / sum of `below`); a part with nothing below is left out."""

    group_of: Ints
    """Row of the tables for each example [num_examples]."""
    above: Floats
    """What an example of each group adds above [num_groups, num_parts]."""
    below: Floats
    """And below [num_groups, num_parts]."""
    scale: float = 1.0
    lower_is_better: bool = False

    @classmethod
    def of(
        cls, above: Floats, below: Floats | float = 1.0, scale: float = 1.0, *, lower_is_better: bool = False
    ) -> Ratio:
        """From what each example adds: [num_examples] or [num_examples, num_parts], or one number for all."""
        above = np.asarray(above, dtype=np.float64)
        columns = above.reshape(len(above), -1)
        other = np.broadcast_to(np.asarray(below, dtype=np.float64), above.shape).reshape(columns.shape)
        both = np.concatenate([columns, other], axis=1)
        table, group_of = np.unique(both, axis=0, return_inverse=True)
        num_parts = columns.shape[1]
        return cls(group_of.reshape(-1), table[:, :num_parts], table[:, num_parts:], scale, lower_is_better)

    @property
    def num_examples(self) -> int:
        return len(self.group_of)

    @property
    def table(self) -> Floats:
        """`above` beside `below` [num_groups, 2 * num_parts]: sums of its rows are what `values` reads."""
        return np.concatenate([self.above, self.below], axis=1)

    @property
    def counts(self) -> Ints:
        """Examples of each group [num_groups]."""
        return np.bincount(self.group_of, minlength=len(self.above)).astype(np.int64)

    @property
    def value(self) -> float:
        """The metric; 0 for no examples."""
        return float(self.values((self.counts @ self.table)[None])[0])

    def values(self, sums: Floats) -> Floats:
        """The metric of each row of sums [num_rows, 2 * num_parts] of the table: [num_rows]."""
        above, below = np.split(sums, 2, axis=1)
        occurs = below > 0
        parts = np.divide(above, below, out=np.zeros_like(above), where=occurs)
        return np.asarray(self.scale * parts.sum(axis=1) / np.maximum(occurs.sum(axis=1), 1))
