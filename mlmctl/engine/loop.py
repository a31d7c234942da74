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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from ..errors import DivergedError, InterruptedRun, ResourceError, UsageError
from ..events import Emit, Evaluated, Note, Progress, silent
from ..signals import StopRequest, stop
from . import lanes
from .checkpoint import Checkpoints, Counters
from .lanes import Share
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
    num_threads: int = 1
    """CPU threads that are ours: micro-batches are computed side by side where that is possible (`lanes`)."""


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
        run = _Run(model, work, optimizer, schedule, settings, checkpoints, emit)
        model.train()
        while True:
            if evaluate is not None and run.evaluation_is_due:
                run.evaluate(evaluate)
            if run.is_finished or run.save_is_due:
                run.save()
            if run.is_finished:
                break
            if not stop.requested:
                run.step(stop)
            if stop.requested:
                run.save()
                stop.raise_if_requested()
    model.eval()
    return Trained(run.counters, run.clock.seconds, run.clock.tokens_per_second)


def accumulate(
    model: nn.Module, work: Work, step: int, settings: Settings, stop: StopRequest = stop
) -> tuple[float, int] | None:
    """Add up the gradients of this rank's micro-batches of a step.

    This rank's share of the step's mean loss, and its tokens; None if a signal's patience ran out
    between micro-batches, with the gradients incomplete.
    """
    total_weight = max(work.total_weight(step), 1e-8)  # nothing masked at all: loss 0, not 0/0
    numbers = range(settings.rank, work.num_micro_batches(step), settings.world_size)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def lane(numbers: range) -> Share | None:
        share = Share()
        for number in numbers:
            if stop.overdue:
                return None
            batch = work.micro_batch(step, number)
            with _told_if_short(batch["input_ids"], settings):
                batch = {name: t.to(settings.device, non_blocking=True) for name, t in batch.items()}
                if num_lanes == 1:  # more are there only where nothing is drawn
                    torch.manual_seed(_dropout_seed(settings.seed, step, number))
                with _autocast(settings):
                    loss = work.loss(model, batch) / total_weight
                share.add(torch.autograd.grad(loss, parameters, allow_unused=True))
                share.loss += loss.item()
            share.num_tokens += batch["input_ids"].numel()
        return share

    num_lanes = lanes.number(model, settings.num_threads, len(numbers))
    shares = lanes.run(lane, numbers, num_lanes, settings.num_threads)
    total = Share()
    for share in shares:
        if share is None:
            return None
        total.add(share.gradients)
        total.loss += share.loss
        total.num_tokens += share.num_tokens
    for parameter, gradient in zip(parameters, total.gradients, strict=bool(total.gradients)):
        if gradient is not None:
            parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
    return total.loss, total.num_tokens


