"""`mlmctl doctor`: the plain facts about the machine and a corpus, before anything is trained."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..config import Recipe
from ..events import Emit
from ..text.corpus import resolve
from ..text.survey import survey


def run(paths: Sequence[str], recipe: Recipe, emit: Emit) -> dict[str, Any]:
    """Facts about the machine and, if `paths` name one, the corpus; nothing is written that stays.

    `predicted_num_tokens` is a prediction: words of a sample, times what English needs at a vocabulary
    of 8,192. Raises what resolving and reading the corpus raise, but for encoding faults, which are listed.
    """
    from ..engine.runtime import environment, prepare

    facts: dict[str, Any] = {"machine": dict(environment(prepare(recipe.runtime)))}
    if paths:
        with tempfile.TemporaryDirectory(prefix="mlmctl-") as spool:
            sources = resolve(paths, Path(spool), emit)
            facts.update(survey(sources, recipe.corpus, emit, "doctor"))
    return facts
