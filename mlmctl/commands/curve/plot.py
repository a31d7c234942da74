"""The curve as a picture: scores over labels, a line for each start, whiskers from worst to best seed."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ... import extras
from ...storage import write_file

_MARKERS = "osD^vP"
_STYLE = {
    "svg.hashsalt": "mlmctl",  # identifiers in an SVG are drawn at random otherwise
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "text.parse_math": False,
}


def draw(table: Mapping[str, Sequence[Mapping[str, Any]]], score: str, path: Path) -> None:
    """Write an SVG. `table` maps each start to its rows {labels, mean, low, high}."""
    matplotlib, figures = (
        extras.load(name, "curve", "curves") for name in ("matplotlib", "matplotlib.figure")
    )
    with matplotlib.rc_context(_STYLE):
        figure = figures.Figure(figsize=(7, 4.5), layout="constrained")
        axes = figure.subplots()
        for number, (start, rows) in enumerate(table.items()):
            counts, means = [row["labels"] for row in rows], [row["mean"] for row in rows]
            below = [row["mean"] - row["low"] for row in rows]
            above = [row["high"] - row["mean"] for row in rows]
            marker = _MARKERS[number % len(_MARKERS)]
            axes.errorbar(counts, means, [below, above], label=start, marker=marker, capsize=3, markersize=5)
        axes.set_xscale("log", base=2)
        counts = sorted({row["labels"] for rows in table.values() for row in rows})
        axes.set_xticks(counts, [f"{count:,}" for count in counts], rotation=30)
        axes.minorticks_off()
        axes.set_xlabel("labelled examples")
        axes.set_ylabel(score)
        axes.legend(frameon=False)
        content = io.BytesIO()
        figure.savefig(content, format="svg", metadata={"Date": None})
    write_file(path, content.getvalue())
