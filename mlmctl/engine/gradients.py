"""One step of training: the gradients of its micro-batches added up, then clipped and applied."""

from __future__ import annotations

import contextlib
import hashlib
import math

import torch
from torch import nn

from ..signals import StopRequest, stop
from . import lanes
from .lanes import Share
from .optimizer import Optimizer
from .work import Settings, Work


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
            batch = {name: tensor.to(settings.device, non_blocking=True) for name, tensor in batch.items()}
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


def take_step(optimizer: Optimizer, factor: float, loss: float, max_grad_norm: float) -> float | None:
    """Clip the gradients and update, unless loss or gradient is not finite; the norm, or None if skipped."""
    norm = float(nn.utils.clip_grad_norm_(optimizer.parameters(), max_grad_norm))
    is_finite = math.isfinite(loss) and math.isfinite(norm)
    if is_finite:
        optimizer.step(factor)
    optimizer.zero_grad()
    return norm if is_finite else None


def _dropout_seed(seed: int, step: int, number: int) -> int:
    """A 63-bit seed for torch's one generator, different for every micro-batch of a run."""
    content = f"{seed} {step} {number}".encode()
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big") >> 1


def _autocast(settings: Settings) -> contextlib.AbstractContextManager[object]:
    if settings.dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(settings.device.type, dtype=settings.dtype)
