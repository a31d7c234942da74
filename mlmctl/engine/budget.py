"""How many steps a budget of time holds, from what things take."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from . import schedule

_LEAST_HALF = 2.0
"""Seconds. The end of a run is moved half-way to it, again and again, until the half is shorter than this."""
_SAVES_A_HALF = 5.0
"""Or shorter than so many checkpoints take to write, since each move writes one."""


@dataclass(frozen=True)
class Timing:
    """What things take on this machine, in seconds."""

    step: float
    """A step before the decay."""
    late_step: float
    """A step of the decay, on average: fewer tokens are masked."""
    evaluation: float
    """One evaluation in the middle of the run."""
    save: float
    """One checkpoint."""
    ending: float
    """The last evaluation, writing and publishing the result."""

    def step_at(self, left: float) -> float:
        """A step where this share of the decay is to come: the fewer tokens are masked, the quicker it is."""
        found = self.late_step + (2 * left - 1) * (self.step - self.late_step)
        least = self.late_step / 2  # other work may have set the steps that were timed too far apart
        return max(found, least)

    def slower(self, factor: float) -> Timing:
        """The steps take so many times as long; the rest is short and stays."""
        return replace(self, step=factor * self.step, late_step=factor * self.late_step)


def steps_in(
    available: float, timing: Timing, save_interval: float, decay_fraction: float
) -> tuple[int, float]:
    """(steps that fit in `available` seconds, at least one; seconds a step with all that goes with it)."""

    def needed(num_steps: int) -> float:
        start = schedule.decay_start(num_steps, decay_fraction)
        return _seconds(0, num_steps, start, timing, save_interval)

    left = available - timing.ending
    num_steps = _most(needed, left, 1, left / min(timing.step, timing.late_step))
    return num_steps, needed(num_steps) / num_steps


def steps_after(first: int, available: float, timing: Timing, save_interval: float) -> int:
    """The length of a run that has `first` steps and ends in `available` seconds; at least one step more.

    `timing.late_step` is what the steps that are to come take on average.
    """

    def needed(num_steps: int) -> float:
        return _seconds(first, num_steps, first, timing, save_interval)

    left = available - timing.ending
    return _most(needed, left, first + 1, first + left / timing.late_step)


def settles_again(first: int, num_steps: int, timing: Timing) -> int | None:
    """Where the end is moved again: half-way to it from `first`, unless that is too near to it to matter."""
    half = (num_steps - first) // 2
    return first + half if half * timing.late_step >= _least_half(timing) else None


def _least_half(timing: Timing) -> float:
    return max(_LEAST_HALF, _SAVES_A_HALF * timing.save)


def _seconds(first: int, num_steps: int, decay_start: int, timing: Timing, save_interval: float) -> float:
    """What a run needs from step `first` to its last checkpoint; one is written wherever its end is moved."""
    num_early = max(0, decay_start - first)
    decay = (num_steps - first - num_early) * timing.late_step
    training = num_early * timing.step + decay
    evaluations = schedule.num_evaluations(num_steps) - schedule.num_evaluations(first)
    num_moves = max(0, math.floor(math.log2(max(decay, 1.0) / _least_half(timing))))
    num_saves = 1 + (num_early > 0) + training / save_interval + num_moves
    return training + evaluations * timing.evaluation + num_saves * timing.save


def _most(needed: Callable[[int], float], left: float, least: int, bound: float) -> int:
    """The largest number of steps from `least` on that `left` seconds are enough for; else `least`."""
    low, high = least, max(least, int(bound)) + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if needed(middle) <= left else (low, middle)
    return low
