"""The special tokens of a vocabulary: what packing puts between texts and masking never touches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

NAMES = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
"""The five roles and, in the order of their ids, the tokens that a vocabulary trained here has: BERT's."""

ROBERTA_NAMES = {"pad": "<pad>", "unk": "<unk>", "cls": "<s>", "sep": "</s>", "mask": "<mask>"}
"""The same roles in a vocabulary made elsewhere that has RoBERTa's tokens."""


@dataclass(frozen=True)
class Specials:
    """Ids of the special tokens and the size of the vocabulary they belong to."""

    pad: int
    unk: int
    cls: int
    sep: int
    mask: int
    vocab_size: int
    others: tuple[int, ...] = ()
    """Further special tokens of a tokenizer that was made elsewhere."""

    @cached_property
    def is_ordinary(self) -> NDArray[np.bool_]:
        """bool [vocab_size]: True for the tokens that may be masked, predicted and drawn."""
        ordinary = np.ones(self.vocab_size, bool)
        ordinary[[self.pad, self.unk, self.cls, self.sep, self.mask, *self.others]] = False
        return ordinary

    @cached_property
    def ordinary(self) -> NDArray[np.int64]:
        """int64: the ids of the ordinary tokens, ascending."""
        return np.flatnonzero(self.is_ordinary)

    def to_json(self) -> dict[str, Any]:
        ids: dict[str, Any] = {name: getattr(self, name) for name in NAMES}
        return {**ids, "others": list(self.others)}

    @classmethod
    def from_json(cls, ids: Mapping[str, Any], vocab_size: int) -> Specials:
        """ValueError for an id that the vocabulary does not have."""
        others = tuple(int(number) for number in ids.get("others", ()))
        found = cls(**{name: int(ids[name]) for name in NAMES}, vocab_size=vocab_size, others=others)
        if not all(0 <= number < vocab_size for number in (*(getattr(found, n) for n in NAMES), *others)):
            raise ValueError("a special token is not in the vocabulary")
        return found
