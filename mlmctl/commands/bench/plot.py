"""The plots of a benchmark, as SVG that can be read on a light and on a dark page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ... import extras

_GREY = "#767676"  # 4.5 to 1 against white, and nearly that against black
_COLOURS = {"ours": "#0072B2", "a": "#E69F00", "b": "#CC79A7", "c": "#009E73", "d": "#D55E00"}
"""Okabe and Ito's, which the colour-blind can tell apart."""
_DASHES = {"ours": "-", "a": (0, (6, 2)), "b": (0, (2, 1)), "c": (0, (6, 2, 1, 2)), "d": (0, (1, 1))}
_STYLE = {
    "svg.hashsalt": "mlmctl",  # the same names in the file every time
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "text.color": _GREY,
    "axes.edgecolor": _GREY,
    "axes.labelcolor": _GREY,
    "xtick.color": _GREY,
    "ytick.color": _GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}


def speeds(sides: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Tokens a second of every side: the median as a bar, the least and the most as a line on it."""
    with _drawn(path, (7.5, 0.9 + 0.5 * len(sides))) as axes:
        for place, side in enumerate(sides):
            speed = side["tokens_per_second"]
            spread = [[speed["median"] - speed["min"]], [speed["max"] - speed["median"]]]
            axes.barh(place, speed["median"], 0.6, color=_COLOURS[side["side"]], alpha=0.6)
            axes.errorbar(speed["median"], place, xerr=spread, color=_GREY, capsize=3)
            axes.annotate(
                f"{speed['median']:,.0f}",
                (speed["max"], place),
                (6, 0),
                textcoords="offset points",
                va="center",
            )
        axes.set_yticks(range(len(sides)), [side["title"] for side in sides])
        axes.invert_yaxis()
        axes.margins(x=0.15)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.set_xlabel("training tokens a second")


def curves(race: Mapping[str, Any], path: Path) -> None:
    """Validation loss of every side against the seconds since it was started."""
    with _drawn(path, (7.5, 4.5)) as axes:
        for side in race["sides"]:
            axes.plot(
                [point["seconds"] for point in side["points"]],
                [point["valid_loss"] for point in side["points"]],
                color=_COLOURS[side["side"]],
                linestyle=_DASHES[side["side"]],
                label=side["title"],
            )
        axes.axhline(race["unigram_loss"], color=_GREY, linestyle=":", label="guessing by frequency")
        axes.set_xlim(left=0)
        axes.set_xlabel("seconds since the start, everything included")
        axes.set_ylabel("validation loss (nats a masked token)")
        axes.figure.legend(loc="outside upper center", ncols=2)


@contextmanager
def _drawn(path: Path, size: tuple[float, float]) -> Iterator[Any]:
    """Axes to draw on; the file is written afterwards."""
    matplotlib = extras.load("matplotlib", "bench", "plots")
    figures = extras.load("matplotlib.figure", "bench", "plots")
    with matplotlib.rc_context(_STYLE):
        figure = figures.Figure(figsize=size, layout="constrained")
        yield figure.subplots()
        figure.savefig(path, format="svg", transparent=True, metadata={"Date": None})
