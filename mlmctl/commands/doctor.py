"""`mlmctl doctor`: the plain facts about the machine and a corpus, and what training on it would be."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..config import Recipe
from ..events import Emit
from ..pipeline.inputs import SPOOL
from ..text.corpus import resolve, unread
from ..text.survey import survey

_BYTES_A_TOKEN = 2.2
"""On disk: two bytes of id, a bit that says whether a word starts, and the lengths."""


def run(paths: Sequence[str], recipe: Recipe, run_folder: Path, emit: Emit) -> dict[str, dict[str, Any]]:
    """Facts in groups: `machine` and, if `paths` name a corpus, `corpus` and `plan`.

    Nothing is written that stays; what is remote and new is read into a temporary folder. The number of
    tokens is a prediction: words of a sample, times what English needs at a vocabulary of 8,192. How fast
    this machine trains is not predicted: `mlmctl pretrain` measures it and prints its plan before it
    begins. Raises what resolving and reading the corpus raise, but for encoding faults, which are listed.
    """
    from ..engine.runtime import environment

    machine = environment(recipe.runtime)
    existing = next(
        folder for folder in (run_folder.resolve(), *run_folder.resolve().parents) if folder.is_dir()
    )
    machine["free_disk_bytes"] = shutil.disk_usage(existing).free
    facts: dict[str, dict[str, Any]] = {"machine": machine}
    if paths:
        column = recipe.corpus.text_column
        with tempfile.TemporaryDirectory(prefix="mlmctl-") as temporary:
            # What the run folder has already read is not read a second time.
            known = run_folder / SPOOL
            spool = Path(temporary) if unread(paths, known, column) else known
            sources = resolve(paths, spool, emit, column)
            facts["corpus"] = survey(sources, recipe.corpus, emit, "doctor")
        facts["plan"] = _plan(facts["corpus"]["predicted_num_tokens"], recipe)
    return facts


def _plan(num_tokens: int, recipe: Recipe) -> dict[str, Any]:
    from ..engine import model

    special_ids = {"pad": 0, "cls": 2, "sep": 3}
    config, vocab_size = recipe.pretrain, recipe.tokenizer.vocab_size
    shape = model.shape(config)
    encoder = model.build(config.architecture, shape, vocab_size, recipe.mask.block_length, special_ids, 0)
    num_parameters = model.num_parameters(encoder)
    return {
        "preset": recipe.pretrain.preset,
        "num_parameters": num_parameters,
        "predicted_num_tokens": num_tokens,
        "tokens_per_parameter": round(num_tokens / num_parameters, 2),
        "steps_per_epoch": max(1, round(num_tokens / recipe.pretrain.tokens_per_step)),
        "blocks_bytes": round(num_tokens * _BYTES_A_TOKEN),
    }
