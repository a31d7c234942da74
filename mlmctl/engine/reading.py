"""What a step found, read when it is there: at once on a CPU, on a GPU one step later, without waiting."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class Reading:
    """Loss and gradient norm of a step, which a GPU may still be computing.

    They are copied into pinned memory behind the step's own work, and only who reads them waits.
    """

    def __init__(self, loss: float | Tensor, norm: float | Tensor | None) -> None:
        self._values = loss, norm
        self._is_there: torch.cuda.Event | None = None
        if isinstance(loss, Tensor) and isinstance(norm, Tensor):
            both = torch.stack([loss, norm]).to("cpu", non_blocking=True)
            self._values = both[0], both[1]
            if loss.is_cuda:
                self._is_there = torch.cuda.Event()  # type: ignore[no-untyped-call]
                self._is_there.record()

    @property
    def is_late(self) -> bool:
        """Whether reading it now may wait for the device."""
        return isinstance(self._values[0], Tensor)

    def read(self) -> tuple[float, float | None]:
        """Loss and norm; the norm is None if the step was skipped, since one of them is not finite."""
        if self._is_there is not None:
            self._is_there.synchronize()
        loss, norm = (None if value is None else float(value) for value in self._values)
        assert loss is not None
        is_taken = norm is not None and math.isfinite(loss) and math.isfinite(norm)
        return loss, norm if is_taken else None
