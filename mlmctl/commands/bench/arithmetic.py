"""How much arithmetic a training token needs, and how much each side does: pure functions.

Counted are matrix products, a multiplication and an addition as two operations; passes over elements
(norms, activations, AdamW) are no matrix products and not counted.

*Useful* is one number for an architecture, the same whatever a loop does: forward pass and both gradients
of what the loss depends on. Logits are needed at the masked tokens only; of the last layer, keys and values
are needed everywhere, but queries, output and MLP again at the masked tokens only. *Executed* is what a side
really multiplies: logits nobody asked for, attention scores computed twice, room for masks that is not
filled, and the optimizer's own products.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...engine.architectures import Shape

_NUM_ITERATIONS = 5  # of Newton-Schulz
_PRODUCTS = 3  # of a matrix: forward, gradient of its input, gradient of its weights
_MLP_MATRICES = {"modernbert": 3, "bert": 2}


@dataclass(frozen=True)
class Dimensions:
    """A masked-language model and the blocks it reads."""

    architecture: str
    shape: Shape
    vocab_size: int
    block_length: int


def useful(model: Dimensions, masked_share: float) -> float:
    """Operations a token that the loss needs, where `masked_share` of the tokens are masked."""
    return _PRODUCTS * _forward(model, predicted=masked_share, last=masked_share)


def executed_by_stock(model: Dimensions, *, predicted: float, fused_attention: bool) -> float:
    """Operations a token of a stock model; logits for the share `predicted` of the tokens, 1 for all.

    The fused attention kernels keep no scores and compute them again for the gradient.
    """
    again = 2 * _scores(model) * model.shape.num_hidden_layers if fused_attention else 0
    return _PRODUCTS * _forward(model, predicted=predicted, last=1.0) + again


def executed_by_ours(
    model: Dimensions, *, predicted: float, cuts_last_layer: bool, tokens_per_step: int
) -> float:
    """Operations a token of our loop, Muon's included; `predicted` has the room left for masks in it."""
    last = predicted if cuts_last_layer else 1.0
    return _PRODUCTS * _forward(model, predicted=predicted, last=last) + muon(model) / tokens_per_step


def muon(model: Dimensions) -> float:
    """Operations of one step of Muon on the layers' matrices: Newton-Schulz, Q, K, V and gates apart."""
    width, inner = model.shape.hidden_size, model.shape.intermediate_size
    one_layer = 4 * _newton_schulz(width, width) + _MLP_MATRICES[model.architecture] * _newton_schulz(
        width, inner
    )
    return model.shape.num_hidden_layers * one_layer


def _newton_schulz(rows: int, columns: int) -> float:
    small, large = sorted((rows, columns))
    return _NUM_ITERATIONS * 2 * (2 * small**2 * large + small**3)


def products(
    model: Dimensions, num_tokens: int, masked_share: float
) -> Iterator[tuple[tuple[int, int, int], int]]:
    """((rows, inner, columns), how often) for the matrix products of one micro-batch's forward pass.

    Those with weights: of all layers, of the head and of the decoder at the masked tokens.
    """
    width, inner = model.shape.hidden_size, model.shape.intermediate_size
    layers, masked = model.shape.num_hidden_layers, max(1, round(num_tokens * masked_share))
    yield (num_tokens, width, 3 * width), layers
    yield (num_tokens, width, width), layers
    yield (num_tokens, width, (_MLP_MATRICES[model.architecture] - 1) * inner), layers
    yield (num_tokens, inner, width), layers
    yield (masked, width, width), 1
    yield (masked, width, model.vocab_size), 1


def _forward(model: Dimensions, predicted: float, last: float) -> float:
    """Of one forward pass: logits for a share of tokens, the last layer's own part for a share of them."""
    width, inner = model.shape.hidden_size, model.shape.intermediate_size
    keys_and_values = 2 * width**2
    own = 2 * width**2 + _MLP_MATRICES[model.architecture] * width * inner + 2 * _scores(model)
    before = (model.shape.num_hidden_layers - 1) * (keys_and_values + own)
    head = width**2 + width * model.vocab_size
    return 2 * (before + keys_and_values + last * own + predicted * head)


def _scores(model: Dimensions) -> int:
    """Multiplications of a token's query with all keys of its block; its mix of values takes as many."""
    return model.shape.hidden_size * model.block_length
