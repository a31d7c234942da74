"""The plots of a benchmark, as SVG that can be read on a light and on a dark page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..pictures import COLOURS, GREY, axes

_LOOKS: dict[str, tuple[str, Any]] = {
    "ours": (COLOURS[0], "-"),
    "a": (COLOURS[1], (0, (6, 2))),
    "b": (COLOURS[3], (0, (2, 1))),
    "c": (COLOURS[2], (0, (6, 2, 1, 2))),
    "d": (COLOURS[4], (0, (1, 1))),
}
"""Colour and dashes of each side."""


def speeds(sides: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Tokens a second of every side: the median as a bar, the least and the most as a line on it."""
    with axes(path, (7.5, 0.9 + 0.5 * len(sides)), "bench") as drawn:
        for place, side in enumerate(sides):
            speed = side["tokens_per_second"]
            spread = [[speed["median"] - speed["min"]], [speed["max"] - speed["median"]]]
            drawn.barh(place, speed["median"], 0.6, color=_LOOKS[side["side"]][0], alpha=0.6)
            drawn.errorbar(speed["median"], place, xerr=spread, color=GREY, capsize=3)
            drawn.annotate(
                f"{speed['median']:,.0f}",
                (speed["max"], place),
                (6, 0),
                textcoords="offset points",
                va="center",
            )
        drawn.set_yticks(range(len(sides)), [side["title"] for side in sides])
        drawn.invert_yaxis()
        drawn.grid(axis="y", visible=False)
        drawn.locator_params(axis="x", nbins=6)
        drawn.margins(x=0.15)
        drawn.set_xlim(left=0)
        drawn.xaxis.set_major_formatter("{x:,.0f}")
        drawn.set_xlabel("training tokens a second")


def curves(race: Mapping[str, Any], path: Path) -> None:
    """Validation loss of every side against the seconds since it was started."""
    with axes(path, (7.5, 4.5), "bench") as drawn:
        for side in race["sides"]:
            drawn.plot(
                [point["seconds"] for point in side["points"]],
                [point["valid_loss"] for point in side["points"]],
                color=_LOOKS[side["side"]][0],
                linestyle=_LOOKS[side["side"]][1] if side["minutes"] == race["minutes"] else (0, (3, 1)),
                label=side["title"],
            )
        drawn.axhline(race["unigram_loss"], color=GREY, linestyle=":", label="guessing by frequency")
        drawn.set_xlim(left=0)
        drawn.set_xlabel("seconds since the start, everything included")
        drawn.set_ylabel("validation loss (nats a masked token)")
        drawn.figure.legend(loc="outside upper center", ncols=2)
