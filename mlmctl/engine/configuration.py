"""A model's config.json, taken over field by field: what it says about shape and arithmetic, no more.

The file may be a stranger's. Only fields that the table of families names are read, into a configuration
that is built here: no class path, no code, no quantization can come in by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ArtifactError, one_line
from ..json_files import parse_json
from .architectures import ARCHITECTURES, Architecture, Fields

if TYPE_CHECKING:
    from transformers import PretrainedConfig

CONFIG = "config.json"

_LARGEST = {
    "vocab_size": 2**24,
    "hidden_size": 2**16,
    "num_hidden_layers": 2**10,
    "num_attention_heads": 2**12,
    "intermediate_size": 2**20,
    "max_position_embeddings": 2**20,
}
"""Far above every encoder there is: with more, even the empty shell of a model would take all memory."""


def read(folder: Path, dropout: float = 0.0, changes: Mapping[str, Any] | None = None) -> PretrainedConfig:
    """The configuration in `folder`, set up for training at this rate of dropout, with `changes`.

    ArtifactError as for `fields`.
    """
    family, taken = fields(folder)
    try:
        return family.config({**taken, **family.adjust(dropout), **(changes or {})})
    except Exception as error:  # the strict data classes of transformers raise anything on a bad value
        where = str(folder / CONFIG)
        raise ArtifactError(
            "model.config", f"is not a configuration: {one_line(error)}", where=where
        ) from None


def num_positions(folder: Path) -> int:
    """The longest input, in tokens, that the model in `folder` takes. ArtifactError as for `fields`."""
    family, taken = fields(folder)
    return family.num_positions(taken)


def check_vocabulary(folder: Path, vocab_size: int) -> None:
    """ArtifactError if a tokenizer of so many ids has more than the model in `folder` has rows for."""
    num_rows = fields(folder)[1]["vocab_size"]
    if vocab_size > num_rows:
        raise ArtifactError(
            "model.vocabulary",
            f"has rows for {num_rows:,} tokens, its tokenizer has ids up to {vocab_size - 1:,}",
            where=str(folder),
            hint="resize_token_embeddings of transformers makes room, or the tokenizer is another model's",
        )


def fields(folder: Path) -> tuple[Architecture, Fields]:
    """The family of the model in `folder`, and what is taken over of its configuration.

    ArtifactError if there is none, it is of no known family, asks for code of its own, or says something
    that would make another model of it than the stock one.
    """
    path = folder / CONFIG
    found = _parsed(path)
    kind = found.get("model_type")
    if "auto_map" in found:
        raise ArtifactError(
            "model.code",
            f"asks for code of its own ({kind!r} with auto_map), which is never run",
            where=str(path),
            hint="only stock architectures are read: " + ", ".join(ARCHITECTURES),
        )
    if not isinstance(kind, str) or kind not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ArtifactError("model.type", f"is a {kind!r} model; known are {known}", where=str(path))
    family = ARCHITECTURES[kind]
    for name, value in family.fixed.items():
        if found.get(name, value) != value:
            raise ArtifactError("model.config", f"{name} is {found[name]!r}, not {value!r}", where=str(path))
    for name, most in _LARGEST.items():
        number = found.get(name)
        if type(number) is not int or not 1 <= number <= most:
            raise ArtifactError("model.config", f"{name} is {number!r}, not 1 to {most:,}", where=str(path))
    return family, {name: found[name] for name in family.fields if name in found}


def _parsed(path: Path) -> dict[str, Any]:
    try:
        return parse_json(path)
    except FileNotFoundError:
        raise ArtifactError("model.missing", "does not exist", where=str(path)) from None
    except (ValueError, RecursionError) as error:
        raise ArtifactError("model.config", f"is not a configuration: {error}", where=str(path)) from None
