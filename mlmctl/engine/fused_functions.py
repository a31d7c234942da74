"""The halves of a ModernBERT layer, and the loss, as functions with their backward passes written out.

Everything is plain torch. Activations are kept in the number format of the products, gradients are written
where the next product reads them, and only what the backward pass needs is saved.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

FP32 = torch.float32
_LOGITS_AT_ONCE = 2**18  # in float32 a megabyte, which stays in the cache


@dataclass(frozen=True)
class Rotary:
    """Rotary positions: cosines and sines of the angles, [length, head_size / 2] each; see `_rotate`.

    Those of the queries hold the scale of the scores, which then costs nothing.
    """

    length: int
    head_size: int
    of_queries: tuple[Tensor, Tensor]
    of_keys: tuple[Tensor, Tensor]

    @classmethod
    def of(cls, frequencies: Tensor, length: int, dtype: torch.dtype) -> Rotary:
        head_size = 2 * len(frequencies)
        angles = torch.outer(torch.arange(length, dtype=FP32), frequencies)
        tables, scale = (angles.cos(), angles.sin()), 1 / math.sqrt(head_size)
        queries = (tables[0] * scale).to(dtype), (tables[1] * scale).to(dtype)
        return cls(length, head_size, queries, (tables[0].to(dtype), tables[1].to(dtype)))

    @property
    def dtype(self) -> torch.dtype:
        return self.of_keys[0].dtype

    def at(self, positions: Tensor | None, num_blocks: int) -> tuple[Tensor, Tensor]:
        """The tables of the queries, [length, ...] for all places or [B, 1, C, ...] for some."""
        if positions is None:
            return self.of_queries
        places = positions.remainder(self.length).view(num_blocks, 1, -1)
        return self.of_queries[0][places], self.of_queries[1][places]


def _rotate(source: Tensor, cos: Tensor, sin: Tensor, target: Tensor) -> None:
    """Turn the halves of each head against each other, [..., 2, head_size / 2] of any strides."""
    first, second = source.unbind(-2)
    to_first, to_second = target.unbind(-2)
    torch.mul(first, cos, out=to_first)
    to_first.addcmul_(second, sin, value=-1)
    torch.mul(second, cos, out=to_second)
    to_second.addcmul_(first, sin)


def _halves(heads: Tensor) -> Tensor:
    """[..., head_size] as [..., 2, head_size / 2]."""
    return heads.view(*heads.shape[:-1], 2, heads.shape[-1] // 2)


class _Attention(torch.autograd.Function):
    """h + attention(norm(h)): [B * L, hidden_size], or [B * C, hidden_size] at `positions`."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,  # [B * L, hidden_size], float32
        norm: Tensor | None,
        qkv: Tensor,  # [3 * hidden_size, hidden_size]
        out: Tensor,
        rotary: Rotary,
        mask: Tensor | None,
        positions: Tensor | None,
        eps: float,
    ) -> Tensor:
        width, size, dtype = hidden.shape[1], rotary.head_size, rotary.dtype
        num_blocks = len(hidden) // rotary.length
        with torch.autocast("cpu", enabled=False):
            x, *moments = _norm(hidden, norm, eps, dtype)
            asking = x if positions is None else x.index_select(0, positions)
            weights, wo = _in(dtype, qkv), _in(dtype, out)
            q0 = torch.mm(asking, weights[:width].t()).view(num_blocks, -1, width // size, size)
            kv = torch.mm(x, weights[width:].t()).view(num_blocks, -1, 2, width // size, size)
            q = torch.empty_like(q0.transpose(1, 2), memory_format=torch.contiguous_format)
            k = torch.empty_like(kv[:, :, 0].transpose(1, 2), memory_format=torch.contiguous_format)
            _rotate(_halves(q0.transpose(1, 2)), *rotary.at(positions, num_blocks), _halves(q))
            _rotate(_halves(kv[:, :, 0].transpose(1, 2)), *rotary.of_keys, _halves(k))
            v = kv[:, :, 1].transpose(1, 2).contiguous()  # [B, H, L, D]
            scores = torch.matmul(q, k.transpose(2, 3))  # [B, H, C, L]
            if mask is not None:
                scores += mask
            shares = torch.softmax(scores, dim=-1)
            mixed = torch.matmul(shares, v).transpose(1, 2).reshape(-1, width)
            attended = torch.mm(mixed, wo.t())
            before = hidden if positions is None else hidden.index_select(0, positions)
            ctx.save_for_backward(hidden, norm, weights, wo, x, q, k, v, shares, mixed, positions, *moments)
            ctx.rotary = rotary
            return before + attended

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        hidden, norm, weights, wo, x, q, k, v, shares, mixed, positions, *moments = ctx.saved_tensors
        rotary: Rotary = ctx.rotary
        width, dtype = hidden.shape[1], rotary.dtype
        num_blocks, num_heads, _, size = q.shape
        g = gradient.to(dtype)
        d_out = torch.mm(g.t(), mixed)
        d_mixed = torch.mm(g, wo).view(num_blocks, -1, num_heads, size).transpose(1, 2).contiguous()
        dkv = x.new_empty(num_blocks, rotary.length, 2, num_heads, size)
        dkv[:, :, 1] = torch.matmul(shares.transpose(2, 3), d_mixed).transpose(1, 2)
        d_shares = torch.matmul(d_mixed, v.transpose(2, 3))
        d_scores = torch.ops.aten._softmax_backward_data(d_shares, shares, -1, dtype)
        cos, sin = rotary.at(positions, num_blocks)
        dq = torch.empty_like(d_mixed.transpose(1, 2), memory_format=torch.contiguous_format)
        _rotate(_halves(torch.matmul(d_scores, k)), cos, -sin, _halves(dq.transpose(1, 2)))
        dk = torch.matmul(d_scores.transpose(2, 3), q)
        _rotate(_halves(dk), rotary.of_keys[0], -rotary.of_keys[1], _halves(dkv[:, :, 0].transpose(1, 2)))
        dq, dkv = dq.view(-1, width), dkv.view(-1, 2 * width)

        d_qkv = torch.empty_like(weights)
        asking = x if positions is None else x.index_select(0, positions)
        torch.mm(dq.t(), asking, out=d_qkv[:width])
        torch.mm(dkv.t(), x, out=d_qkv[width:])
        dx = torch.mm(dkv, weights[width:])
        if positions is None:
            dx.addmm_(dq, weights[:width])
        else:
            dx.index_add_(0, positions, torch.mm(dq, weights[:width]))
        d_hidden, d_norm = _norm_backward(dx, hidden, norm, moments)
        if positions is None:
            d_hidden += gradient
        else:
            d_hidden.index_add_(0, positions, gradient)
        return d_hidden, d_norm, d_qkv.to(FP32), d_out.to(FP32), None, None, None, None


class _Mlp(torch.autograd.Function):
    """h + Wo (gelu(first half of Wi norm(h)) * second half): [n, hidden_size]."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, norm: Tensor, wi: Tensor, wo: Tensor, dtype: torch.dtype, eps: float
    ) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            x, *moments = _norm(hidden, norm, eps, dtype)
            wi, wo = _in(dtype, wi), _in(dtype, wo)
            into, gate_into = wi.chunk(2)
            a = torch.mm(x, into.t())  # apart, so that every pass runs over memory in its order
            gate = torch.mm(x, gate_into.t())
            activated = nn.functional.gelu(a)
            product = activated * gate
            ctx.save_for_backward(hidden, norm, wi, wo, x, a, gate, activated, product, *moments)
            return hidden + torch.mm(product, wo.t())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        hidden, norm, wi, wo, x, a, gate, activated, product, *moments = ctx.saved_tensors
        g = gradient.to(x.dtype)
        d_wo = torch.mm(g.t(), product)
        d_product = torch.mm(g, wo)
        d_gate = d_product * activated
        da = torch.ops.aten.gelu_backward(d_product.mul_(gate), a)
        d_wi = torch.empty_like(wi)
        for part, d in zip(d_wi.chunk(2), (da, d_gate), strict=True):
            torch.mm(d.t(), x, out=part)
        into, gate_into = wi.chunk(2)
        dx = torch.mm(da, into).addmm_(d_gate, gate_into)
        d_hidden, d_norm = _norm_backward(dx, hidden, norm, moments)
        d_hidden += gradient
        return d_hidden, d_norm, d_wi.to(FP32), d_wo.to(FP32), None, None


class _CrossEntropy(torch.autograd.Function):
    """Decoder, softmax and loss in one: of the logits only their gradient is kept, in their own place."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,  # [n, hidden_size]
        weight: Tensor,  # [vocab_size, hidden_size]
        bias: Tensor,
        labels: Tensor,
        weights: Tensor,
        dtype: torch.dtype,
    ) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            x = hidden.to(dtype)
            weight = _in(dtype, weight)
            logits = torch.addmm(bias.to(dtype), x, weight.t())  # [n, vocab_size]
            loss = torch.zeros((), dtype=FP32)
            at_once = max(1, _LOGITS_AT_ONCE // logits.shape[1])
            for first in range(0, len(logits), at_once):
                rows = slice(first, first + at_once)
                some, wanted, each = logits[rows], labels[rows], weights[rows]
                found = torch.log_softmax(some, dim=-1, dtype=FP32)
                loss -= torch.dot(found.gather(1, wanted[:, None]).squeeze(1), each)
                found.exp_()[torch.arange(len(wanted)), wanted] -= 1.0
                some.copy_(found.mul_(each[:, None]))
            ctx.save_for_backward(hidden, weight, logits)
            return loss

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, d_logits = ctx.saved_tensors
        dtype = d_logits.dtype
        d_hidden = torch.mm(d_logits, weight).to(FP32) * gradient
        d_weight = torch.mm(d_logits.t(), (hidden * gradient).to(dtype))
        d_bias = d_logits.sum(0, dtype=FP32) * gradient
        return d_hidden.to(hidden.dtype), d_weight.to(FP32), d_bias, None, None, None


attention: Callable[..., Tensor] = _Attention.apply
mlp: Callable[..., Tensor] = _Mlp.apply
cross_entropy: Callable[..., Tensor] = _CrossEntropy.apply


def _in(dtype: torch.dtype, weight: Any) -> Tensor:
    """A parameter in another number format, made once for all micro-batches between two updates of it."""
    if weight.dtype == dtype:
        return weight  # type: ignore[no-any-return]
    made = getattr(weight, "_made", None)
    if made is None or made[0] != (weight._version, dtype):
        made = (weight._version, dtype), weight.detach().to(dtype)
        weight._made = made
    return made[1]  # type: ignore[no-any-return]


def _norm(hidden: Tensor, weight: Tensor | None, eps: float, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """(the normed in `dtype`, mean, inverse deviation); without a weight only converted."""
    if weight is None:
        return (hidden.to(dtype),)
    normed, mean, inverse = torch.native_layer_norm(hidden, [hidden.shape[1]], weight, None, eps)
    return normed.to(dtype), mean, inverse


def _norm_backward(
    dx: Tensor, hidden: Tensor, weight: Tensor | None, moments: list[Tensor]
) -> tuple[Tensor, Tensor | None]:
    """Gradients of hidden states and weight, float32; the first may be written to."""
    if weight is None:
        return (dx.clone() if dx.dtype == FP32 else dx.to(FP32)), None
    wanted = [True, True, False]
    shape = [hidden.shape[1]]
    d_hidden, d_weight, _ = torch.ops.aten.native_layer_norm_backward(
        dx.to(FP32), hidden, shape, *moments, weight, None, wanted
    )
    return d_hidden, d_weight
