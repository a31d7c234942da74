"""Learning rate, mask rate and evaluations over a run: warm up, stay, decay.

Before the decay nothing depends on the length of the run. That is what lets a finished run be
continued: its checkpoint before the decay is also a checkpoint of every longer run. In the decay the end may
be moved: what was done stays, and what is left of the rates falls to the new end.
(Warmup-stable-decay: Hu et al. 2024, arXiv:2404.06395.)
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

NUM_PLATEAUS = 8
"""The mask rate falls in at most so many steps down, so that shapes and audits stay few."""

_LONGEST_INTERVAL = 1000
_LAST_EARLY = 4 * _LONGEST_INTERVAL
_EARLY = tuple(step for n in range(100) if (step := round(10 * 1.35**n)) < _LAST_EARLY)
"""Steps after which is evaluated before it becomes each 1,000."""


@dataclass(frozen=True)
class Schedule:
    """Steps are numbered from 0; the decay begins at step `decay_start` and ends with the run."""

    num_steps: int
    warmup_steps: int
    decay_start: int
    earlier_ends: tuple[tuple[int, int], ...] = ()
    """(step, num_steps) in the order of the steps: up to this one the run was to end there."""

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Schedule:
        """What `asdict` made `content` of, whatever else is in it."""
        ends = tuple((int(step), int(end)) for step, end in content.get("earlier_ends", ()))
        num_steps, warmup_steps, decay_start = (
            int(content[name]) for name in ("num_steps", "warmup_steps", "decay_start")
        )
        return cls(num_steps, warmup_steps, decay_start, ends)

    def factor(self, step: int) -> float:
        """Factor on the learning rates of `step`, in (0, 1]: the last step's is one part of the decay."""
        return min(1.0, (step + 1) / (self.warmup_steps + 1)) * self.left(step)

    def mask_rate(self, step: int, rate_start: float, rate_end: float) -> float:
        """Share of tokens masked at `step`: `rate_start` before the decay, `rate_end` at its end."""
        if step < self.decay_start:
            return rate_start
        plateau = min(int((1 - self.left(step)) * NUM_PLATEAUS), NUM_PLATEAUS - 1)
        return rate_start + (rate_end - rate_start) * plateau / (NUM_PLATEAUS - 1)

    def left(self, step: int) -> float:
        """Share of the decay that is to come: 1 before it, 0 at its end, straight between two moves."""
        begin, left = self.decay_start, 1.0
        for until, end in self.earlier_ends:
            if step < until:
                break
            left *= (end - until) / (end - begin)
            begin = until
        else:
            end = self.num_steps
        return left * (end - step) / (end - begin) if step > begin else left

    def moved(self, step: int, num_steps: int) -> Schedule:
        """From `step` on, where the decay is under way or begins, the end is another."""
        earlier = (*self.earlier_ends, (step, self.num_steps)) if step > self.decay_start else ()
        return replace(self, num_steps=num_steps, earlier_ends=earlier)

    def agrees(self, other: Schedule, num_steps: int) -> bool:
        """Whether a run by the other one has the same first steps, if both warm up alike."""
        return self._path(num_steps) == other._path(num_steps)

    def _path(self, num_steps: int) -> list[int]:
        """What the rates of the first steps depend on: where each piece of the decay begins, and its end."""
        found, begin = [], self.decay_start
        for until, end in (*self.earlier_ends, (self.num_steps, self.num_steps)):
            if begin < num_steps:
                found += [begin, end]
            begin = until
        return found


def mean_rate(rate_start: float, rate_end: float, decay_fraction: float) -> float:
    """Share of tokens masked on average over a run of which `decay_fraction` decays."""
    return rate_start + (rate_end - rate_start) * decay_fraction / 2


def decay_start(num_steps: int, decay_fraction: float) -> int:
    """The number of steps before the decay."""
    return num_steps - round(num_steps * decay_fraction)


def is_evaluated(step: int) -> bool:
    """Whether to evaluate after `step` steps: at 10, then ever less often, at last each 1,000.

    A function of the step alone, so that a run that is continued has the curve of a longer one.
    """
    return step in _EARLY if step < _LAST_EARLY else step % _LONGEST_INTERVAL == 0


def num_evaluations(num_steps: int) -> int:
    """How often `is_evaluated` says yes up to and with `num_steps`."""
    return bisect_right(_EARLY, num_steps) + max(0, num_steps // _LONGEST_INTERVAL - 3)
