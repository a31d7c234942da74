"""How many steps a budget of time holds, from what things take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from . import schedule


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


def steps_after(available: float, decay_start: int, timing: Timing, save_interval: float) -> int:
    """The length of a run whose decay begins now and ends in `available` seconds; at least one step more."""

    def needed(num_steps: int) -> float:
        return _seconds(decay_start, num_steps, decay_start, timing, save_interval)

    left = available - timing.ending
    return _most(needed, left, decay_start + 1, decay_start + left / timing.late_step)


def _seconds(first: int, num_steps: int, decay_start: int, timing: Timing, save_interval: float) -> float:
    """What a run needs from step `first` to its last checkpoint; one is written where the decay begins."""
    num_early = max(0, decay_start - first)
    training = num_early * timing.step + (num_steps - first - num_early) * timing.late_step
    evaluations = schedule.num_evaluations(num_steps) - schedule.num_evaluations(first)
    num_saves = 1 + (num_early > 0) + training / save_interval
    return training + evaluations * timing.evaluation + num_saves * timing.save


def _most(needed: Callable[[int], float], left: float, least: int, bound: float) -> int:
    """The largest number of steps from `least` on that `left` seconds are enough for; else `least`."""
    low, high = least, max(least, int(bound)) + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if needed(middle) <= left else (low, middle)
    return low
