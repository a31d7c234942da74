"""What pretraining learns from: masked batches of blocks, and the loss at the masked places only.

The stock model would compute logits for every token and throw five of six away. `sparse_logits` asks
the stock encoder for its hidden states, gathers the masked ones, and applies the stock head and decoder
to those: the same numbers with a third less arithmetic at a vocabulary of 8,192, and far less memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..text import masking, order
from ..text.blocks import Blocks
from ..text.units import TOKENS, Units
from . import architectures, fused


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

    def num_micro_batches(self, step: int) -> int:
        return -(-self._blocks_per_step // self._blocks_per_micro_batch)

    def total_weight(self, step: int) -> float:
        """The number of masked tokens of the step.

        Of tokens it is known without drawing the masks. Words fill a block's budget as far as they fit,
        so theirs are drawn twice: here all of the step, of every rank, and again in `micro_batch`.
        """
        rate, blocks = self._rate(step), self._blocks
        epochs, numbers = self._blocks_at(step, 0, self._blocks_per_step)
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
        count = min(self._blocks_per_micro_batch, self._blocks_per_step - first)
        epochs, numbers = self._blocks_at(step, first, count)
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
        offsets = np.arange(count, dtype=np.int64)[:, None] * self._blocks.block_length
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

    def _blocks_at(self, step: int, first: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Epochs and numbers of `count` blocks of a step, from its block `first` on: int64 [count] each."""
        start = step * self._blocks_per_step + first
        return order.blocks_at(self._seed, start, count, self._blocks.num_blocks)


def to_batch(input_ids: NDArray[np.int64], pad: int) -> dict[str, Tensor]:
    """input_ids [B, L], and an attention_mask only if something is padded: no mask is no work."""
    batch = {"input_ids": torch.from_numpy(input_ids)}
    is_token = input_ids != pad
    if not is_token.all():
        batch["attention_mask"] = torch.from_numpy(is_token.astype(np.int64))
    return batch


def sparse_logits(model: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """Logits [n, vocab_size] of a stock masked-language model at `positions` [n] of the flattened batch."""
    encoded = model.base_model(input_ids=batch["input_ids"], attention_mask=batch.get("attention_mask"))
    hidden = encoded.last_hidden_state.flatten(0, 1)  # [B * L, hidden_size]
    return architectures.of(model).decode(model, hidden.index_select(0, batch["positions"]))
