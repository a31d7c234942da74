"""What nobody says again stays as the run folder was made: `mlmctl mask` after `tokenizer --vocab-size 512`.

Only for how text is read, tokenized and masked. A trained model is never reinterpreted: there a changed
value is a refusal. A recipe is a complete description, so with one nothing is adopted.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..config import Recipe
from ..errors import ArtifactError, one_line
from ..events import Emit, Note
from ..manifest import MANIFEST, find_manifest, read_manifest
from ..recipe import Resolved
from ..stages.stage import BASE
from .nodes import POLICY_FIELDS

_RECORDED_IN = {
    "corpus": ("mask/blocks", "tokenizer"),
    "tokenizer": ("tokenizer",),
    "mask": ("mask/blocks", "mask/policy"),
}
"""Table of the recipe -> the artifacts whose manifests hold its values, the later ones in doubt. A pinned
tokenizer does not say how the corpus is read."""
_OF_A_NEW_ONE = {"tokenizer.type", "tokenizer.vocab_size", "tokenizer.cased"}


def adopt(run: Path, resolved: Resolved, emit: Emit, force: Collection[str] = ()) -> Recipe:
    """The recipe with values of `corpus`, `tokenizer` and `mask` that were left open taken from `run`.

    ArtifactError if a manifest there is damaged; of a stage that is forced nothing is taken then.
    """
    given_up = {
        name
        for names in _RECORDED_IN.values()
        for name in names
        if (name in force or name.split("/")[0] in force) and _is_damaged(run / name)
    }
    tables: dict[str, Any] = {}
    told = []
    for table, names in _RECORDED_IN.items():
        current = getattr(resolved.recipe, table)
        recorded = _recorded(run, table, [name for name in names if name not in given_up])
        is_new = table == "tokenizer" and _OF_A_NEW_ONE & resolved.origins.keys()
        if table == "tokenizer" and recorded.get("pinned") and not is_new:
            # It is a copy, so it pins itself; if it was changed, it holds what it was made from.
            base = run / "tokenizer" / BASE
            recorded = {**recorded, "path": str(base if base.is_dir() else run / "tokenizer")}
        changes = {
            name: recorded[name]
            for name in type(current).model_fields
            if name in recorded
            and f"{table}.{name}" not in resolved.origins
            and recorded[name] != getattr(current, name)
        }
        try:
            type(current)(**changes)  # a copy is not checked
        except ValueError as error:
            found = f"records what no recipe can hold: {one_line(error)}"
            raise ArtifactError("artifact.damaged", found, where=str(run / names[0] / MANIFEST)) from None
        tables[table] = current.model_copy(update=changes)
        told += [f"{name} {value}" for name, value in changes.items() if name != "path"]
    if told:
        emit(Note(f"as {run}/ was made: {', '.join(told)}"))
    return resolved.recipe.model_copy(update=tables)


def _is_damaged(folder: Path) -> bool:
    return (folder / MANIFEST).exists() and find_manifest(folder) is None


def _recorded(run: Path, table: str, names: Sequence[str]) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for name in names:
        if (run / name / MANIFEST).exists():
            config = read_manifest(run / name).config
            if (
                table == "mask" and name == "mask/blocks"
            ):  # has the `unit` of the corpus, which is another than that of masks
                config = {field: value for field, value in config.items() if field not in POLICY_FIELDS}
            found.update(config)
    return found
