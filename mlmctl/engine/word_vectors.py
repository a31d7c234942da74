"""Word vectors to begin with, from what stands near what: the embedding need not be learned from nothing.

Positive pointwise mutual information of tokens and their neighbours, brought down to the model's width by a
singular value decomposition (Levy and Goldberg 2014, Neural Word Embedding as Implicit Matrix Factorization;
smoothed contexts and the root of the singular values: Levy, Goldberg and Dagan 2015). Counting goes through
text far faster than training does, so an encoder of minutes begins with what all of the corpus says.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from ..text import cooccurrence
from ..text.blocks import Blocks

_NUM_CONTEXTS = 2048  # the most frequent tokens
_MOST_TOKENS = 2**22
_LEAST_COUNT = 20  # of a rarer token the neighbours say little
_SMOOTHING = 0.75


@torch.no_grad()
def install(model: PreTrainedModel, blocks: Blocks, unigrams: NDArray[np.int64], seed: int) -> None:
    """Replace the rows of tokens that occur often enough in the embedding of a new model, in place.

    `unigrams` [vocab_size] says how often each occurs. All rows have the length that random ones have on
    average, and lie along no particular axes.
    """
    embedding = model.get_input_embeddings().weight
    contexts = np.argsort(-unigrams, kind="stable")[:_NUM_CONTEXTS]
    counted = cooccurrence.counts(blocks, contexts[unigrams[contexts] > 0], _MOST_TOKENS, seed)
    is_frequent = torch.from_numpy(unigrams >= _LEAST_COUNT)
    vectors = of(torch.from_numpy(counted), embedding.shape[1], seed)
    length = model.config.initializer_range * math.sqrt(embedding.shape[1])
    is_known = is_frequent & (vectors.norm(dim=1) > 0)
    embedding[is_known] = (vectors[is_known] * length).to(embedding)


def of(counts: Tensor, width: int, seed: int) -> Tensor:
    """Vectors [num_tokens, width] for counts [num_tokens, num_contexts]: of length 1, or 0 for the unknown.

    Positive pointwise mutual information; the best approximation of rank `width` (or what there is), each
    direction by the root of its singular value; turned at random, so that all coordinates are alike.
    """
    found = counts.to(torch.float32, copy=True)  # and then in place: of a large vocabulary it is gigabytes
    of_tokens = found.sum(dim=1, keepdim=True).clamp_(min=1.0)
    of_contexts = found.sum(dim=0).clamp_(min=1.0).pow_(_SMOOTHING)
    information = found.div_(of_tokens).div_(of_contexts / of_contexts.sum()).clamp_(min=1.0).log_()
    rank = min(width, *counts.shape)
    if rank == 0:
        return found.new_zeros(len(counts), width)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        left, values, _ = torch.svd_lowrank(information, q=rank, niter=2)
        turn = torch.linalg.qr(torch.randn(width, rank))[0]
    vectors = (left * values.sqrt()) @ turn.T
    return torch.nn.functional.normalize(vectors, dim=1)
