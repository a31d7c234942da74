"""Micro-batches of a step side by side, each on CPU threads of its own.

Two cores are hardly twice as fast at one matrix product, and less than that at everything between two. Two
micro-batches at once, on one core each, keep both at work: 14.5 instead of 12.1 thousand tokens a second
(`mini`, 2 cores, steps of 8,192 tokens; torch lets go of Python's lock while it computes). The gradients are
summed lane by lane, so the same number of lanes gives the same bits.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor, nn

from . import fused

_MOST = 8  # each holds gradients of its own

_T = TypeVar("_T")


@dataclass
class Share:
    """Sums over some micro-batches."""

    loss: float | Tensor = 0.0
    num_tokens: int = 0
    content: int = 0
    """See `gradients.Done`."""
    gradients: list[Tensor | None] = field(default_factory=list)
    """Of each parameter; None where the loss does not depend on it."""

    def add(self, gradients: Sequence[Tensor | None]) -> None:
        """Add gradients, which are then this object's own."""
        if not self.gradients:
            self.gradients = list(gradients)
            return
        for n, gradient in enumerate(gradients):
            held = self.gradients[n]
            self.gradients[n] = (
                gradient if held is None else held if gradient is None else held.add_(gradient)
            )


def number(model: nn.Module, num_threads: int, num_micro_batches: int) -> int:
    """How many lanes a step of so many micro-batches has; one even where a rank has none of them."""
    return max(1, min(most(model, num_threads), num_micro_batches))


def most(model: nn.Module, num_threads: int) -> int:
    """How many micro-batches of a model can be computed side by side on so many threads, at least one."""
    return min(num_threads, _MOST) if num_threads > 1 and fused.applies(model) else 1


def run(work: Callable[[range], _T], numbers: range, num_lanes: int, num_threads: int) -> Sequence[_T]:
    """What `work` returns for each lane's share of the numbers, in the order of the lanes.

    The first error that is raised is raised again, when all lanes have ended.
    """
    if num_lanes == 1:
        return [work(numbers)]
    pool = _pool(num_lanes, max(1, num_threads // num_lanes))
    futures = [pool.submit(work, numbers[lane::num_lanes]) for lane in range(num_lanes)]
    errors = [future.exception() for future in futures]  # waits for all
    for error in errors:
        if error is not None:
            raise error
    return [future.result() for future in futures]


@functools.cache
def _pool(num_lanes: int, threads_each: int) -> ThreadPoolExecutor:
    """Threads that are kept: how many cores a thread computes on is a property of the thread."""

    def begin() -> None:
        torch.set_num_threads(threads_each)
        # A thread takes the number of the process when it first computes, or is asked: now, before another
        # thread sets it. Two lanes that round differently would end in other bits from step to step.
        torch.get_num_threads()

    return ThreadPoolExecutor(num_lanes, "lane", initializer=begin)
