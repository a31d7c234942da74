"""Every rank holds the whole model: how all begin with the same, and how it is seen that they still do."""

from __future__ import annotations

from dataclasses import asdict

import torch
from torch import Tensor, nn

from ..errors import ArtifactError
from .checkpoint import Checkpoints, Counters
from .optimizer import Optimizer
from .ranks import Ranks


def restore(
    checkpoints: Checkpoints, model: nn.Module, optimizer: Optimizer, ranks: Ranks
) -> tuple[Counters, float]:
    """The newest checkpoint, read by the first rank and copied to all: (counters, seconds trained so far).

    Without one the model stays as it is, on all ranks as on the first. ArtifactError on the first rank if
    there are checkpoints and none can be used.
    """
    seconds = 0.0
    counters = Counters()
    if ranks.is_first:
        counters, seconds = checkpoints.restore(model, optimizer)
    if ranks.is_alone:
        return counters, seconds
    counters = Counters(**ranks.decide(lambda: asdict(counters)))
    with torch.no_grad():
        ranks.copy([parameter.detach() for parameter in model.parameters()])
        state = optimizer.state()
        layout: list[tuple[str, list[int], str, str]] = ranks.decide(
            lambda: [(name, list(t.shape), str(t.dtype), t.device.type) for name, t in state.items()]
        )
        device = next(model.parameters()).device
        if not ranks.is_first:
            state = {name: _empty(shape, dtype, kind, device) for name, shape, dtype, kind in layout}
        ranks.copy([state[name] for name, *_ in layout])
        if not ranks.is_first:
            optimizer.load_state(state)
    return counters, seconds


def check(model: nn.Module, ranks: Ranks, step: int) -> None:
    """ArtifactError if the weights of the ranks are not the same to the bit, or their steps are not.

    They are computed from the same sums by the same arithmetic; another kind of CPU or a fault of memory can
    make them differ, which nothing else would ever show.
    """
    if ranks.is_alone:
        return
    found = ranks.gather([float(step), *map(float, divmod(_checksum(model), 2**32))])
    others = [rank for rank, row in enumerate(found) if row != found[0]]
    if others:
        told = ", ".join(map(str, others[:8]))
        raise ArtifactError(
            "ranks.drifted",
            f"after step {step:,} the weights of rank {told} are not those of rank 0",
            hint="ranks need CPUs or GPUs of one kind; the same command continues from the last checkpoint",
        )


def _empty(shape: list[int], dtype: str, kind: str, device: torch.device) -> Tensor:
    on = torch.device("cpu") if kind == "cpu" else device
    return torch.empty(shape, dtype=getattr(torch, dtype.removeprefix("torch.")), device=on)


def _checksum(model: nn.Module) -> int:
    """A sum over the bits of all weights, modulo 2**64, to which each place counts in its own way."""
    total = 0
    for number, parameter in enumerate(model.parameters(), start=1):
        bits = parameter.detach().reshape(-1).view(torch.int32).to(torch.int64)
        places = torch.arange(1, 2 * len(bits), 2, device=bits.device)
        total += number * int((bits * places).sum())  # integers wrap around, in whatever order they are added
    return total % 2**64
