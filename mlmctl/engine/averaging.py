"""The mean of a model's weights at several points of one training.

Stochastic weight averaging (Izmailov et al. 2018, arXiv:1803.05407), taken where a cycle of the learning rate
ends, as snapshot ensembles do it (Huang et al. 2017, arXiv:1704.00109).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

_PREFIX, _COUNT = "average.", "average_count"


class Average:
    """Sums of named parameters. Part of the optimizer's state, so that a continued run has the same."""

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        self._parameters = parameters
        self._sums: dict[str, Tensor] = {}
        self._count = 0

    @torch.no_grad()
    def add(self) -> None:
        """Add the weights as they are now."""
        for name, parameter in self._parameters.items():
            if name in self._sums:
                self._sums[name].add_(parameter)
            else:
                self._sums[name] = parameter.detach().clone()
        self._count += 1

    @torch.no_grad()
    def apply(self) -> None:
        """Set the weights to the mean of those that were added; nothing if none were."""
        for name, total in self._sums.items():
            self._parameters[name].copy_(total / self._count)

    def state(self) -> dict[str, Tensor]:
        """Flat named tensors; empty before the first `add`."""
        if not self._count:
            return {}
        count = {_COUNT: torch.tensor(float(self._count))}
        return count | {_PREFIX + name: total for name, total in self._sums.items()}

    def load_state(self, left: dict[str, Tensor]) -> None:
        """Take what `state()` gave out of `left`. ValueError if a tensor is missing or has another shape."""
        self._sums, self._count = {}, int(left.pop(_COUNT, torch.zeros(())))
        if not self._count:
            return
        for name, parameter in self._parameters.items():
            total = left.pop(_PREFIX + name, None)
            if total is None or total.shape != parameter.shape:
                raise ValueError(f"the average of {name} is missing or has another shape")
            self._sums[name] = total.to(parameter.device, copy=True)
