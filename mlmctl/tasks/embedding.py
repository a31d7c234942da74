"""Texts as points: the mean of what an encoder makes of a text's tokens.

The mean is over all tokens that are no padding, `[CLS]` and `[SEP]` among them: that is the mean pooling
of ModernBERT's own classification head and of sentence-transformers, and it gives an empty text a place
too. A text longer than the encoder can read is cut into windows, and each window counts by its tokens,
so that the mean is still one over all tokens.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .features import windows
from .inference import over_windows
from .pretrained import Pretrained

Pooling = Literal["mean", "cls"]


def embed(
    opened: Pretrained,
    texts: Sequence[str],
    pooling: Pooling = "mean",
    layer: int | None = None,
    normalize: bool = False,
) -> NDArray[np.float32]:
    """The embedding of each text, [num_texts, hidden_size]; of length 1 if `normalize`.

    `layer` is the number of layers that the tokens have gone through: 0 for their embeddings, None for the
    last layer and its norm. A text gets the same numbers whatever it is batched with, up to rounding (1e-5
    or less).
    """
    cut = windows(texts, opened.tokenizer, opened.specials, opened.block_length)
    forward = functools.partial(_pooled, pooling=pooling, layer=layer)
    pooled = over_windows(opened.model, forward, cut, batch_size=len(cut.lengths))
    sums = np.zeros((len(texts), opened.hidden_size))
    np.add.at(sums, cut.examples, pooled * cut.lengths[:, None].astype(np.float64))
    num_tokens = np.bincount(cut.examples, weights=cut.lengths, minlength=len(texts))
    means = sums / num_tokens[:, None]
    if normalize:
        means /= np.linalg.norm(means, axis=1, keepdims=True)
    return means.astype(np.float32)


def _pooled(model: Any, batch: Mapping[str, Tensor], pooling: Pooling, layer: int | None) -> Tensor:
    hidden, mask = _hidden(model, batch, layer), batch.get("attention_mask")
    if pooling == "cls":
        return hidden[:, 0]
    if mask is None:
        return hidden.mean(dim=1)
    weights = mask.to(hidden.dtype) / mask.sum(dim=1, keepdim=True)  # [B, L]
    return torch.einsum("bl,blh->bh", weights, hidden)


def _hidden(model: Any, batch: Mapping[str, Tensor], layer: int | None) -> Tensor:
    """The hidden states [B, L, hidden_size] after so many layers."""
    needed = {"input_ids": batch["input_ids"], "attention_mask": batch.get("attention_mask")}
    encoded = model.base_model(**needed, output_hidden_states=layer is not None)
    hidden: Tensor = encoded.last_hidden_state if layer is None else encoded.hidden_states[layer]
    return hidden
