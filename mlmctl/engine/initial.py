"""What pretraining starts from: random weights, or an encoder that exists, made here or elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel

from ..config import PretrainConfig
from ..errors import ArtifactError
from ..text import extension
from ..text.specials import Specials
from . import configuration, model
from .architectures import Shape


@dataclass(frozen=True)
class Start:
    """What a run starts from."""

    shape: Shape
    make: Callable[[], PreTrainedModel]
    """A masked-language model; the same weights at every call."""
    report: model.LoadReport | None = None
    """What was found in an encoder that is continued."""
    num_new_tokens: int = 0
    """By how many its vocabulary has grown."""

    @property
    def facts(self) -> dict[str, object]:
        """Of an encoder that is continued, for the manifest."""
        return {**asdict(self.report), "num_new_tokens": self.num_new_tokens} if self.report else {}


def new(config: PretrainConfig, specials: Specials, block_length: int, device: torch.device) -> Start:
    """Random weights in the shape that the configuration asks for. UsageError if there is no such shape."""
    shape = model.shape(config)
    ids = {"pad": specials.pad, "cls": specials.cls, "sep": specials.sep}

    def make() -> PreTrainedModel:
        return model.build(
            config.architecture, shape, specials.vocab_size, block_length, ids, config.seed, device
        )

    return Start(shape, make)


def continued(folder: Path, tokenizer: Path, specials: Specials, seed: int, device: torch.device) -> Start:
    """The encoder in `folder`, its vocabulary grown to that of `tokenizer`; `seed` draws a missing head.

    ArtifactError if the folder is no encoder, or the tokenizer is neither its own nor an extension of it.
    """
    pieces = extension.between(folder, tokenizer)
    _, fields = configuration.fields(folder)
    num_rows = fields["vocab_size"]
    unknown = [i for i in range(num_rows, specials.vocab_size) if i not in pieces]
    if unknown:
        raise ArtifactError(
            "init.vocabulary",
            f"has rows for {num_rows:,} tokens, the tokenizer has ids up to {specials.vocab_size - 1:,}",
            where=str(folder),
        )
    pad = fields.get("pad_token_id")
    if pad is not None and pad != specials.pad:
        found = f"pads with id {pad}, the tokenizer with id {specials.pad}"
        raise ArtifactError("init.vocabulary", found, where=str(folder))

    def make() -> PreTrainedModel:
        encoder, _ = model.load(folder, "masked_lm", seed, device)
        return grow(encoder, max(num_rows, specials.vocab_size), pieces) if pieces else encoder

    shape = Shape(**{name: fields[name] for name in Shape.__dataclass_fields__})
    return Start(shape, make, model.inspect(folder, "masked_lm"), num_new_tokens=len(pieces))


@torch.no_grad()
def grow(encoder: PreTrainedModel, num_rows: int, pieces: Mapping[int, Sequence[int]]) -> PreTrainedModel:
    """The masked-language model with `num_rows` rows for tokens, those of new ones the mean of their pieces'.

    So a new token means at first what its pieces meant on average, and is predicted as they were. Rows
    stand in the embedding, in the decoder tied to it or not, and in the decoder's bias; old ones stay as
    they are, bit for bit.
    """
    grown, tables = model.with_rows(encoder, num_rows)
    for table in tables:
        for token, base in pieces.items():
            table[token] = table[list(base)].mean(dim=0)
    return grown
