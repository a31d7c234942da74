"""One step of training: gradients of micro-batches added up over all ranks, then clipped and applied."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..errors import ResourceError, is_out_of_memory
from ..signals import StopRequest, stop
from . import dropout, lanes
from .lanes import Share
from .optimizer import Optimizer
from .work import Settings, Work

_WORD = 2**32


class Done(NamedTuple):
    """What is known of a step, or of one rank's share of it, beside its gradients."""

    loss: float | Tensor
    """Of the mean loss of the whole step."""
    num_tokens: int
    content: int
    """Sum, modulo 2**64, of a hash of each micro-batch and its number: in whatever order, by whomever they
    were computed."""


@dataclass(frozen=True)
class Agreed:
    """What all ranks know of a step once each has told the others; the same on all of them."""

    done: Done | None
    """None: the step was abandoned."""
    signal_number: int = 0
    """Of a signal that asks one of them to stop; 0: none."""
    save: bool = False
    """Whether the first rank wants a checkpoint now."""


def accumulate(
    model: nn.Module, work: Work, step: int, settings: Settings, stop: StopRequest = stop
) -> Done | None:
    """Add up the gradients of this rank's micro-batches of a step.

    This rank's share; None if a signal's patience ran out between micro-batches, with the gradients
    incomplete.
    """
    total_weight = max(work.total_weight(step), 1e-8)  # nothing masked at all: loss 0, not 0/0
    numbers = range(settings.ranks.rank, work.num_micro_batches(step), settings.ranks.world_size)
    parameters = _trained(model)
    # In float64 where that costs no wait; a GPU is asked once a step, by `agree`, or not at all.
    is_here = settings.device.type == "cpu" and not settings.reads_ahead

    def lane(numbers: range) -> Share | None:
        share = Share()
        for number in numbers:
            if stop.overdue:
                return None
            batch = work.micro_batch(step, number)
            share.content += _content(step, number, batch)
            with _told_if_short(batch["input_ids"], settings):
                batch = {name: _moved(tensor, settings.device) for name, tensor in batch.items()}
                with _autocast(settings), dropout.drawn(settings.seed, step, number, settings.device):
                    loss = work.loss(model, batch) / total_weight
                share.add(torch.autograd.grad(loss, parameters, allow_unused=True))
                share.loss += loss.item() if is_here else loss.detach()
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
        total.content += share.content
    for parameter, gradient in zip(parameters, total.gradients, strict=bool(total.gradients)):
        if gradient is not None:
            parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
    loss = total.loss if settings.reads_ahead else float(total.loss)  # where the host waits for the device
    return Done(loss, total.num_tokens, total.content % _WORD**2)


@contextlib.contextmanager
def _told_if_short(input_ids: Tensor, settings: Settings) -> Iterator[None]:
    """Inside, running out of memory is a ResourceError that names a micro-batch of half the size."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        rows, length = input_ids.shape
        stage, half = settings.stage.split("/")[0], rows // 2
        if half:
            smaller = f"pretrain.tokens_per_step={half * length}"
            if stage == "finetune":
                smaller = f"finetune.batch_size={half}"
            hint = f"{half} x {length} take half of it: --set {smaller} --force {stage}; or a smaller model"
        else:
            smaller = "finetune.window_length" if stage == "finetune" else "--block-length"
            hint = f"a smaller {smaller}, with --force {stage}; or a smaller model"
        raise ResourceError(
            "resource.memory",
            f"out of memory on {settings.device.type} with {rows} x {length} tokens at once",
            hint=hint,
        ) from None


def agree(
    model: nn.Module, done: Done | None, settings: Settings, stop: StopRequest = stop, save: bool = False
) -> Agreed:
    """Tell the other ranks of this rank's share, and add up loss and gradients over all.

    Every rank must have its share done or have abandoned it: if one has, the step is abandoned by all. A
    signal that has come to one of them is known to all at the same step, so that they stop there together.
    """
    ranks, signal_number = settings.ranks, stop.signal_number or 0
    if ranks.is_alone:
        return Agreed(done, signal_number, save)
    parameters = _trained(model)
    loss, num_tokens, content = done or Done(0.0, 0, 0)
    facts = [done is None, signal_number, save, float(loss), num_tokens, *divmod(content, _WORD)]
    # A rank with no micro-batch does not know which parameters the loss depends on; the first has one always.
    is_used = [parameter.grad is not None for parameter in parameters]
    rows = ranks.gather([*map(float, facts), *map(float, is_used)])
    abandoned, signals, saves, losses, tokens, highs, lows = zip(
        *(row[: len(facts)] for row in rows), strict=True
    )
    signal_number, save = int(max(signals)), bool(saves[0])
    if any(abandoned):
        return Agreed(None, signal_number, save)
    used = [p for p, is_used in zip(parameters, rows[0][len(facts) :], strict=True) if is_used]
    for parameter in used:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    ranks.add_up([parameter.grad for parameter in used if parameter.grad is not None])
    content = int(sum(highs)) * _WORD + int(sum(lows))
    return Agreed(Done(sum(losses), int(sum(tokens)), content % _WORD**2), signal_number, save)


def take_step(
    optimizer: Optimizer, factor: float, loss: float | Tensor, max_grad_norm: float
) -> float | Tensor | None:
    """Clip the gradients and update, unless loss or gradient is not finite; the norm, or None if skipped.

    With a loss that is still a tensor nothing waits for it: whether to update is decided where it is, and the
    norm is a tensor too.
    """
    parameters = optimizer.parameters()
    total = nn.utils.get_total_norm(p.grad for p in parameters if p.grad is not None)
    if isinstance(loss, Tensor):
        nn.utils.clip_grads_with_norm_(parameters, max_grad_norm, total)
        optimizer.step(factor, total.isfinite() & loss.isfinite())
        optimizer.zero_grad()
        return total
    norm = float(total)
    is_finite = math.isfinite(loss) and math.isfinite(norm)
    if is_finite:
        if norm > max_grad_norm:  # otherwise a pass over all gradients changes nothing
            nn.utils.clip_grads_with_norm_(parameters, max_grad_norm, total)
        optimizer.step(factor)
    optimizer.zero_grad()
    return norm if is_finite else None


def _trained(model: nn.Module) -> Sequence[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    """On the device; copied to a GPU while it computes, which takes memory that the system does not move."""
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)


def _content(step: int, number: int, batch: Mapping[str, Tensor]) -> int:
    """A 64-bit hash of a micro-batch and of its place in the run."""
    content = hashlib.blake2b(f"{step} {number}".encode(), digest_size=8)
    for name in sorted(batch):
        content.update(name.encode())
        content.update(batch[name].contiguous().numpy().data)
    return int.from_bytes(content.digest(), "big")


def _autocast(settings: Settings) -> contextlib.AbstractContextManager[object]:
    if settings.dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(settings.device.type, dtype=settings.dtype)
