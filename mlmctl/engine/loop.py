"""The one training loop: a step is forward, backward, clip, update, one line of metrics; then maybe save.

Pretraining and fine-tuning differ in their `Work` (which batches, which loss) and in what they hand in
(optimizer, schedule, evaluation). Batches, masks and dropout are functions of (seed, step, micro-batch),
and the state is weights, optimizer and a few counters: a run that was stopped anywhere and continued
ends in the same bits as one that was not.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from ..errors import DivergedError, InterruptedRun, UsageError
from ..events import Emit, Evaluated, Note, Progress, silent
from ..signals import StopRequest, stop
from .checkpoint import Checkpoints, Counters
from .optimizer import Optimizer

MAX_SKIPPED_IN_A_ROW = 10
_RECENT = 0.9  # weight of the past in the running mean of the loss: about the last ten steps


class Work(Protocol):
    """What is learned from: the batches of each step, cut into micro-batches, and their loss.

    Everything is a pure function of its arguments (no loader state), so that any rank can draw any
    micro-batch at any time.
    """

    def num_micro_batches(self, step: int) -> int:
        """Micro-batches of the whole (global) step; rank r of n takes numbers r, r + n, r + 2n, ..."""
        ...

    def total_weight(self, step: int) -> float:
        """Sum of the loss weights over all micro-batches of the step: what the summed loss is divided by."""
        ...

    def micro_batch(self, step: int, number: int) -> dict[str, Tensor]:
        """The tensors of one micro-batch on the CPU; `input_ids` [B, L] must be among them."""
        ...

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """The weighted SUM of the losses of a micro-batch: a scalar in float32 that requires grad."""
        ...


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found: numbers, and one line that shows what the model does."""

    metrics: Mapping[str, float]
    sample: str = ""


@dataclass(frozen=True)
class Settings:
    """What the loop needs to know beside the work. `step` counts finished steps, from 1."""

    stage: str
    """Name of the stage in events."""
    num_steps: int
    seed: int
    """Of dropout; batches and masks have their seed in the work."""
    max_grad_norm: float
    save_interval: float
    """Seconds of training between checkpoints."""
    evaluate_at: Callable[[int], bool] = field(default=lambda step: False)
    """Whether to evaluate when `step` steps are finished."""
    save_at: int | None = None
    """Finished steps at which a checkpoint is written whatever the time (the last before the decay)."""
    dtype: torch.dtype = torch.float32
    """bfloat16 runs forward under autocast; weights and optimizer stay in float32."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    rank: int = 0
    world_size: int = 1


@dataclass(frozen=True)
class Trained:
    """What the loop did. `seconds` is training time of all sittings, evaluations included."""

    counters: Counters
    seconds: float
    tokens_per_second: float
    """Tokens of this sitting's steps by the time of those steps only; 0 if there were none."""


def train(
    model: nn.Module,
    work: Work,
    optimizer: Optimizer,
    schedule: Callable[[int], float],
    settings: Settings,
    checkpoints: Checkpoints,
    evaluate: Callable[[int], Evaluation] | None = None,
    emit: Emit = silent,
    stop: StopRequest = stop,
) -> Trained:
    """Train `model` in place to `settings.num_steps`, continuing from the newest checkpoint if there is one.

    `schedule(step)` is the factor on the learning rates of the step with that number (from 0).
    `evaluate(step)` is called with the model in eval mode and without gradients; it may raise
    InterruptedRun when a signal asks for it. The last state is saved before returning.

    InterruptedRun after a signal, the state saved; DivergedError after ten steps in a row without a
    finite loss and gradient, the last finite checkpoint kept; ArtifactError if checkpoints exist and
    none is valid.
    """
    if settings.world_size > 1:
        raise UsageError("usage.ranks", f"{settings.world_size} ranks; training runs on one")
    with stop.deferred():
        counters, seconds = checkpoints.restore(model, optimizer)
        if counters.step:
            emit(Note(f"{settings.stage} continues after step {counters.step:,}"))
        clock = _Clock(seconds)
        model.train()
        while True:
            if evaluate and counters.evaluated_step < counters.step and settings.evaluate_at(counters.step):
                try:
                    _evaluate(model, evaluate, settings, checkpoints, counters, clock, emit)
                except InterruptedRun:
                    checkpoints.save(model, optimizer, counters, clock.seconds)
                    raise
            is_last = counters.step >= settings.num_steps
            if is_last or clock.since_save >= settings.save_interval or counters.step == settings.save_at:
                checkpoints.save(model, optimizer, counters, clock.seconds)
                clock.saved()
            if is_last:
                break
            if not stop.requested:
                _train_step(model, work, optimizer, schedule, settings, checkpoints, counters, clock, emit, stop)
            if stop.requested:
                checkpoints.save(model, optimizer, counters, clock.seconds)
                stop.raise_if_requested()
    model.eval()
    return Trained(counters, clock.seconds, clock.tokens_per_second)


def accumulate(
    model: nn.Module, work: Work, step: int, settings: Settings, stop: StopRequest = stop
) -> tuple[float, int] | None:
    """Add up the gradients of this rank's micro-batches of a step.

    This rank's share of the step's mean loss, and its tokens; None if a signal's patience ran out
    between micro-batches, with the gradients incomplete.
    """
    total_weight = max(work.total_weight(step), 1e-8)  # nothing masked at all: loss 0, not 0/0
    total_loss, num_tokens = 0.0, 0
    for number in range(settings.rank, work.num_micro_batches(step), settings.world_size):
        if stop.overdue:
            return None
        batch = work.micro_batch(step, number)
        batch = {name: tensor.to(settings.device, non_blocking=True) for name, tensor in batch.items()}
        torch.manual_seed(_dropout_seed(settings.seed, step, number))
        with _autocast(settings):
            loss = work.loss(model, batch) / total_weight
        loss.backward()  # type: ignore[no-untyped-call]
        total_loss += loss.item()
        num_tokens += batch["input_ids"].numel()
    return total_loss, num_tokens


