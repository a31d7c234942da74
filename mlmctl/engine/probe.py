"""Which number format the arithmetic should have: by rule from the CPU's flags, or timed on a budget.

bf16 is four times as fast as fp32 on CPUs that have it in hardware and far slower on all others, so it
is never assumed. A run of a given number of steps must give the same bits every time, so its format
follows from the flags; only a run on a time budget measures, and writes down what it chose.
"""

from __future__ import annotations

import time

import torch

from .machine import cpu_flags

_MARGIN = 1.3  # bf16 has to be so much faster in the multiplication to pay for its conversions
_LEAST_TIMINGS = 3


def dtype_by_rule(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware multiplies it, float32 elsewhere."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    has_bf16 = {"avx512_bf16", "amx_bf16"} & set(cpu_flags())
    return torch.bfloat16 if device.type == "cpu" and has_bf16 else torch.float32


def dtype_by_timing(
    device: torch.device, num_tokens: int, hidden_size: int, intermediate_size: int
) -> torch.dtype:
    """The faster format for the product of a micro-batch and a layer; under half a second.

    float32 without a timing where the flags already rule bfloat16 out.
    """
    if dtype_by_rule(device) == torch.float32:
        return torch.float32
    shape = (num_tokens, hidden_size, 2 * intermediate_size)
    fast = _seconds(shape, torch.bfloat16, device)
    return torch.bfloat16 if fast * _MARGIN < _seconds(shape, torch.float32, device) else torch.float32


def _seconds(shape: tuple[int, int, int], dtype: torch.dtype, device: torch.device) -> float:
    """The best of several timings of one matrix product, within a fifth of a second or three of them."""
    rows, inner, columns = shape
    a = torch.ones(rows, inner, dtype=dtype, device=device)
    b = torch.ones(inner, columns, dtype=dtype, device=device)
    (a @ b)[0, 0].item()  # the first loads what computes it, on a GPU for longer than all others take
    taken: list[float] = []
    deadline = time.monotonic() + 0.2
    while len(taken) < _LEAST_TIMINGS or time.monotonic() < deadline:
        start = time.monotonic()
        (a @ b)[0, 0].item()
        taken.append(time.monotonic() - start)
    return min(taken)
