"""Attention that begins by looking at the neighbours: a new encoder guesses a token from those beside it.

With word vectors as embedding (`word_vectors`) what the neighbours of a place say of it is nearly their sum:
products of vectors are pointwise mutual information, and sums of that are the naive Bayes guess. A new
encoder cannot add them up, though: its attention looks everywhere alike, and what it brings is turned at
random. Here both are laid down, in the weights of a stock model. Heads look at the place before, the one
after, the surroundings and everywhere; values, outputs and the head of the masked-language model pass on
what they are given, special tokens excepted. From there it is trained like any other.

Where a head looks is said by rotary positions (Su et al. 2021, arXiv:2104.09864): all rows of the embedding
share a direction, which queries and keys read alone, turned against one another by the offset, so that the
score depends on the distance and peaks there. Values and outputs near the identity are the mimetic
initialisation of Trockman and Kolter (2023, arXiv:2305.09828).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from . import architectures

_SHARED = 1.0  # of the direction that all rows share, as a multiple of a word vector's length
_CONTRAST = 3.0  # by how much the score of the place looked at is above the one beside it
_LOOKS = ((0, 0.3 * _CONTRAST), (-1, _CONTRAST), (1, _CONTRAST), None)
"""Where the heads of a layer look, in turn: (offset, contrast), or None: everywhere alike."""
_PASSED_ON = 0.5  # of a value, and of an output
_SLOWEST = 0.3  # radians a place: slower angles hardly tell a place from the next, and add to all scores


@torch.no_grad()
def install(model: PreTrainedModel, silent: Sequence[int], seed: int) -> None:
    """Lay it down in a new masked-language model with word vectors, in place.

    `silent` are the ids of tokens that say nothing of their neighbours: the one that hides, those around a
    text. Nothing happens to families whose positions are not rotary.
    """
    family = architectures.of(model)
    if family.rotary is None:
        return
    embedding = model.get_input_embeddings().weight
    width = embedding.shape[1]
    length = model.config.initializer_range * math.sqrt(width)  # of a row
    directions = _directions(1 + len(silent), width, seed).to(embedding)
    shared = directions[0]
    identity = torch.eye(width).to(embedding)
    said = identity - directions.T @ directions
    embedding.copy_(embedding @ said)
    embedding[list(silent)] = length * directions[1:]  # as long as others: they are looked at like them
    embedding.add_(_SHARED * length * shared)
    strength = _SHARED / math.sqrt(1 + _SHARED**2) * math.sqrt(width)  # of the direction, after the norm

    rotary = family.rotary(model)
    for number, (weight, out, base) in enumerate(rotary.layers):
        queries, keys, values = weight.chunk(3)
        heads = (part.chunk(model.config.num_attention_heads) for part in (queries, keys))
        for head, (query, key) in enumerate(zip(*heads, strict=True)):
            look = _LOOKS[(head + number) % len(_LOOKS)]
            if look is not None:
                for rows, turned in zip((query, key), looking_at(*look, len(query), base), strict=True):
                    rows.add_(torch.outer(turned.to(rows), shared) / strength)
        values.copy_(_PASSED_ON * said)
        out.copy_(_PASSED_ON * identity)
    rotary.head.copy_(said)


def looking_at(offset: int, contrast: float, head_width: int, base: float) -> tuple[Tensor, Tensor]:
    """A query and a key [head_width] whose score, after rotation, is highest where the key is at `offset`.

    The place beside it is lower by about `contrast`.
    """
    angles = base ** (-torch.arange(0, head_width, 2) / head_width)  # radians a place
    used = (angles >= _SLOWEST).float()
    fall = float(((1 - torch.cos(angles)) * used).sum())  # of the score, one place further
    size = math.sqrt(contrast * math.sqrt(head_width) / fall)
    query = torch.cat([used, torch.zeros_like(used)])
    key = torch.cat([used * torch.cos(offset * angles), -used * torch.sin(offset * angles)])
    return size * query, size * key


def _directions(number: int, width: int, seed: int) -> Tensor:
    """Random directions [number, width] at right angles that a layer norm leaves: they sum to 0."""
    drawn = torch.randn(width, number, generator=torch.Generator().manual_seed(seed))
    turned: Tensor = torch.linalg.qr(drawn - drawn.mean(dim=0))[0]
    return turned.T
