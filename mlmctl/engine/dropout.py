"""Dropout that draws from a generator of its own for each micro-batch: several can be computed at once.

torch's own dropout draws from the one generator of the process: what a micro-batch gets would depend on which
other one was there before.
"""

from __future__ import annotations

import functools
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_here = threading.local()
"""`generator`: what this thread draws from; torch's own generator where there is none."""


def install(model: nn.Module) -> None:
    """Let all dropout modules of a stock model draw this way from now on. What is saved stays the same."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.forward = functools.partial(_forward, module)  # type: ignore[method-assign]


@contextmanager
def drawn(seed: int, step: int, number: int, device: torch.device) -> Iterator[None]:
    """Masks that are a function of seed, step and micro-batch, in this thread as long as it lasts."""
    content = f"{seed} {step} {number}".encode()
    digest = hashlib.blake2b(content, digest_size=8).digest()
    _here.generator = torch.Generator(device)
    _here.generator.manual_seed(int.from_bytes(digest, "big") >> 1)
    try:
        yield
    finally:
        _here.generator = None


def _forward(module: nn.Dropout, values: Tensor) -> Tensor:
    """In place of the stock module's own."""
    if not module.training or not module.p:
        return values
    share = 1 - module.p  # kept; the rest is scaled up, so that the expectation stays
    kept = torch.empty_like(values).bernoulli_(share, generator=getattr(_here, "generator", None))
    return values * kept.div_(share)
