"""What happens during a run, as plain facts: stages emit them, the console shows them.

Nothing below the command line prints. A function that has something to say takes an `Emit` and calls
it with one of these; a test collects them in a list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Note:
    """One sentence for the user. A warning is also recorded in the manifest of the stage."""

    message: str
    level: Literal["info", "warning"] = "info"


@dataclass(frozen=True, slots=True)
class Progress:
    """Work done so far in `unit` (bytes, steps, examples); `total` is None where it is unknown."""

    stage: str
    done: int
    total: int | None
    unit: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """The facts a stage is about to act on, printed before it starts: (name, value) rows."""

    title: str
    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A sign of life while training: metrics at a step, the time left, one example of the output."""

    stage: str
    step: int
    num_steps: int
    metrics: Mapping[str, float]
    seconds_left: float | None = None
    sample: str = ""


@dataclass(frozen=True, slots=True)
class StageStarted:
    """A stage begins; `reason` says why it has to (new, stale because ..., resumed at step ...)."""

    stage: str
    reason: str


@dataclass(frozen=True, slots=True)
class StageFinished:
    """A stage ended: it ran, continued where it had stopped, or had nothing to do."""

    stage: str
    status: Literal["ran", "resumed", "fresh"]
    seconds: float
    metrics: Mapping[str, object] = field(default_factory=dict)


Event = Note | Progress | Plan | Evaluated | StageStarted | StageFinished
Emit = Callable[[Event], None]


def silent(event: Event) -> None:
    """An `Emit` for callers that want no report."""
