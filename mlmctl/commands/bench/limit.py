"""The machine's limit: how fast it multiplies matrices of the very shapes that training multiplies."""

from __future__ import annotations

import time
from collections.abc import Iterable

import torch

from ...engine.plan import TOKENS_PER_MICRO_BATCH
from .arithmetic import Dimensions, products
from .channel import Channel
from .sides import MASK_RATE, Job

_SECONDS_A_SHAPE = 0.08
_LEAST = 5  # repetitions of a product
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def run(job: Job, channel: Channel) -> None:
    """Child process: answers every request with operations a second for each number format."""
    world = job.world
    torch.set_num_threads(world.num_threads)
    model = Dimensions("modernbert", world.shape_of("modernbert"), world.vocab_size, world.block_length)
    shapes = list(products(model, min(TOKENS_PER_MICRO_BATCH, world.tokens_per_step), MASK_RATE))
    channel.send({})
    while channel.receive():
        channel.send({name: measure(shapes, dtype) for name, dtype in _DTYPES.items()})


def measure(shapes: Iterable[tuple[tuple[int, int, int], int]], dtype: torch.dtype) -> float:
    """Operations a second of forward products and both gradients, each shape by its share.

    `shapes` holds ((rows, inner, columns), how often). Of each product the best of several timings counts.
    """
    operations = seconds = 0.0
    for (rows, inner, columns), count in shapes:
        x, w, dy = (
            torch.randn(size).to(dtype) for size in ((rows, inner), (columns, inner), (rows, columns))
        )
        for left, right in ((x, w.t()), (dy, w), (dy.t(), x)):
            operations += count * 2.0 * rows * inner * columns
            seconds += count * _best(left, right)
    return operations / seconds


def _best(left: torch.Tensor, right: torch.Tensor) -> float:
    out = torch.mm(left, right)
    best, deadline, done = float("inf"), time.perf_counter() + _SECONDS_A_SHAPE, 0
    while done < _LEAST or time.perf_counter() < deadline:
        start = time.perf_counter()
        torch.mm(left, right, out=out)
        best = min(best, time.perf_counter() - start)
        done += 1
    return best
