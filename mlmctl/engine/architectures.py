"""The families of encoders: which stock classes they have, and what differs between them, in one table.

Everything else in the engine asks this table and names no family. A new family is one entry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import transformers
from torch import Tensor, nn
from transformers import PreTrainedModel

Head = Literal["masked_lm", "sequence_classification", "token_classification", "question_answering"]
"""What sits on top of an encoder."""


@dataclass(frozen=True)
class Architecture:
    """One family of encoders."""

    classes: Mapping[Head, str]
    """The class of `transformers` for each head, by name: each family is imported only when it is used."""
    decode: Callable[[Any, Tensor], Tensor]
    """(masked-language model, hidden states [n, hidden_size]) -> logits [n, vocab_size]."""
    layers: str
    """Stands in the names of all parameters of the layers, and in no others."""
    fused: Mapping[str, int]
    """Ends of the names of matrices that are several stacked along their rows -> how many."""

    def model_class(self, head: Head) -> type[PreTrainedModel]:
        found: type[PreTrainedModel] = getattr(transformers, self.classes[head])
        return found


ARCHITECTURES: dict[str, Architecture] = {
    "modernbert": Architecture(
        classes={
            "masked_lm": "ModernBertForMaskedLM",
            "sequence_classification": "ModernBertForSequenceClassification",
            "token_classification": "ModernBertForTokenClassification",
            "question_answering": "ModernBertForQuestionAnswering",
        },
        decode=lambda model, hidden: model.decoder(model.head(hidden)),
        layers=".layers.",
        fused={"attn.Wqkv.weight": 3, "mlp.Wi.weight": 2},
    ),
}
"""By `model_type` of the stock configuration."""


def of(model: nn.Module) -> Architecture:
    """The family of a stock model."""
    return ARCHITECTURES[model.config.model_type]  # type: ignore[index,union-attr]
