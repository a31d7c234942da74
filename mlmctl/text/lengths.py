"""How long things are: a histogram that stays small, and what it says in five numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

PERCENTILES = (10, 50, 90, 99)
_EXACT_BELOW = 1000


class Lengths:
    """Counts lengths: exactly below 1,000, to three digits (rounded down) above; the longest exactly."""

    def __init__(self) -> None:
        self.longest = 0
        self._counts: Counter[int] = Counter()

    def add(self, lengths: Iterable[int]) -> None:
        """Count these lengths, none of them negative."""
        for length in lengths:
            self._counts[length if length < _EXACT_BELOW else _three_digits(length)] += 1
            if length > self.longest:
                self.longest = length

    def percentile(self, share: float) -> int:
        """The smallest length that at least `share` percent do not exceed (nearest rank); 0 for none."""
        needed, done = self._counts.total() * share / 100, 0
        for length in sorted(self._counts):
            done += self._counts[length]
            if done >= needed:
                return length
        return 0

    def summary(self) -> dict[str, int]:
        """`p10`, `p50`, `p90`, `p99` and `max`."""
        return {**{f"p{share}": self.percentile(share) for share in PERCENTILES}, "max": self.longest}


def _three_digits(length: int) -> int:
    unit = int(10 ** (len(str(length)) - 3))
    return length // unit * unit