def take_step(optimizer: Optimizer, factor: float, loss: float, max_grad_norm: float) -> float | None:
    """Clip the gradients and update, unless loss or gradient is not finite; the norm, or None if skipped."""
    norm = float(nn.utils.clip_grad_norm_(optimizer.parameters(), max_grad_norm))
    is_finite = math.isfinite(loss) and math.isfinite(norm)
    if is_finite:
        optimizer.step(factor)
    optimizer.zero_grad()
    return norm if is_finite else None


def _train_step(
    model: nn.Module,
    work: Work,
    optimizer: Optimizer,
    schedule: Callable[[int], float],
    settings: Settings,
    checkpoints: Checkpoints,
    counters: Counters,
    clock: _Clock,
    emit: Emit,
    stop: StopRequest,
) -> None:
    """One step and its line of metrics; nothing is changed if the step was abandoned."""
    start = time.monotonic()
    done = accumulate(model, work, counters.step, settings, stop)
    if done is None:
        optimizer.zero_grad()
        return
    loss, num_tokens = done
    factor = schedule(counters.step)
    norm = take_step(optimizer, factor, loss, settings.max_grad_norm)
    clock.step(time.monotonic() - start, num_tokens)
    counters.step += 1
    counters.num_tokens += num_tokens
    line = {"step": counters.step, "loss": loss if math.isfinite(loss) else None, "grad_norm": norm}
    checkpoints.log({**line, "lr_factor": factor, "num_tokens": counters.num_tokens, "seconds": clock.seconds})
    if norm is None:
        _count_skipped(counters, settings, emit)
        return
    counters.num_skipped_in_a_row = 0
    recent = counters.recent_loss
    if recent is not None and loss > 1.3 * recent + 1.0 and clock.first("diverging"):
        emit(Note(f"the loss jumped from {recent:.2f} to {loss:.2f} at step {counters.step:,}", "warning"))
    counters.recent_loss = loss if recent is None else _RECENT * recent + (1 - _RECENT) * loss
    detail = f"loss {counters.recent_loss:.3f}, {clock.tokens_per_second:,.0f} tokens/s"
    emit(Progress(settings.stage, counters.step, settings.num_steps, "steps", detail))


def _count_skipped(counters: Counters, settings: Settings, emit: Emit) -> None:
    counters.num_skipped += 1
    counters.num_skipped_in_a_row += 1
    emit(Note(f"step {counters.step:,} skipped: its loss or gradient is not finite", "warning"))
    if counters.num_skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
        raise DivergedError(
            "training.diverged",
            f"{MAX_SKIPPED_IN_A_ROW} steps in a row without a finite loss, up to step {counters.step:,}",
            hint="a smaller learning rate; the last finite checkpoint is kept",
        )


def _evaluate(
    model: nn.Module,
    evaluate: Callable[[int], Evaluation],
    settings: Settings,
    checkpoints: Checkpoints,
    counters: Counters,
    clock: _Clock,
    emit: Emit,
) -> None:
    start = time.monotonic()
    model.eval()
    try:
        with torch.no_grad():
            found = evaluate(counters.step)
    finally:
        model.train()
    clock.pause(time.monotonic() - start)
    counters.evaluated_step = counters.step
    checkpoints.log({"step": counters.step, **found.metrics})
    metrics = {"train_loss": counters.recent_loss or 0.0, "tokens_per_second": clock.tokens_per_second}
    seconds_left = clock.step_seconds * (settings.num_steps - counters.step)
    emit(
        Evaluated(
            settings.stage,
            counters.step,
            settings.num_steps,
            {**found.metrics, **metrics},
            seconds_left,
            found.sample,
        )
    )


class _Clock:
    """Training time: the time of steps and evaluations, never the clock on the wall."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.since_save = 0.0
        self._steps = 0
        self._step_seconds = 0.0
        self._tokens = 0
        self._told: set[str] = set()

    def step(self, seconds: float, num_tokens: int) -> None:
        self.pause(seconds)
        self._steps += 1
        self._step_seconds += seconds
        self._tokens += num_tokens

    def pause(self, seconds: float) -> None:
        """Time that belongs to the run and to no step."""
        self.seconds += seconds
        self.since_save += seconds

    def saved(self) -> None:
        self.since_save = 0.0

    def first(self, what: str) -> bool:
        """True the first time that something is told in this sitting."""
        is_new = what not in self._told
        self._told.add(what)
        return is_new

    @property
    def step_seconds(self) -> float:
        return self._step_seconds / max(self._steps, 1)

    @property
    def tokens_per_second(self) -> float:
        return self._tokens / self._step_seconds if self._step_seconds else 0.0


def _dropout_seed(seed: int, step: int, number: int) -> int:
    """A 63-bit seed for torch's one generator, different for every micro-batch of a run."""
    content = f"{seed} {step} {number}".encode()
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big") >> 1


def _autocast(settings: Settings) -> contextlib.AbstractContextManager[object]:
    if settings.dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(settings.device.type, dtype=settings.dtype)
