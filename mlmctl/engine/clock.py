"""Training time: of steps, evaluations and checkpoints, never the clock on the wall."""

from __future__ import annotations


class Clock:
    """The seconds of a run of one or more sittings, and the speed of this one."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.since_save = 0.0
        self._steps = 0
        self._step_seconds = 0.0
        self._tokens = 0

    def step(self, seconds: float, num_tokens: int) -> None:
        self.pause(seconds)
        self._steps += 1
        self._step_seconds += seconds
        self._tokens += num_tokens

    def pause(self, seconds: float) -> None:
        """Time that belongs to the run and to no step."""
        self.seconds += seconds
        self.since_save += seconds

    def saved(self, seconds: float) -> None:
        self.seconds += seconds
        self.since_save = 0.0

    @property
    def step_seconds(self) -> float:
        return self._step_seconds / max(self._steps, 1)

    @property
    def tokens_per_second(self) -> float:
        return self._tokens / self._step_seconds if self._step_seconds else 0.0
