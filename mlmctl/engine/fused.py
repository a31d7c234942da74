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
from transformers.modeling_outputs import BaseModelOutput

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
    is_stock = config.hidden_activation == "gelu" and getattr(config, "decoder_bias", True)
    is_rotary = _inverse_frequencies(model.base_model) is not None
    return is_stock and is_rotary and is_full and not has_bias and not has_dropout


def hidden_states(model: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """Last hidden states [B * C, hidden_size] of a stock model at `positions` [B * C], C in each block.

    `input_ids` [B, L]; `attention_mask` [B, L], only where something is padded. Positions count through
    the flattened batch, those of a block one after another. Autocast decides the number format.
    """
    encoder, input_ids = model.base_model, batch["input_ids"]
    rotary = Rotary.of(_inverse_frequencies(encoder), input_ids.shape[1], _dtype())
    return _encoded(encoder, rotary, input_ids, batch.get("attention_mask"), batch["positions"])


def install(model: Any) -> None:
    """Let the encoder of a stock model with any head compute this way from now on, if `applies`.

    What is saved, loaded and called stays the stock model's. Whole, not layer by layer: the stock encoder
    makes two masks and two tables of angles for each batch, which takes as long as a layer of a short one.
    """
    if not applies(model):
        return
    encoder = model.base_model
    tables = functools.lru_cache(maxsize=64)(functools.partial(Rotary.of, _inverse_frequencies(encoder)))
    encoder.forward = functools.partial(_forward, encoder, encoder.forward, tables)


def _forward(
    encoder: Any,
    stock: Callable[..., BaseModelOutput],
    tables: Callable[[int, torch.dtype], Rotary],
    input_ids: Tensor | None = None,  # [B, L]
    attention_mask: Tensor | None = None,  # [B, L]
    **others: Any,
) -> BaseModelOutput:
    """In place of the stock encoder's own, which computes what is asked for in any other way."""
    if input_ids is None or any(value is not None for value in others.values()):
        return stock(input_ids=input_ids, attention_mask=attention_mask, **others)
    rotary = tables(input_ids.shape[1], _dtype())
    found = _encoded(encoder, rotary, input_ids, attention_mask, None)
    return BaseModelOutput(last_hidden_state=found.view(*input_ids.shape, -1))


def _encoded(
    encoder: Any, rotary: Rotary, input_ids: Tensor, attention_mask: Tensor | None, positions: Tensor | None
) -> Tensor:
    """Last hidden states: [B * L, hidden_size], or those at `positions`."""
    mask = None
    if attention_mask is not None:  # [B, 1, 1, L], added to the scores
        lowest = torch.finfo(rotary.dtype).min
        mask = torch.zeros(attention_mask.shape, dtype=rotary.dtype).masked_fill_(attention_mask == 0, lowest)
        mask = mask[:, None, None, :]
    hidden = encoder.embeddings(input_ids).flatten(0, 1)  # [B * L, hidden_size]
    for layer in encoder.layers:
        hidden = _layer(layer, hidden, rotary, mask, positions if layer is encoder.layers[-1] else None)
    normed: Tensor = encoder.final_norm(hidden)
    return normed


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
