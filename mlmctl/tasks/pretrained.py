"""An encoder as everybody meets it: opened from its folder with its tokenizer and the length it can read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import PreTrainedModel

from ..engine import configuration
from ..engine import model as models
from ..errors import ArtifactError
from ..json_files import read_json
from ..text import vocabulary
from ..text.specials import Specials


@dataclass(frozen=True)
class Pretrained:
    """A stock masked-language model in eval mode, and what goes with it."""

    model: PreTrainedModel
    tokenizer: Tokenizer
    specials: Specials
    block_length: int
    """The longest input, special tokens included, that it was trained on."""

    @property
    def hidden_size(self) -> int:
        return int(self.model.config.hidden_size)

    @property
    def num_layers(self) -> int:
        return int(self.model.config.num_hidden_layers)


def open_pretrained(folder: Path, device: torch.device, *, needs_head: bool = True) -> Pretrained:
    """The encoder in `folder` on `device`: one that `pretrain` made, a fine-tuned or a stock one.

    ArtifactError if it is none, or, where `needs_head`, if it cannot predict words (a fine-tuned one).
    """
    model, report = models.load(folder, "masked_lm", device=device)
    if needs_head and report.new:
        raise ArtifactError(
            "model.no-head",
            f"has no masked-language head ({', '.join(report.new)} missing)",
            where=str(folder),
            hint="--model takes the folder of a pretrained encoder",
        )
    tokenizer = vocabulary.load(folder)
    specials = vocabulary.special_ids(tokenizer)
    configuration.check_vocabulary(folder, specials.vocab_size)
    return Pretrained(model, tokenizer, specials, block_length(folder))


def block_length(folder: Path) -> int:
    """The longest input a model was trained on; for one made elsewhere, that it has positions for."""
    most = configuration.num_positions(folder)
    for name in ("plan.json", "task.json"):
        if (folder / name).is_file():
            return min(read_json(folder / name, lambda found: int(found["block_length"])), most)
    return most
