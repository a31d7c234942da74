"""Measures a masked-language model on the frozen validation masks, always in float32."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import nn

from ..errors import ArtifactError
from ..measure import masked_lm
from ..signals import StopRequest, stop
from ..text.blocks import Blocks
from ..text.masking import IGNORED
from ..text.npy import open_array
from ..text.policy import Policy, frozen_numbers
from ..text.specials import Specials
from ..text.units import whole_words
from .masked_lm import losses, sparse_logits, to_batch

_TOKENS_PER_BATCH = 2048
_WINDOW = 12  # tokens shown on each side of a filled word


@dataclass(frozen=True)
class FrozenMasks:
    """The validation blocks with the masks that were drawn once, and what a guess would score on them."""

    input_ids: NDArray[Any]
    """[num_blocks, block_length], masked."""
    labels: NDArray[np.int32]
    """[num_blocks, block_length], -100 where nothing is predicted."""
    blocks: Blocks
    """The validation split."""
    numbers: NDArray[np.int64]
    """[num_blocks] which of `blocks` they are."""
    baselines: Mapping[str, float]
    """unigram_loss and uniform_loss of all blocks."""
    counts: NDArray[np.int64]
    """[vocab_size] how often each token occurs in training."""

    @classmethod
    def open(cls, policy: Path, blocks_folder: Path) -> FrozenMasks:
        """From the artifacts `mask/policy` and `mask/blocks`. ArtifactError if they do not fit."""
        blocks = Blocks.open(blocks_folder, "valid")
        rules = Policy.read(policy)
        numbers = frozen_numbers(blocks, rules.num_frozen_blocks, rules.seed)
        input_ids = open_array(policy / "valid.input_ids.npy", blocks.ids.dtype)
        labels = open_array(policy / "valid.labels.npy", np.dtype(np.int32))
        if not input_ids.shape == labels.shape == (len(numbers), blocks.block_length):
            raise ArtifactError("artifact.shape", "the frozen masks do not fit the blocks", where=str(policy))
        counts = blocks.unigrams(blocks_folder)
        baselines = {
            "unigram_loss": masked_lm.unigram_loss(labels[labels != IGNORED], counts),
            "uniform_loss": masked_lm.uniform_loss(len(counts)),
        }
        return cls(input_ids, labels, blocks, numbers, baselines, counts)

    @property
    def specials(self) -> Specials:
        return self.blocks.specials

    @property
    def num_tokens(self) -> int:
        return int(self.input_ids.size)


@dataclass(frozen=True)
class Predicted:
    """What the model made of the hidden tokens of some blocks, in order."""

    rows: NDArray[np.int64]
    """[n] the block of each, as a row of the frozen masks."""
    labels: NDArray[np.int64]
    """[n] the right tokens."""
    nll: NDArray[np.float32]
    """[n] nats."""
    is_hit: NDArray[np.bool_]
    """[n] whether the most probable token is the right one."""


def evaluate(
    model: nn.Module,
    masks: FrozenMasks,
    device: torch.device,
    max_tokens: int | None = None,
    stop: StopRequest = stop,
) -> dict[str, float]:
    """valid_loss (nats a masked token) and valid_accuracy on the first `max_tokens` tokens, or on all.

    The model is to be in eval mode. InterruptedRun, between two batches, if a signal came.
    """
    total = masked_lm.Sums()
    for some in predictions(model, masks, device, max_tokens, stop):
        total += masked_lm.sums(some.nll, some.is_hit)
    return {"valid_loss": total.loss, "valid_accuracy": total.accuracy}


def predictions(
    model: nn.Module,
    masks: FrozenMasks,
    device: torch.device,
    max_tokens: int | None = None,
    stop: StopRequest = stop,
) -> Iterator[Predicted]:
    """The same token by token, a few blocks at a time."""
    num_blocks, length = masks.input_ids.shape
    if max_tokens is not None:
        num_blocks = min(num_blocks, max(1, max_tokens // length))
    at_once = max(1, _TOKENS_PER_BATCH // length)
    for first in range(0, num_blocks, at_once):
        stop.raise_if_requested()
        yield _predicted(model, masks, slice(first, min(first + at_once, num_blocks)), device)


@torch.no_grad()
def _predicted(model: nn.Module, masks: FrozenMasks, rows: slice, device: torch.device) -> Predicted:
    labels = np.asarray(masks.labels[rows]).ravel()
    positions = np.flatnonzero(labels != IGNORED)
    blocks, hidden = rows.start + positions // masks.labels.shape[1], labels[positions].astype(np.int64)
    if not len(positions):
        return Predicted(blocks, hidden, np.zeros(0, np.float32), np.zeros(0, np.bool_))
    batch = to_batch(np.asarray(masks.input_ids[rows], np.int64), masks.specials.pad)
    batch["positions"] = torch.from_numpy(positions)
    batch = {name: tensor.to(device) for name, tensor in batch.items()}
    wanted = torch.from_numpy(hidden).to(device)
    nll, is_hit = losses(model, batch, wanted)
    return Predicted(blocks, hidden, nll.cpu().numpy(), is_hit.cpu().numpy())


@dataclass(frozen=True)
class Filled:
    """A piece of a validation block in which a word was hidden, and what the model would put there."""

    left: str
    right: str
    truth: str
    guesses: Sequence[tuple[str, float]]
    """Words with their probabilities, the likeliest first."""


@torch.no_grad()
def filled(
    model: nn.Module,
    masks: FrozenMasks,
    tokenizer: Tokenizer,
    number: int,
    device: torch.device,
    num_guesses: int = 1,
) -> Filled | None:
    """The block is chosen by `number`; None if no whole word of it can be hidden."""
    row = number % len(masks.labels)
    labels = np.asarray(masks.labels[row])
    text_ids, starts = _text(masks, row)
    place = _whole_word((labels != IGNORED) & starts, text_ids, starts, tokenizer)
    if place is None:
        return None
    hidden = text_ids.copy()
    hidden[place] = masks.specials.mask
    batch = to_batch(hidden[None], masks.specials.pad)
    batch["positions"] = torch.tensor([place])
    logits = sparse_logits(model, {name: t.to(device) for name, t in batch.items()})[0]
    found = logits.float().softmax(dim=-1).topk(min(num_guesses, len(logits)))
    first, end = _window(text_ids, starts, place, masks.specials)
    left, right, truth = (
        tokenizer.decode(some.tolist()).strip()
        for some in (text_ids[first:place], text_ids[place + 1 : end], text_ids[place : place + 1])
    )
    words = (tokenizer.decode([token], skip_special_tokens=False).strip() for token in found.indices.tolist())
    return Filled(left, right, truth, list(zip(words, found.values.tolist(), strict=True)))


def filled_sentence(
    model: nn.Module, masks: FrozenMasks, tokenizer: Tokenizer, number: int, device: torch.device
) -> str:
    """The same as one line with the best guess; the right word follows in parentheses where it is another."""
    found = filled(model, masks, tokenizer, number, device)
    if found is None:
        return ""
    guess, _ = found.guesses[0]
    told = "" if guess == found.truth else f" ({found.truth})"
    return f"{found.left} [{guess}]{told} {found.right}".strip()


def _text(masks: FrozenMasks, row: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The ids of a frozen block before it was masked, and where a word or a special token is: [L] each."""
    numbers = masks.numbers[[row]]
    ids = masks.blocks.rows(numbers)
    is_ordinary = masks.specials.is_ordinary[ids]
    starts = whole_words(is_ordinary, masks.blocks.word_starts(numbers)) | ~is_ordinary
    return ids[0], starts[0]


def _window(
    text_ids: NDArray[np.int64], starts: NDArray[np.bool_], place: int, specials: Specials
) -> tuple[int, int]:
    """The whole words around a place that are of its document: (first, end)."""
    breaks = np.flatnonzero(np.isin(text_ids, [specials.cls, specials.sep, specials.pad]))
    before, after = breaks[breaks < place], breaks[breaks > place]
    first = max(place - _WINDOW, int(before[-1]) + 1 if len(before) else 0)
    end = min(place + 1 + _WINDOW, int(after[0]) if len(after) else len(text_ids))
    while not starts[first]:
        first -= 1
    while end < len(starts) and not starts[end]:
        end += 1
    return first, end


def _whole_word(
    candidates: NDArray[np.bool_],
    text_ids: NDArray[np.int64],
    starts: NDArray[np.bool_],
    tokenizer: Tokenizer,
) -> int | None:
    """The first of the candidate places [L] whose token is a word of at least four letters by itself."""
    for place in np.flatnonzero(candidates).tolist():
        is_alone = place + 1 == len(starts) or bool(starts[place + 1])
        text = tokenizer.decode([int(text_ids[place])]).strip()
        if is_alone and len(text) >= 4 and text.isalpha():
            return int(place)
    return None
