"""Training time: of steps, evaluations and checkpoints, never the clock on the wall."""

from __future__ import annotations

_STOPPED = 10.0  # a step so many times as long as usual was stopped (SIGSTOP): that is no training time


class Clock:
    """The seconds of a run of one or more sittings, and the speed of this one."""

    def __init__(self, earlier: float) -> None:
        self.earlier = earlier
        self.seconds = earlier
        self.since_save = 0.0
        self.num_steps = 0
        self.only_steps = 0.0  # seconds of these steps
        self.num_tokens = 0

    def step(self, seconds: float, num_tokens: int) -> None:
        if self.num_steps and seconds > _STOPPED * self.step_seconds + 1.0:
            seconds = self.step_seconds
        self.pause(seconds)
        self.num_steps += 1
        self.only_steps += seconds
        self.num_tokens += num_tokens

    def waited(self, seconds: float) -> None:
        """For a device that was still computing a step: that belongs to it."""
        self.pause(seconds)
        self.only_steps += seconds

    def pause(self, seconds: float) -> None:
        """Time that belongs to the run and to no step."""
        self.seconds += seconds
        self.since_save += seconds

    def saved(self, seconds: float) -> None:
        self.seconds += seconds
        self.since_save = 0.0

    @property
    def step_seconds(self) -> float:
        return self.only_steps / max(self.num_steps, 1)

    @property
    def tokens_per_second(self) -> float:
        return self.num_tokens / self.only_steps if self.only_steps else 0.0
