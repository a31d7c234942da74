"""The optimizers: Muon for the hidden matrices, AdamW for the rest, behind one small object.

Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon) replaces a matrix's momentum by the nearest
orthogonal one. Ours differs from `torch.optim.Muon` in speed, not in result: matrices of one shape go
through the iteration together, in the number format that is fast here, and the fused Wqkv and Wi are
taken apart into the matrices they are made of.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from . import architectures
from .averaging import Average
from .divided import orthogonalized
from .ranks import ALONE, Ranks

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_NUM_ITERATIONS = 5
_MOMENTUM = 0.9
_ADAM_STATE = ("exp_avg", "exp_avg_sq", "step")


def newton_schulz(matrices: Tensor, dtype: torch.dtype) -> Tensor:
    """The nearest orthogonal matrix, roughly (singular values 0.7 to 1.2), of each in [N, rows, columns].

    Five steps of the quintic iteration of Jordan et al.; the arithmetic is in `dtype`.
    """
    a, b, c = _COEFFICIENTS
    x = matrices.to(dtype)
    is_tall = x.size(-2) > x.size(-1)
    if is_tall:
        x = x.mT
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(_NUM_ITERATIONS):
        gram = torch.bmm(x, x.mT)
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return x.mT if is_tall else x


@dataclass(frozen=True)
class _Matrix:
    """A parameter that Muon trains, made of `num_parts` matrices stacked along its rows."""

    name: str
    parameter: nn.Parameter
    num_parts: int


class _Muon:
    """Muon over some parameters; each part's step is scaled by sqrt(max(1, rows / columns))."""

    def __init__(
        self,
        matrices: list[_Matrix],
        learning_rate: float,
        weight_decay: float,
        dtype: torch.dtype,
        ranks: Ranks,
    ) -> None:
        self.matrices = matrices
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.dtype = dtype
        self.ranks = ranks
        self.momentum = {m.name: torch.zeros_like(m.parameter) for m in matrices}
        self._groups: dict[tuple[int, int], list[_Matrix]] = {}
        for matrix in matrices:
            rows, columns = matrix.parameter.shape
            self._groups.setdefault((rows // matrix.num_parts, columns), []).append(matrix)

    @torch.no_grad()
    def step(self, factor: float, is_taken: Tensor | None) -> None:
        rate = self.learning_rate * factor
        taken = 1.0 if is_taken is None else is_taken.to(torch.float32)
        directions = orthogonalized(self._directions(is_taken), newton_schulz, self.dtype, self.ranks)
        for ((rows, columns), group), orthogonal in zip(self._groups.items(), directions, strict=True):
            scaled_rate = rate * math.sqrt(max(1.0, rows / columns))
            parts = torch.split(orthogonal, [matrix.num_parts for matrix in group])
            for matrix, part in zip(group, parts, strict=True):
                matrix.parameter.mul_(1 - rate * self.weight_decay * taken)
                update = part.reshape(matrix.parameter.shape).to(matrix.parameter.dtype)
                if is_taken is not None:
                    update *= taken
                matrix.parameter.add_(update, alpha=-scaled_rate)

    def _directions(self, is_taken: Tensor | None) -> Iterator[Tensor]:
        """[N, rows, columns] of each group of equal shapes: where momentum and gradient point (Nesterov)."""
        weight = 1 - _MOMENTUM if is_taken is None else (1 - _MOMENTUM) * is_taken.to(torch.float32)
        for (rows, columns), group in self._groups.items():
            updates = []
            for matrix in group:
                gradient, momentum = matrix.parameter.grad, self.momentum[matrix.name]
                if gradient is None:
                    raise ValueError(f"{matrix.name} has no gradient")
                if is_taken is not None:  # what is not finite stays so, whatever it is multiplied by
                    gradient = gradient.where(is_taken, 0.0)
                momentum.lerp_(gradient, weight)
                updates.append(gradient.lerp(momentum, _MOMENTUM).view(-1, rows, columns))
            yield torch.cat(updates)


class Optimizer:
    """AdamW on some named parameters and, if `matrices` are given, Muon on others."""

    def __init__(self, adamw: torch.optim.AdamW, names: dict[nn.Parameter, str], muon: _Muon | None) -> None:
        self._adamw = adamw
        self._names = names
        self._muon = muon
        self._base_rates = [float(group["lr"]) for group in adamw.param_groups]
        matrices = {m.name: m.parameter for m in muon.matrices} if muon else {}
        self.average = Average({name: parameter for parameter, name in names.items()} | matrices)

    def parameters(self) -> list[nn.Parameter]:
        """All parameters that are trained (for clipping)."""
        matrices = [m.parameter for m in self._muon.matrices] if self._muon else []
        return [*self._names, *matrices]

    def step(self, factor: float, is_taken: Tensor | None = None) -> None:
        """Update the parameters; every learning rate is its base times `factor`.

        `is_taken`, a boolean scalar on the parameters' device, leaves everything as it was if it is False,
        and nobody has to wait to know it (as `torch.amp.GradScaler` does it).
        """
        for group, base in zip(self._adamw.param_groups, self._base_rates, strict=True):
            group["lr"] = base * factor
        if is_taken is not None:
            self._adamw.found_inf = (~is_taken).to(torch.float32)  # type: ignore[attr-defined]
        self._adamw.step()
        for parameter in self._names:  # the fused kernel does not say that it has changed them
            torch.autograd.graph.increment_version(parameter)
        if self._muon:
            self._muon.step(factor, is_taken)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters():
            parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """The whole state as flat named tensors; nothing is copied."""
        tensors = {f"muon.{name}": t for name, t in self._muon.momentum.items()} if self._muon else {}
        for parameter, name in self._names.items():
            for key, value in self._adamw.state.get(parameter, {}).items():
                tensors[f"adamw.{key}.{name}"] = value
        return tensors | self.average.state()

    @torch.no_grad()
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore exactly what `state()` gave. ValueError if names or shapes differ."""
        left = dict(state)
        self.average.load_state(left)
        for name, momentum in self._muon.momentum.items() if self._muon else ():
            _copy(momentum, left.pop(f"muon.{name}", None), name)
        for parameter, name in self._names.items():
            values = {key: left.pop(f"adamw.{key}.{name}", None) for key in _ADAM_STATE}
            if all(value is None for value in values.values()):
                self._adamw.state.pop(parameter, None)  # saved before its first step
                continue
            own = {"step": torch.zeros((), device=parameter.device), "exp_avg": torch.zeros_like(parameter)}
            own["exp_avg_sq"] = torch.zeros_like(parameter)
            for key, tensor in own.items():
                _copy(tensor, values[key], name)
            self._adamw.state[parameter] = own
        if left:
            raise ValueError(f"optimizer state for unknown parameters: {', '.join(sorted(left)[:3])}")


def _copy(target: Tensor, source: Tensor | None, name: str) -> None:
    if source is None or source.shape != target.shape:
        raise ValueError(f"optimizer state for {name} is missing or has another shape")
    target.copy_(source)


def adamw(
    model: nn.Module, *, learning_rate: float, weight_decay: float, betas: tuple[float, float] = (0.9, 0.98)
) -> Optimizer:
    """AdamW for all of a model; norms and biases do not decay. For fine-tuning."""
    return _build(list(model.named_parameters()), learning_rate, weight_decay, betas, None)


def muon_and_adamw(
    model: nn.Module,
    *,
    muon_learning_rate: float,
    learning_rate: float,
    weight_decay: float,
    dtype: torch.dtype = torch.float32,
    betas: tuple[float, float] = (0.9, 0.98),
    ranks: Ranks = ALONE,
) -> Optimizer:
    """Muon for the matrices of the encoder's layers, AdamW for embeddings, norms, biases and head."""
    matrices, rest, family = [], [], architectures.of(model)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2 and family.layers in name:
            num_parts = next((n for end, n in family.fused.items() if name.endswith(end)), 1)
            matrices.append(_Matrix(name, parameter, num_parts))
        else:
            rest.append((name, parameter))
    muon = _Muon(matrices, muon_learning_rate, weight_decay, dtype, ranks)
    return _build(rest, learning_rate, weight_decay, betas, muon)


def _build(
    named: list[tuple[str, nn.Parameter]],
    learning_rate: float,
    weight_decay: float,
    betas: tuple[float, float],
    muon: _Muon | None,
) -> Optimizer:
    names = {parameter: name for name, parameter in named if parameter.requires_grad}
    groups = [
        {"params": [p for p in names if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in names if p.ndim < 2], "weight_decay": 0.0},
    ]
    return Optimizer(torch.optim.AdamW(groups, lr=learning_rate, betas=betas, fused=True), names, muon)