@contextlib.contextmanager
def _told_if_short(input_ids: Tensor, settings: Settings) -> Iterator[None]:
    """Inside, running out of memory is a ResourceError that names a micro-batch of half the size."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):  # torch has no class for CPUs
            raise
        rows, length = input_ids.shape
        half = max(1, rows // 2)
        way_out = f"pretrain.tokens_per_step={half * length}"
        if settings.stage.split("/")[0] == "finetune":
            way_out = f"finetune.batch_size={half}"
        raise ResourceError(
            "resource.memory",
            f"out of memory on {settings.device.type} with {rows} x {length} tokens at once",
            hint=f"{half} x {length} take half of it: --set {way_out}; or a smaller model",
        ) from None


def take_step(optimizer: Optimizer, factor: float, loss: float, max_grad_norm: float) -> float | None:
    """Clip the gradients and update, unless loss or gradient is not finite; the norm, or None if skipped."""
    norm = float(nn.utils.clip_grad_norm_(optimizer.parameters(), max_grad_norm))
    is_finite = math.isfinite(loss) and math.isfinite(norm)
    if is_finite:
        optimizer.step(factor)
    optimizer.zero_grad()
    return norm if is_finite else None


class _Run:
    """One sitting of `train`: what it was handed, the counters, and the pieces of its loop."""

    def __init__(
        self,
        model: nn.Module,
        work: Work,
        optimizer: Optimizer,
        schedule: Callable[[int], float],
        settings: Settings,
        checkpoints: Checkpoints,
        emit: Emit,
    ) -> None:
        self.model = model
        self.work = work
        self.optimizer = optimizer
        self.schedule = schedule
        self.settings = settings
        self.checkpoints = checkpoints
        self.emit = emit
        self.counters, seconds = checkpoints.restore(model, optimizer)
        self.clock = _Clock(seconds)
        self._told_divergence = False
        if self.counters.step:
            emit(Note(f"{settings.stage} continues after step {self.counters.step:,}"))

    @property
    def is_finished(self) -> bool:
        return self.counters.step >= self.settings.num_steps

    @property
    def save_is_due(self) -> bool:
        is_time = self.clock.since_save >= self.settings.save_interval
        return is_time or self.counters.step == self.settings.save_at

    @property
    def evaluation_is_due(self) -> bool:
        step = self.counters.step
        return self.counters.evaluated_step < step and self.settings.evaluate_at(step)

    def save(self) -> None:
        start = time.monotonic()
        self.checkpoints.save(self.model, self.optimizer, self.counters, self.clock.seconds)
        self.clock.saved(time.monotonic() - start)

    def step(self, stop: StopRequest) -> None:
        """One step and its line of metrics; nothing is changed if a signal made it abandon the step."""
        start = time.monotonic()
        counters, settings = self.counters, self.settings
        done = accumulate(self.model, self.work, counters.step, settings, stop)
        if done is None:
            self.optimizer.zero_grad()
            return
        loss, num_tokens = done
        factor = self.schedule(counters.step)
        norm = take_step(self.optimizer, factor, loss, settings.max_grad_norm)
        self.clock.step(time.monotonic() - start, num_tokens)
        counters.step += 1
        counters.num_tokens += num_tokens
        self.checkpoints.log(
            {
                "step": counters.step,
                "loss": loss if math.isfinite(loss) else None,
                "grad_norm": norm,
                "lr_factor": factor,
                "num_tokens": counters.num_tokens,
                "seconds": round(self.clock.seconds, 3),
            }
        )
        if norm is None:
            self._skipped()
        else:
            self._took(loss)

    def _took(self, loss: float) -> None:
        counters, recent = self.counters, self.counters.recent_loss
        counters.num_skipped_in_a_row = 0
        if recent is not None and loss > 1.3 * recent + 1.0 and not self._told_divergence:
            self._told_divergence = True
            jump = f"the loss jumped from {recent:.2f} to {loss:.2f} at step {counters.step:,}"
            self.emit(Note(jump, "warning"))
        counters.recent_loss = loss if recent is None else _RECENT * recent + (1 - _RECENT) * loss
        detail = f"loss {counters.recent_loss:.3f}, {self.clock.tokens_per_second:,.0f} tokens/s"
        self.emit(Progress(self.settings.stage, counters.step, self.settings.num_steps, "steps", detail))

    def _skipped(self) -> None:
        counters = self.counters
        counters.num_skipped += 1
        counters.num_skipped_in_a_row += 1
        message = f"step {counters.step:,} skipped: its loss or gradient is not finite"
        self.emit(Note(message, "warning"))
        if counters.num_skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
            raise DivergedError(
                "training.diverged",
                f"{MAX_SKIPPED_IN_A_ROW} steps in a row without a finite loss, up to step {counters.step:,}",
                hint="a smaller learning rate; the last finite checkpoint is kept",
            )

    def evaluate(self, evaluate: Callable[[int], Evaluation]) -> None:
        """Evaluate, log, tell; if a signal cuts it short the state is saved and the signal goes on."""
        start = time.monotonic()
        counters, settings = self.counters, self.settings
        self.model.eval()
        try:
            with torch.no_grad():
                found = evaluate(counters.step)
        except InterruptedRun:
            self.save()
            raise
        self.model.train()
        self.clock.pause(time.monotonic() - start)
        counters.evaluated_step = counters.step
        self.checkpoints.log({"step": counters.step, **found.metrics})
        told = {**found.metrics, "tokens_per_second": self.clock.tokens_per_second}
        if counters.recent_loss is not None:
            told["train_loss"] = counters.recent_loss
        left = self.clock.step_seconds * (settings.num_steps - counters.step)
        event = Evaluated(settings.stage, counters.step, settings.num_steps, told, left, found.sample)
        self.emit(event)


class _Clock:
    """Training time: of steps, evaluations and checkpoints, never the clock on the wall."""

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


def _dropout_seed(seed: int, step: int, number: int) -> int:
    """A 63-bit seed for torch's one generator, different for every micro-batch of a run."""
    content = f"{seed} {step} {number}".encode()
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big") >> 1


def _autocast(settings: Settings) -> contextlib.AbstractContextManager[object]:
    if settings.dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(settings.device.type, dtype=settings.dtype)
