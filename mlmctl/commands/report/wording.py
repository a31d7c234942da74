"""How the report says the names and numbers that manifests hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ... import hub
from ...quantities import duration, number, percent, size
from .parts import Table

_COUNT, _SIZE = "num_", "_bytes"


def name(field: str) -> str:
    """`num_train_blocks` is train blocks, `peak_memory_bytes` peak memory."""
    if field == "seconds":
        return "time"
    plain = field.removesuffix(_SIZE) if _is_size(field) and field != "num_bytes" else field
    return plain.removeprefix(_COUNT).replace("_", " ")


def _is_size(field: str) -> bool:
    return field == "num_bytes" or (field.endswith(_SIZE) and not field.startswith(_COUNT))


def value(field: str, found: object) -> str:
    """A value with the unit that its field has."""
    if found is None:
        return "not set"
    if isinstance(found, bool):
        return "yes" if found else "no"
    if isinstance(found, Mapping):
        return ", ".join(f"{key} {number(part)}" for key, part in found.items())
    if isinstance(found, int | float):
        if _is_size(field):
            return size(found)
        if field == "seconds":
            return duration(found)
        if field.startswith("share_") or field.endswith("_share"):
            return percent(found)
    return number(found)


def folder(path: str) -> str:
    """What a folder is called that a manifest says was read.

    One of this run by its path there, a model of the hub by its name, not by the hash that it is kept under,
    any other by the end of its path.
    """
    place = Path(path)
    if not place.is_absolute():
        return path
    return hub.name_of(place) or "/".join(place.parts[-2:])


def facts(found: Mapping[str, Any], fields: Iterable[str]) -> list[tuple[str, str]]:
    """Of these fields the ones that there are and that say something (an empty table does not)."""
    return [(name(each), value(each, found[each])) for each in fields if found.get(each) not in (None, {})]


def table(
    title: str, first: str, parts: Mapping[str, Mapping[str, Any]], rows: Mapping[str, str] | None = None
) -> Table:
    """A table of what was measured of each part; `rows` says what parts are called, if not by their names."""
    fields: Sequence[str] = list(next(iter(parts.values())))
    cells = [
        ((rows or {}).get(part, part), *(value(field, of.get(field, "")) for field in fields))
        for part, of in parts.items()
    ]
    return Table(title, (first, *map(name, fields)), cells)
