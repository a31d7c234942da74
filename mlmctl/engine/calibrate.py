"""Times a few real steps on a throw-away copy, so that a run on a budget ends when it should."""

from __future__ import annotations

import statistics
import time

from torch import nn

from .evaluate_mlm import FrozenMasks, evaluate
from .gradients import accumulate, agree, take_step
from .optimizer import Optimizer
from .plan import Timing
from .work import Settings, Work

_WRITE_SPEED = 150e6  # bytes a second of writing, hashing and verifying a checkpoint; slower than most disks
_PUBLISHING = 1.0  # seconds to copy, hash and sync the result


def seconds_per_step(
    model: nn.Module,
    optimizer: Optimizer,
    work: Work,
    settings: Settings,
    num_micro_batches: int,
    limit: float,
) -> float:
    """What a step of so many micro-batches takes, by steps of `work` that should have but one.

    So a long step of a large model need not be done as a whole. `model` is trained and to be dropped.
    """
    steps = _steps(model, optimizer, work, settings, limit)
    gradients = statistics.median(gradients for gradients, _ in steps)
    return num_micro_batches * gradients + statistics.median(update for _, update in steps)


def measure(
    model: nn.Module,
    optimizer: Optimizer,
    work: Work,
    settings: Settings,
    masks: FrozenMasks,
    interim_tokens: int,
    limit: float,
) -> Timing:
    """What a step, an evaluation, a checkpoint and the ending take; `model` is trained and to be dropped.

    The first step and the first evaluation are not counted (memory is taken, libraries warm up); one
    step at least is, and as many as fit in `limit` seconds, of which the median counts.
    """
    steps = [sum(parts) for parts in _steps(model, optimizer, work, settings, limit)]
    few = max(1, min(4096, interim_tokens, masks.num_tokens))
    evaluate(model, masks, settings.device, few)  # not counted, as the first step is not
    start = time.monotonic()
    evaluate(model, masks, settings.device, few)
    per_token = (time.monotonic() - start) / few
    size = 4 * sum(p.numel() for p in model.parameters()) + sum(
        tensor.numel() * tensor.element_size() for tensor in optimizer.state().values()
    )
    return Timing(
        step=statistics.median(steps),
        evaluation=per_token * min(interim_tokens, masks.num_tokens),
        save=0.1 + size / _WRITE_SPEED,
        ending=per_token * masks.num_tokens + _PUBLISHING,
    )


def _steps(
    model: nn.Module, optimizer: Optimizer, work: Work, settings: Settings, limit: float
) -> list[tuple[float, float]]:
    """Seconds for the gradients and for the update of each step but the first: at least one, and as many
    as fit in `limit` seconds of the first rank.
    """
    started = time.monotonic()
    model.train()
    steps: list[tuple[float, float]] = []

    def is_time_for_more() -> bool:
        return len(steps) < 2 or time.monotonic() - started + sum(steps[-1]) < limit

    while settings.ranks.decide(is_time_for_more):
        start = time.monotonic()
        done = agree(model, accumulate(model, work, len(steps), settings), settings).done
        if done is None:
            break
        between = time.monotonic()
        take_step(optimizer, 1e-3, done.loss, settings.max_grad_norm)
        steps.append((between - start, time.monotonic() - between))
    model.eval()
    return steps[1:]
