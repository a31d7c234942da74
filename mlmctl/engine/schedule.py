"""Learning rate, mask rate and evaluations over a run: warm up, stay, decay.

Before the decay nothing depends on the length of the run. That is what lets a finished run be
continued: its checkpoint before the decay is also a checkpoint of every longer run.
(Warmup-stable-decay: Hu et al. 2024, arXiv:2404.06395.)
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

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

    def factor(self, step: int) -> float:
        """Factor on the learning rates of `step`, in (0, 1]: the last step's is one part of the decay."""
        warm = min(1.0, (step + 1) / (self.warmup_steps + 1))
        if step < self.decay_start:
            return warm
        return warm * (self.num_steps - step) / (self.num_steps - self.decay_start)

    def mask_rate(self, step: int, rate_start: float, rate_end: float) -> float:
        """Share of tokens masked at `step`: `rate_start` before the decay, `rate_end` at its end."""
        if step < self.decay_start:
            return rate_start
        done = (step - self.decay_start) / (self.num_steps - self.decay_start)  # in [0, 1)
        plateau = int(done * NUM_PLATEAUS)
        return rate_start + (rate_end - rate_start) * plateau / (NUM_PLATEAUS - 1)


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
