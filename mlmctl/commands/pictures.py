"""Plots: one look for all, readable on a light and on a dark page, the same bytes for the same data.

Drawn by matplotlib, which comes with each of the extras whose commands draw.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .. import extras
from ..storage import write_file

GREY = "#767676"  # 4.5 to 1 against white, and nearly that against black
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
"""Okabe and Ito's, which the colour-blind can tell apart."""

_UNSEEN = "\u200b"
"""A space without width."""

_STYLE = {
    "svg.hashsalt": "mlmctl",  # identifiers in an SVG are drawn at random otherwise
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "text.color": GREY,
    "text.parse_math": False,  # a dollar in the name of a folder is a dollar
    "axes.edgecolor": GREY,
    "axes.labelcolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GREY,
    "grid.alpha": 0.3,
    "legend.frameon": False,
}


def label(name: str) -> str:
    """The name of a line in a legend, where matplotlib leaves out those that begin with `_`."""
    return f"{_UNSEEN}{name}" if name.startswith("_") else name


@contextmanager
def drawing(size: tuple[float, float], extra: str) -> Iterator[Any]:
    """Axes to draw on, and to be drawn by `rendered` inside the same `with`.

    UsageError that names `extra` where matplotlib is missing.
    """
    matplotlib, figures = (extras.load(name, extra, "plots") for name in ("matplotlib", "matplotlib.figure"))
    with matplotlib.rc_context(_STYLE):
        yield figures.Figure(figsize=size, layout="constrained").subplots()


def rendered(axes: Any, kind: str) -> bytes:
    """The picture that these axes are in, as `svg`, `png` or `pdf`."""
    content = io.BytesIO()
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    axes.figure.savefig(content, format=kind, transparent=kind != "png", metadata=metadata, dpi=150)
    return content.getvalue()


@contextmanager
def axes(path: Path, size: tuple[float, float], extra: str) -> Iterator[Any]:
    """Axes to draw on; the file (.svg, .png or .pdf) is written afterwards, whole or not at all.

    UsageError that names `extra` where matplotlib is missing.
    """
    with drawing(size, extra) as drawn:
        yield drawn
        content = rendered(drawn, path.suffix[1:].lower())
    write_file(path, content)
