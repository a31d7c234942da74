"""The one training loop: a step is forward, backward, clip, update, one line of metrics; then maybe save.

Pretraining and fine-tuning differ in their `Work` (which batches, which loss) and in what they hand in
(optimizer, schedule, evaluation). Batches, masks and dropout are functions of (seed, step, micro-batch),
and the state is weights, optimizer and a few counters: a run that was stopped anywhere and continued
ends in the same bits as one that was not.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from ..errors import DivergedError, InterruptedRun
from ..events import Emit, Evaluated, Note, Progress, silent
from ..signals import StopRequest, stop
from . import replicas
from .checkpoint import Checkpoints, Counters
from .clock import Clock
from .gradients import Agreed, accumulate, agree, take_step
from .optimizer import Optimizer
from .reading import Reading
from .work import Settings, Work

__all__ = ["Evaluation", "Settings", "Trained", "Work", "accumulate", "take_step", "train"]

MAX_SKIPPED_IN_A_ROW = 10
_RECENT = 0.9  # weight of the past in the running mean of the loss: about the last ten steps


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found: numbers, and one line that shows what the model does."""

    metrics: Mapping[str, float]
    sample: str = ""


@dataclass(frozen=True)
class Trained:
    """What the loop did. `seconds` is training time of all sittings, evaluations included."""

    counters: Counters
    seconds: float
    earlier: float
    """Seconds of the sittings before this one."""
    num_steps: int
    """Of this sitting, as are the tokens and what the steps alone took."""
    num_tokens: int
    step_seconds: float

    @property
    def tokens_per_second(self) -> float:
        """0 if this sitting had no steps."""
        return self.num_tokens / self.step_seconds if self.step_seconds else 0.0

    @property
    def seconds_per_step(self) -> float:
        """0 if this sitting had no steps."""
        return self.step_seconds / self.num_steps if self.num_steps else 0.0

    def after(self, before: Trained) -> Trained:
        """This sitting and the one before it as one."""
        return replace(
            self,
            seconds=before.seconds + self.seconds - self.earlier,
            earlier=before.earlier,
            num_steps=before.num_steps + self.num_steps,
            num_tokens=before.num_tokens + self.num_tokens,
            step_seconds=before.step_seconds + self.step_seconds,
        )


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
    """Train `model` in place to the end of the sitting, from the newest checkpoint if there is one.

    `schedule(step)` is the factor on the learning rates of the step with that number (from 0).
    `evaluate(step)` is called with the model in eval mode and without gradients; it may raise
    InterruptedRun when a signal asks for it. The last state is saved before returning.

    InterruptedRun after a signal, the state saved; DivergedError after ten steps in a row without a
    finite loss and gradient, the last finite checkpoint kept; ArtifactError if checkpoints exist and
    none is valid. With several ranks each calls this with the same arguments, and the first alone evaluates,
    logs and saves, after all have agreed; `ranks.lost` if one of them is gone.
    """
    with stop.deferred():
        run = _Run(model, work, optimizer, schedule, settings, checkpoints, emit, stop)
        model.train()
        while True:
            if evaluate is not None and run.evaluation_is_due:
                run.evaluate(evaluate)
            if run.is_finished or run.save_is_due:
                run.save()
            if run.is_finished:
                break
            if not run.signal_number:
                run.step()
            if run.signal_number:
                run.save()
                raise InterruptedRun(run.signal_number)
    model.eval()
    return run.trained


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
        stop: StopRequest,
    ) -> None:
        self.model = model
        self.work = work
        self.optimizer = optimizer
        self.schedule = schedule
        self.settings = settings
        self.checkpoints = checkpoints
        self.emit = emit
        self.stop = stop
        started = time.monotonic()
        self.counters, earlier = replicas.restore(checkpoints, model, optimizer, settings.ranks)
        self.clock = Clock(earlier)
        self.clock.pause(time.monotonic() - started)
        self._agreed = Agreed(None)
        self._unread: list[tuple[Reading, dict[str, Any]]] = []
        self._told_divergence = False
        self._was_cut_short = False  # the last evaluation, by a signal: the step after it is not to be taken
        if self.counters.step and not settings.goes_on:
            emit(Note(f"{settings.stage} continues after step {self.counters.step:,}"))

    @property
    def is_finished(self) -> bool:
        settings = self.settings
        return self.counters.step >= (settings.num_steps if settings.until is None else settings.until)

    @property
    def trained(self) -> Trained:
        clock = self.clock
        sitting = clock.num_steps, clock.num_tokens, clock.only_steps
        return Trained(self.counters, clock.seconds, clock.earlier, *sitting)

    @property
    def signal_number(self) -> int:
        """Of a signal that asks to stop; what came to another rank since the last step is not known yet."""
        return (self.stop.signal_number or 0) if self.settings.ranks.is_alone else self._agreed.signal_number

    @property
    def save_is_due(self) -> bool:
        is_time = self._is_time_to_save if self.settings.ranks.is_alone else self._agreed.save
        return is_time or self.counters.step == self.settings.save_at

    @property
    def _is_time_to_save(self) -> bool:
        return self.clock.since_save >= self.settings.save_interval

    @property
    def evaluation_is_due(self) -> bool:
        step = self.counters.step
        return self.counters.evaluated_step < step and self.settings.evaluate_at(step)

    def save(self) -> None:
        self._read(0)
        start = time.monotonic()
        replicas.check(self.model, self.settings.ranks, self.counters.step)
        if self.settings.ranks.is_first:
            self.checkpoints.save(self.model, self.optimizer, self.counters, self.clock.seconds)
        self.clock.saved(time.monotonic() - start)
        self._agreed = replace(self._agreed, save=False)

    def step(self) -> None:
        """One step and its line of metrics; nothing is changed if a signal made it abandon the step."""
        start = time.monotonic()
        counters, settings = self.counters, self.settings
        share = (
            None
            if self._was_cut_short
            else accumulate(self.model, self.work, counters.step, settings, self.stop)
        )
        self._agreed = agree(self.model, share, settings, self.stop, self._is_time_to_save)
        if self._agreed.done is None:
            self.optimizer.zero_grad()
            return
        loss, num_tokens, content = self._agreed.done
        factor = self.schedule(counters.step)
        norm = take_step(self.optimizer, factor, loss, settings.max_grad_norm)
        self.clock.step(time.monotonic() - start, num_tokens)
        counters.step += 1
        if settings.average_at(counters.step):
            self.optimizer.average.add()
        counters.num_tokens += num_tokens
        counters.order_hash = _chained(counters.order_hash, content)
        line = {
            "step": counters.step,
            "loss": None,
            "grad_norm": None,
            "lr_factor": factor,
            "num_tokens": counters.num_tokens,
            "order_hash": counters.order_hash,
            "seconds": round(self.clock.seconds, 3),
        }
        self._unread.append((Reading(loss, norm), line))
        self._read(1)

    def _read(self, num_late: int) -> None:
        """Log and tell what the steps so far have found; of the last ones, so many may still be computed."""
        while self._unread and (len(self._unread) > num_late or not self._unread[0][0].is_late):
            reading, line = self._unread.pop(0)
            start = time.monotonic()
            loss, norm = reading.read()
            self.clock.waited(time.monotonic() - start)
            line |= {"loss": loss if math.isfinite(loss) else None, "grad_norm": norm}
            if self.settings.ranks.is_first:
                self.checkpoints.log(line)
            if norm is None:
                self._skipped(line["step"])
            else:
                self._took(line["step"], loss)

    def _took(self, step: int, loss: float) -> None:
        counters, recent = self.counters, self.counters.recent_loss
        counters.num_skipped_in_a_row = 0
        if recent is not None and loss > 1.3 * recent + 1.0 and not self._told_divergence:
            self._told_divergence = True
            jump = f"the loss jumped from {recent:.2f} to {loss:.2f} at step {step:,}"
            self.emit(Note(jump, "warning"))
        counters.recent_loss = loss if recent is None else _RECENT * recent + (1 - _RECENT) * loss
        detail = f"loss {counters.recent_loss:.3f}, {self.clock.tokens_per_second:,.0f} tokens/s"
        self.emit(Progress(self.settings.stage, step, self.settings.num_steps, "steps", detail))

    def _skipped(self, step: int) -> None:
        counters = self.counters
        counters.num_skipped += 1
        counters.num_skipped_in_a_row += 1
        message = f"step {step:,} skipped: its loss or gradient is not finite"
        self.emit(Note(message, "warning"))
        if counters.num_skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW:
            raise DivergedError(
                "training.diverged",
                f"{MAX_SKIPPED_IN_A_ROW} steps in a row without a finite loss, up to step {step:,}; "
                "the last finite checkpoint is kept",
                hint=f"a smaller learning rate, from the start (--force {self.settings.stage.split('/')[0]})",
            )

    def evaluate(self, evaluate: Callable[[int], Evaluation]) -> None:
        """Evaluate, log, tell; if a signal cuts it short the state is saved and the signal goes on.

        With several ranks the first evaluates, and a signal is left to the next step, where all learn of it
        and which is abandoned: the evaluation is due again when the run goes on.
        """
        self._read(0)
        if not self.settings.ranks.is_first:
            self.counters.evaluated_step = self.counters.step
            return
        start = time.monotonic()
        counters, settings = self.counters, self.settings
        self.model.eval()
        try:
            with torch.no_grad():
                found = evaluate(counters.step)
        except InterruptedRun:
            if self.settings.ranks.is_alone:
                self.save()
                raise
            self._was_cut_short = True
            return
        finally:
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


def _chained(before: str, content: int) -> str:
    """A hash of all batches up to a step, from that of the steps before and the content of this one."""
    return hashlib.blake2b(f"{before} {content}".encode(), digest_size=16).hexdigest()
