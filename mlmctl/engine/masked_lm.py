"""What pretraining learns from: masked batches of blocks, and the loss at the masked places only.

The stock model would compute logits for every token and throw five of six away. `sparse_logits` asks
the stock encoder for its hidden states, gathers the masked ones, and applies the stock head and decoder
to those: the same numbers with a third less arithmetic at a vocabulary of 8,192, and far less memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..text import masking, order
from ..text.blocks import Blocks
from ..text.units import TOKENS, Units
from . import architectures, fused

_LOGITS_AT_ONCE = 2**22  # of an evaluation; in float32 16 MiB


class MaskedLanguageWork:
    """The `Work` of pretraining: step s reads the next `blocks_per_step` blocks of the shuffled epochs."""

    def __init__(
        self,
        blocks: Blocks,
        seed: int,
        blocks_per_step: int,
        blocks_per_micro_batch: int,
        rate: Callable[[int], float],
        units: Units = TOKENS,
    ) -> None:
        self._blocks = blocks
        self._seed = seed
        self._blocks_per_step = blocks_per_step
        self._blocks_per_micro_batch = blocks_per_micro_batch
        self._rate = rate
        self._units = units
        self._at: tuple[int, NDArray[np.int64], NDArray[np.int64]] | None = None

    def num_micro_batches(self, step: int) -> int:
        return -(-self._blocks_per_step // self._blocks_per_micro_batch)

    def total_weight(self, step: int) -> float:
        """The number of masked tokens of the step.

        Of tokens it is known without drawing the masks. Words fill a block's budget as far as they fit,
        so theirs are drawn twice: here all of the step, of every rank, and again in `micro_batch`.
        """
        rate, blocks = self._rate(step), self._blocks
        epochs, numbers = self._blocks_of(step)
        if self._units.kind == "token":
            return float(masking.num_masked(blocks.maskable[numbers].astype(np.int64), rate).sum())
        total = 0
        for first in range(0, len(numbers), self._blocks_per_micro_batch):  # memory of one micro-batch
            some = slice(first, first + self._blocks_per_micro_batch)
            is_ordinary = blocks.specials.is_ordinary[blocks.rows(numbers[some])]
            keys = masking.block_keys(self._seed, epochs[some], numbers[some])
            starts = blocks.word_starts(numbers[some])
            total += int(masking.choose(is_ordinary, starts, keys, rate, self._units)[0].sum())
        return float(total)

    def micro_batch(self, step: int, number: int) -> dict[str, Tensor]:
        """input_ids [B, L]; positions (in the flattened batch), labels, weights [B * C]; see `masking`."""
        first = number * self._blocks_per_micro_batch
        epochs, numbers = (of[first : first + self._blocks_per_micro_batch] for of in self._blocks_of(step))
        specials = self._blocks.specials
        masked = masking.mask_blocks(
            self._blocks.rows(numbers),
            self._blocks.word_starts(numbers),
            masking.block_keys(self._seed, epochs, numbers),
            self._rate(step),
            specials,
            self._units,
        )
        batch = to_batch(masked.input_ids, specials.pad)
        offsets = np.arange(len(numbers), dtype=np.int64)[:, None] * self._blocks.block_length
        batch["positions"] = torch.from_numpy((masked.positions + offsets).ravel())
        batch["labels"] = torch.from_numpy(masked.labels.ravel())
        batch["weights"] = torch.from_numpy(masked.weights.ravel())
        return batch

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Sum of the cross-entropies of the masked tokens, in float32."""
        if fused.applies(model):
            hidden = fused.hidden_states(model, batch)
            return fused.cross_entropy(model, hidden, batch["labels"], batch["weights"])
        logits = sparse_logits(model, batch)  # [B * C, vocab_size]
        losses = nn.functional.cross_entropy(logits.float(), batch["labels"], reduction="none")
        return torch.dot(losses, batch["weights"])

    def _blocks_of(self, step: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Epochs and numbers of the blocks of a step, int64 [blocks_per_step] each; the last are kept."""
        kept = self._at
        if kept is None or kept[0] != step:
            start = step * self._blocks_per_step
            found = order.blocks_at(self._seed, start, self._blocks_per_step, self._blocks.num_blocks)
            kept = self._at = (step, *found)
        return kept[1:]


def to_batch(input_ids: NDArray[np.int64], pad: int) -> dict[str, Tensor]:
    """input_ids [B, L], and an attention_mask only if something is padded: no mask is no work."""
    batch = {"input_ids": torch.from_numpy(input_ids)}
    is_token = input_ids != pad
    if not is_token.all():
        batch["attention_mask"] = torch.from_numpy(is_token.astype(np.int64))
    return batch


def sparse_logits(model: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """Logits [n, vocab_size] of a stock masked-language model at `positions` [n] of the flattened batch."""
    return architectures.of(model).decode(model, _hidden_at(model, batch))


def logits_in_parts(model: Any, batch: Mapping[str, Tensor]) -> Iterator[tuple[slice, Tensor]]:
    """The same in float32, a few positions at a time: (which of them, their logits).

    For whoever looks at logits and lets them go: however many tokens there are and however large the
    vocabulary, no more than 16 MiB of them are there at once (those of one position, if they are more).
    """
    hidden = _hidden_at(model, batch)
    at_once = max(1, _LOGITS_AT_ONCE // model.config.vocab_size)
    for first in range(0, len(hidden), at_once):
        some = slice(first, min(first + at_once, len(hidden)))
        yield some, architectures.of(model).decode(model, hidden[some]).float()


def losses(model: Any, batch: Mapping[str, Tensor], wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropies [n] of the tokens `wanted` [n] at `positions`; whether each is the likeliest [n]."""
    nll = torch.empty(len(wanted), dtype=torch.float32, device=wanted.device)
    is_likeliest = torch.empty(len(wanted), dtype=torch.bool, device=wanted.device)
    for some, logits in logits_in_parts(model, batch):
        nll[some] = nn.functional.cross_entropy(logits, wanted[some], reduction="none")
        is_likeliest[some] = logits.argmax(dim=-1) == wanted[some]
    return nll, is_likeliest


def _hidden_at(model: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """Last hidden states [n, hidden_size] at `positions` [n]."""
    encoded = model.base_model(input_ids=batch["input_ids"], attention_mask=batch.get("attention_mask"))
    hidden: Tensor = encoded.last_hidden_state.flatten(0, 1)  # [B * L, hidden_size]
    return hidden.index_select(0, batch["positions"])
