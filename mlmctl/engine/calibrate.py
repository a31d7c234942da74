"""Times a few real steps on a throw-away copy, so that a run on a budget ends when it should."""

from __future__ import annotations

import statistics
import time

from torch import nn

from .evaluate_mlm import FrozenMasks, evaluate
from .loop import Settings, Work, accumulate, take_step
from .optimizer import Optimizer
from .plan import Timing

_WRITE_SPEED = 150e6  # bytes a second of writing, hashing and verifying a checkpoint; slower than most disks
_PUBLISHING = 1.0  # seconds to copy, hash and sync the result


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
    started = time.monotonic()
    model.train()
    steps: list[float] = []
    while len(steps) < 2 or time.monotonic() - started + statistics.median(steps) < limit:
        start = time.monotonic()
        done = accumulate(model, work, len(steps), settings)
        if done is None:
            break
        take_step(optimizer, 1e-3, done[0], settings.max_grad_norm)
        steps.append(time.monotonic() - start)
    model.eval()
    few = max(1, min(4096, interim_tokens, masks.num_tokens))
    evaluate(model, masks, settings.device, few)  # not counted, as the first step is not
    start = time.monotonic()
    evaluate(model, masks, settings.device, few)
    per_token = (time.monotonic() - start) / few
    size = 4 * sum(p.numel() for p in model.parameters()) + sum(
        tensor.numel() * tensor.element_size() for tensor in optimizer.state().values()
    )
    return Timing(
        step=statistics.median(steps[1:]),
        evaluation=per_token * min(interim_tokens, masks.num_tokens),
        save=0.1 + size / _WRITE_SPEED,
        ending=per_token * masks.num_tokens + _PUBLISHING,
    )
