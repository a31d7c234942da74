"""Plain attention (matmul, softmax, matmul), which on a CPU beats the fused kernel at short blocks.

It is registered with `transformers` under `NAME`, both as an attention function and as a mask function:
a function registered only as the first gets no mask at all, and padded batches are silently wrong.
"""

from __future__ import annotations

from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

NAME = "mlmctl_plain"


def implementation(device: torch.device) -> str:
    """The attention a model on `device` should use.

    ModernBERT of transformers 4 knows only its own table of attention functions, hence stock there.
    """
    is_stock = device.type != "cpu" or int(transformers.__version__.split(".")[0]) < 5
    return "sdpa" if is_stock else NAME


def plain_attention(
    module: nn.Module,
    query: Tensor,  # [B, H, L, D], as are key and value
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,  # [B, 1, 1 or L, L], added to the scores
    scaling: float,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention output [B, L, H, D]; the weights are not handed out."""
    scores = torch.matmul(query * scaling, key.transpose(2, 3))  # scaling q costs D/L of scaling the scores
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = torch.softmax(scores, dim=-1)
    if dropout > 0.0:
        weights = nn.functional.dropout(weights, p=dropout, training=module.training)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), None


def additive_mask(
    *, attention_mask: Tensor | None = None, dtype: torch.dtype = torch.float32, **arguments: Any
) -> Tensor | None:
    """The mask [B, 1, L, L] to add to the scores, or None where nothing is padded: no mask, no work.

    The pattern (full or sliding window) is the stock eager one's, so that models made elsewhere, whose
    layers may have windows, get the attention they were trained with.
    """
    if attention_mask is not None and bool(attention_mask.all()):
        attention_mask = None
    mask: Tensor | None = eager_mask(attention_mask=attention_mask, dtype=dtype, **arguments)
    return mask


AttentionInterface.register(NAME, plain_attention)
AttentionMaskInterface.register(NAME, additive_mask)
