"""The machine: how fast the stages ran, how much memory they took, and with which versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...quantities import number, size
from . import wording
from .opened import Opened, damaged
from .parts import Facts, Group, Line, Part, Section, Table

_MEASURED = ("seconds", "tokens_per_second", "examples_per_second", "peak_memory_bytes")
_BENCH = "bench/bench.json"


def section(run: Opened) -> Section:
    """Speed and memory where a stage measured them, environments (equal ones once), `bench` if it was run."""
    measured = {
        name: manifest.metrics
        for name, manifest in run.manifests.items()
        if any(field in manifest.metrics for field in _MEASURED)
    }
    parts: list[Part] = []
    if measured:
        rows = [
            (name, *(wording.value(field, metrics[field]) if field in metrics else "" for field in _MEASURED))
            for name, metrics in measured.items()
        ]
        parts.append(Table("Speed and memory", ("artifact", *map(wording.name, _MEASURED)), rows))
    parts += _environments(run)
    if (run.folder / _BENCH).is_file():
        try:
            parts.append(_bench(run.json(_BENCH)))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise damaged(run.folder / _BENCH, error) from None
    else:
        parts.append(Line("How fast training is beside other loops:", run.command("bench corpus.txt")))
    return Section("system", "System", parts)


def _environments(run: Opened) -> Iterator[Part]:
    """Each environment that artifacts were made in, and which those are."""
    found: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for name, manifest in run.manifests.items():
        rows = tuple(wording.facts(manifest.environment, manifest.environment))
        found.setdefault(rows, []).append(name)
    for rows, names in found.items():
        if rows:
            yield Group(f"Made by: {', '.join(names)}", [Facts(rows)])


def _bench(found: Mapping[str, Any]) -> Table:
    rows = []
    for side in found["sides"]:
        speed = side["tokens_per_second"]
        spread = f"{number(speed['min'])} to {number(speed['max'])}"
        ratio = side["ours_over_this"]  # none where our loop was not run
        times = number(ratio["median"]) if ratio else ""
        rows.append((side["title"], number(speed["median"]), spread, times, size(side["peak_memory_bytes"])))
    columns = ("loop", "tokens per second", "least to most", "times ours is faster", "peak memory")
    return Table("Beside other loops (mlmctl bench)", columns, rows)
