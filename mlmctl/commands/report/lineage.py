"""What the run is made of: its artifacts, what each was made from, and the settings that somebody chose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...config import PretrainConfig, Recipe, settings
from ...manifest import Manifest
from . import wording
from .opened import Opened
from .parts import Line, Part, Section, Table

_TABLES = {
    "tokenizer": ("tokenizer", "corpus"),
    "mask/blocks": ("mask", "corpus"),
    "mask/policy": ("mask",),
    "pretrain": ("pretrain",),
    "finetune": ("finetune",),
    "evaluate": ("evaluate",),
}
"""Of which tables of the recipe the configuration of an artifact is."""
_NO_SETTING = ("content",)
"""Of the key, yet nobody's choice."""
_OUTSIDE = ("corpus", "data")
"""What is read from outside, and where the details of a manifest say where it was."""
_SHORT = 12
_SEVERAL = 2


def section(run: Opened) -> Section:
    """Settings that are not the defaults come first: they say what this run is."""
    chosen: list[Sequence[str]] = []
    left: list[Sequence[str]] = []
    for setting, is_default in _settings(run.manifests):
        (left if is_default else chosen).append(setting)
    parts: list[Part] = []
    if chosen:
        parts.append(Table("Settings that differ from the defaults", _COLUMNS, chosen, num_texts=4))
    else:
        parts.append(Line("All settings are the defaults."))
    artifacts = []
    for row in run.rows:
        made_from = ", ".join(_made_from(run.manifests.get(row.name)))
        artifacts.append((row.name, row.state, made_from, (row.fingerprint or "")[:_SHORT]))
    columns = ("artifact", "state", "made from", "fingerprint")
    parts.append(Table("Artifacts", columns, artifacts, num_texts=4))
    parts += _warnings(run)
    if left:
        title = "Settings left at their defaults"
        parts.append(Table(title, _COLUMNS, left, num_texts=4, is_folded=True))
    return Section("lineage", "Lineage and configuration", parts)


_COLUMNS = ("setting", "value", "default", "of")


def _settings(manifests: Mapping[str, Manifest]) -> Iterator[tuple[Sequence[str], bool]]:
    """(setting, value, default, artifacts) of all that are of one value, and whether it is the default."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for name, manifest in manifests.items():
        defaults = _defaults(manifest)
        for field, value in settings(manifest.config, manifest.inputs).items():
            if field not in _NO_SETTING:
                key, default = defaults.get(field, (f"{name.split('/')[0]}.{field}", False))
                cells = key, wording.value(field, value), wording.value(field, default)
                found.setdefault(cells, []).append(name)
    for (key, value, default), names in found.items():
        yield (key, value, default, ", ".join(_short(names, manifests))), value == default


def _short(names: Sequence[str], manifests: Mapping[str, Manifest]) -> list[str]:
    """The names, those of a whole stage as one: `finetune/*`."""
    short: dict[str, None] = {}
    for name in names:
        stage = name.partition("/")[0]
        whole = [each for each in manifests if each.startswith(f"{stage}/")]
        is_whole = len(whole) > _SEVERAL and set(whole) <= set(names)
        short[f"{stage}/*" if is_whole else name] = None
    return list(short)


def _defaults(manifest: Manifest) -> dict[str, tuple[str, Any]]:
    """(table.key, default) of each field that an artifact of this stage has."""
    stage = manifest.stage if manifest.stage in _TABLES else manifest.stage.split("/")[0]
    recipe = Recipe()
    if "init" in manifest.inputs:  # the rates of a continued encoder are others
        recipe = recipe.model_copy(update={"pretrain": PretrainConfig(init="init")})
    return {
        field: (f"{table}.{field}", default)
        for table in _TABLES.get(stage, ())
        for field, default in getattr(recipe, table).key_fields().items()
    }


def _made_from(manifest: Manifest | None) -> Iterator[str]:
    """Artifacts of this run by their names; what came from outside by its own, and the content it had."""
    if manifest is None:
        return
    details, prints = manifest.details, manifest.inputs
    for role, path in details.get("reads", {}).items():
        is_inside = not Path(path).is_absolute() and role != "init"
        name = wording.folder(path)
        yield name if is_inside else f"{name} ({prints.get(role, '')[:_SHORT]})"
    for role in _OUTSIDE:
        if role in prints:
            paths = details.get(role, [])
            names = [Path(path).name for path in ([paths] if isinstance(paths, str) else paths)]
            told = ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")
            built_in = ", built in" if details.get("built_in_data") else ""
            yield f"{role} {told} ({prints[role][:_SHORT]}{built_in})"


def _warnings(run: Opened) -> list[Part]:
    """What was warned of when the artifacts were made; it may quote the data."""
    warnings = [
        (name, warning)
        for name, manifest in run.manifests.items()
        for warning in manifest.details.get("warnings", ())
    ]
    if not warnings:
        return []
    if not run.has_text:
        return [Line(f"{len(warnings):,} warnings were given; their wording is left out (--no-text).")]
    return [Table("Warnings", ("artifact", "warning"), warnings, num_texts=2)]
