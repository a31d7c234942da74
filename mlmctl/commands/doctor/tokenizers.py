"""Which tokenizer doctor measures with: the one named, the run folder's, or one trained on the sample."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ... import hub
from ...config import Recipe
from ...manifest import MANIFEST, read_manifest
from ...pipeline.inputs import tokenizer as checked
from ...text import fit, vocabulary
from ...text.fit import Fit


@dataclass(frozen=True)
class Measured:
    """A tokenizer and how it fits."""

    origin: str
    """A folder, or that it was trained here."""
    folder: Path | None
    """None if it was trained here."""
    fit: Fit


def measure(recipe: Recipe, run_folder: Path, sample: list[str]) -> Measured:
    """How the tokenizer that a run would have fits the sample.

    One that would be trained is trained on half of the sample and measured on the other half (see
    `fit.quickly_trained`), so its pieces are a little shorter than those that the whole text will give.
    UsageError and ArtifactError as the stages raise them.
    """
    folder = _folder(recipe, run_folder)
    if folder is None:
        tokenizer, rest = fit.quickly_trained(recipe.tokenizer, sample)
        return Measured("trained on the sample", None, fit.measure(tokenizer, rest))
    return Measured(str(folder), folder, fit.measure(vocabulary.load(folder), sample))


def _folder(recipe: Recipe, run_folder: Path) -> Path | None:
    if recipe.tokenizer.path:
        folder = Path(recipe.tokenizer.path)
        checked(folder)
        return folder
    if recipe.pretrain.init:
        return hub.folder(recipe.pretrain.init)
    own = run_folder / "tokenizer"
    if not (own / MANIFEST).exists():
        return None
    made_with, wanted = read_manifest(own).config, recipe.tokenizer.key_fields()
    return own if all(made_with.get(name) == value for name, value in wanted.items()) else None
