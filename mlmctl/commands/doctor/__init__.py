"""`mlmctl doctor`: the plain facts about the machine, a corpus and labelled data."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from ... import hub
from ...config import Recipe
from ...events import Emit
from ...pipeline.inputs import check_positions
from . import corpus, labelled, machine, plan
from .section import Finding, Section
from .tokenizers import measure

__all__ = ["Finding", "Section", "run"]


def run(paths: Sequence[str], recipe: Recipe, run_folder: Path, emit: Emit) -> list[Section]:
    """The section `machine`; `corpus` and `plan` if `paths` name one; `labelled` if the recipe names data.

    Nothing is written that stays. Raises what resolving and reading raise, but for encoding faults and
    bad questions, which are findings.
    """
    sections = [machine.look(recipe.runtime, run_folder)]
    if paths and recipe.pretrain.init:
        check_positions(hub.folder(recipe.pretrain.init), recipe.mask.block_length)
    if paths:
        found = corpus.read(paths, recipe, run_folder, emit)
        measured = measure(recipe, run_folder, found.survey.sample)
        sections.append(corpus.look(found, measured))
        num_tokens = sections[-1].facts["predicted_num_tokens"]
        sections.append(plan.look(recipe, num_tokens, measured, sections[0].facts))
    if recipe.finetune.data:
        with tempfile.TemporaryDirectory(prefix="mlmctl-") as temporary:
            data, test = labelled.files(recipe, Path(temporary), emit)
            sections.append(labelled.look(recipe, data, test, run_folder))
    return sections
