"""The curve as a picture: scores over labels, a line for each start, whiskers from worst to best seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..pictures import COLOURS, axes, label

_MARKERS = "osD^vP"

Rows = Mapping[str, Sequence[Mapping[str, Any]]]
"""Of each start the rows {labels, mean, low, high}."""


def draw(table: Rows, score: str, path: Path) -> None:
    """Write the picture."""
    with axes(path, (7, 4.5), "curve") as drawn:
        plot(drawn, table, score)
        drawn.legend()


def plot(drawn: Any, table: Rows, score: str) -> None:
    """Draw the curves on axes, without a legend."""
    for number, (start, rows) in enumerate(table.items()):
        counts, means = [row["labels"] for row in rows], [row["mean"] for row in rows]
        below = [row["mean"] - row["low"] for row in rows]
        above = [row["high"] - row["mean"] for row in rows]
        look = {"marker": _MARKERS[number % len(_MARKERS)], "color": COLOURS[number % len(COLOURS)]}
        drawn.errorbar(counts, means, [below, above], label=label(start), capsize=3, markersize=5, **look)
    drawn.set_xscale("log", base=2)
    counts = sorted({row["labels"] for rows in table.values() for row in rows})
    drawn.set_xticks(counts, [f"{count:,}" for count in counts], rotation=30)
    drawn.minorticks_off()
    drawn.set_xlabel("labelled examples")
    drawn.set_ylabel(score)
