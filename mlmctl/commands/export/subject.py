"""The model that is exported, and all that the records of the run say of it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from ...artifact import open_artifact
from ...engine import configuration, weights
from ...engine.architectures import ARCHITECTURES, Architecture, Fields, Head
from ...errors import ArtifactError
from ...manifest import MANIFEST, Manifest, read_manifest
from ...pipeline.nodes import folder_name
from ...storage import HashCache
from ...tasks.adapted import TASKS
from ...tasks.pretrained import block_length
from ...text import languages, vocabulary
from ...text.blocks import Blocks
from . import lineage

ENCODER = "pretrain"
"""The name by which the encoder of the run is asked for; all others are of fine-tuned models."""

_TASK = "task.json"
_LANGUAGE_BLOCKS = 200
_LANGUAGE_SHARE = 0.9


@dataclass(frozen=True)
class Subject:
    """A verified model folder and its records."""

    folder: Path
    manifest: Manifest
    chain: lineage.Chain
    evaluations: Mapping[str, Manifest]
    """Those of this very model, by their names in the run."""
    family: Architecture
    head: Head
    config: Fields
    settings: Mapping[str, Any]
    """What the task of a fine-tuned model remembers; empty for an encoder."""
    tokenizer: Tokenizer
    num_parameters: int
    block_length: int
    num_positions: int

    @classmethod
    def open(cls, run: Path, name: str, cache: HashCache) -> Subject:
        """The model `name` of a run: `pretrain`, or that of a fine-tuned one.

        ArtifactError if it is not there, or if it or an evaluation of it is not whole.
        """
        is_encoder = name == ENCODER
        folder = run / ENCODER if is_encoder else run / "finetune" / folder_name(name)
        if not folder.exists():
            command = "mlmctl pretrain CORPUS" if is_encoder else f"mlmctl finetune --name {name}"
            hint = f"make it first: {command}"
            raise ArtifactError("artifact.missing", "does not exist", where=str(folder), hint=hint)
        manifest = open_artifact(folder, cache)
        family, config = configuration.fields(folder)
        task = {} if is_encoder else json.loads((folder / _TASK).read_bytes())
        return cls(
            folder=folder,
            manifest=manifest,
            chain=lineage.chain(folder, manifest),
            evaluations=_evaluations(run, manifest.fingerprint),
            family=family,
            head="masked_lm" if is_encoder else TASKS[task["task"]].model_head,
            config=config,
            settings=task.get("settings", {}),
            tokenizer=vocabulary.load(folder),
            num_parameters=sum(math.prod(each.shape) for each in weights.stored(folder).values()),
            block_length=block_length(folder),
            num_positions=configuration.num_positions(folder),
        )

    @property
    def model_type(self) -> str:
        """Of the stock configuration."""
        return next(name for name, family in ARCHITECTURES.items() if family is self.family)

    @property
    def class_name(self) -> str:
        """Of the stock class."""
        return self.family.classes[self.head]

    @property
    def mask_token(self) -> str:
        return vocabulary.special_names(self.tokenizer)["mask"]

    @property
    def trainings(self) -> Sequence[Manifest]:
        """The records of all that its weights went through, in order."""
        return lineage.trainings(self.chain)

    @property
    def tunings(self) -> Sequence[Manifest]:
        """Those of them that were of labelled data."""
        return [training for training in self.trainings if training.stage.startswith("finetune/")]

    @property
    def encoder(self) -> Manifest | None:
        """The record of the last pretraining of its weights; None without one, or where its run is gone."""
        return next((each for each in reversed(self.trainings) if each.stage == ENCODER), None)

    @property
    def is_from_scratch(self) -> bool:
        """Whether its weights began at random with labelled data: no corpus was read by them."""
        return self.encoder is None and bool(self.trainings[0].config.get("from_scratch"))

    def record(self, name: str) -> Manifest | None:
        """The manifest of a link of the chain, if it is there."""
        link = self.chain.get(name)
        return link.manifest if link else None

    def language(self, cache: HashCache) -> str | None:
        """The language (ISO 639-1) of nearly all of the held-out text of the corpus its weights have seen, if
        that is known.
        """
        link = self.chain.get("mask/blocks")
        if self.is_from_scratch or link is None or link.folder is None:
            return None
        try:
            open_artifact(link.folder, cache)
        except ArtifactError:
            return None  # no part of what is exported
        valid = Blocks.open(link.folder, "valid")
        rows = valid.rows(np.arange(min(valid.num_blocks, _LANGUAGE_BLOCKS)))
        shares = languages.shares([self.tokenizer.decode(row) for row in rows.tolist()])
        found = next(iter(shares), languages.UNKNOWN)
        is_clear = found != languages.UNKNOWN and shares[found] >= _LANGUAGE_SHARE
        return found if is_clear else None


def _evaluations(run: Path, fingerprint: str) -> dict[str, Manifest]:
    """The evaluations in the run folder of the model with this fingerprint, verified."""
    found = {}
    for path in sorted(run.glob(f"evaluate/*/*/{MANIFEST}")):
        inputs = read_manifest(path.parent).inputs
        if fingerprint in (inputs.get("model"), inputs.get("pretrain")):
            found[path.parent.relative_to(run).as_posix()] = open_artifact(path.parent)
    return found
