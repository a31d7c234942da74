"""ModernBERT's layers with their backward passes written out, for CPUs: the same numbers, fewer passes.

The stock forward pass leaves a third of a step on a CPU to passes over memory between the matrix products:
conversions between number formats, rotary positions in float32, copies of heads, gradients of all those.
Here each half of a layer is one function that keeps activations in the number format of the products,
writes gradients where the next product reads them, and saves only what its backward pass needs.

The last layer is computed only where a token is predicted. Its keys and values are needed everywhere, its
queries, its MLP and what follows at the masked places alone: at a masked share of 15 % that saves two
thirds of it, a sixth of a model of four layers, and changes no number.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from . import fused_functions
from .fused_functions import FP32, Rotary


def applies(model: nn.Module) -> bool:
    """Whether the layers of a stock model are ones that are computed here: without biases, windows, dropout.

    False too for models on accelerators, whose kernels are fused already, and for transformers 4, which
    keeps rotary positions elsewhere.
    """
    config: Any = model.config
    if config.model_type != "modernbert" or next(model.parameters()).device.type != "cpu":
        return False
    has_bias = config.norm_bias or config.attention_bias or config.mlp_bias
    has_dropout = config.attention_dropout or any(
        isinstance(module, nn.Dropout) and module.p
        for module in model.base_model.modules()  # type: ignore[union-attr]
    )
    is_full = set(getattr(config, "layer_types", None) or ()) == {"full_attention"}
    is_stock = config.hidden_activation == "gelu" and _inverse_frequencies(model.base_model) is not None
    return is_stock and is_full and not has_bias and not has_dropout


def hidden_states(model: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """Last hidden states [B * C, hidden_size] of a stock model at `positions` [B * C], C in each block.

    `input_ids` [B, L]; `attention_mask` [B, L], only where something is padded. Positions count through
    the flattened batch, those of a block one after another. Autocast decides the number format.
    """
    encoder, input_ids = model.base_model, batch["input_ids"]
    length = input_ids.shape[1]
    dtype = _dtype()
    padded = batch.get("attention_mask")
    mask = None
    if padded is not None:  # [B, 1, 1, L], added to the scores
        mask = torch.zeros(padded.shape, dtype=dtype).masked_fill_(padded == 0, torch.finfo(dtype).min)
        mask = mask[:, None, None, :]
    rotary = Rotary.of(_inverse_frequencies(encoder), length, dtype)
    hidden = encoder.embeddings(input_ids).flatten(0, 1)  # [B * L, hidden_size]
    for layer in encoder.layers:
        positions = batch["positions"] if layer is encoder.layers[-1] else None
        hidden = _layer(layer, hidden, rotary, mask, positions)
    normed: Tensor = encoder.final_norm(hidden)
    return normed


def install(model: Any) -> None:
    """Let the layers of a stock model with any head compute this way from now on, if `applies`.

    What is saved, loaded and called stays the stock model's.
    """
    if not applies(model):
        return
    tables = functools.lru_cache(maxsize=64)(
        functools.partial(Rotary.of, _inverse_frequencies(model.base_model))
    )
    for layer in model.base_model.layers:
        layer.forward = functools.partial(_forward, layer, tables)


def _forward(
    layer: Any,
    tables: Callable[[int, torch.dtype], Rotary],
    hidden_states: Tensor,  # [B, L, hidden_size]
    attention_mask: Tensor | None = None,
    **_: Any,
) -> Tensor:
    """In place of the stock layer's own."""
    dtype = _dtype()
    if attention_mask is not None:
        attention_mask = attention_mask.clamp(min=torch.finfo(dtype).min).to(dtype)
    rotary = tables(hidden_states.shape[1], dtype)
    found = _layer(layer, hidden_states.flatten(0, 1), rotary, attention_mask, None)
    return found.view_as(hidden_states)


def _layer(
    layer: Any, hidden: Tensor, rotary: Rotary, mask: Tensor | None, positions: Tensor | None
) -> Tensor:
    norm = getattr(layer.attn_norm, "weight", None)  # the first layer has none
    weights = norm, layer.attn.Wqkv.weight, layer.attn.Wo.weight
    hidden = fused_functions.attention(hidden, *weights, rotary, mask, positions, layer.config.norm_eps)
    weights = layer.mlp_norm.weight, layer.mlp.Wi.weight, layer.mlp.Wo.weight
    return fused_functions.mlp(hidden, *weights, rotary.dtype, layer.config.norm_eps)


def _dtype() -> torch.dtype:
    """The number format of the products."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else FP32


def cross_entropy(model: Any, hidden: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """The weighted sum of the losses of `labels` [n] at last hidden states [n, hidden_size]."""
    decoder = model.decoder
    return fused_functions.cross_entropy(
        model.head(hidden), decoder.weight, decoder.bias, labels, weights, _dtype()
    )


def _inverse_frequencies(encoder: Any) -> Any:
    rotary = getattr(encoder, "rotary_emb", None)
    is_default = rotary is not None and getattr(rotary, "rope_type", {}).get("full_attention") == "default"
    return getattr(rotary, "full_attention_inv_freq") if is_default else None  # noqa: B009
