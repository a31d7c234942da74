"""The losses of some runs in one picture: in training, on the validation masks, and of token frequencies.

Drawn by matplotlib, which is an extra. The same runs give the same bytes of SVG.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import extras
from ..artifact import check_file
from ..errors import UsageError
from ..json_files import read_lines
from ..manifest import MANIFEST, read_manifest
from ..storage import check_writable
from .pictures import COLOURS, axes, label

_SUFFIXES = (".svg", ".png", ".pdf")
_LOG = "metrics.jsonl"
_MOST_POINTS = 200

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """The losses of one run, in nats a masked token, each as (tokens seen, loss) [num_points, 2]."""

    name: str
    train: Floats
    """Means of neighbouring steps, at whatever rate is masked; without steps whose loss was not finite."""
    valid: Floats
    unigram_loss: float | None


def check(path: Path) -> None:
    """UsageError, before anything is read, for another kind of file, or if matplotlib is missing."""
    if path.suffix.lower() not in _SUFFIXES:
        found = f"is not {', '.join(_SUFFIXES[:-1])} or {_SUFFIXES[-1]}"
        raise UsageError("usage.plot", found, where=str(path))
    check_writable(path)
    extras.load("matplotlib", "report", "plots")


def read(run: Path, name: str) -> Curve:
    """The curve of the encoder of a run folder, or of the one that is being trained there; maybe empty.

    ArtifactError if its record is missing or damaged.
    """
    logged = rows(run)
    evaluations = [row for row in logged if "valid_loss" in row]
    steps = [row for row in logged if "loss" in row]
    tokens = {row["step"]: row["num_tokens"] for row in steps}
    train = [(row["num_tokens"], row["loss"]) for row in steps if row["loss"] is not None]
    valid = [(tokens[row["step"]], row["valid_loss"]) for row in evaluations if row["step"] in tokens]
    unigram = [row["unigram_loss"] for row in evaluations if "unigram_loss" in row]
    return Curve(name, _thinned(train), _pairs(valid), unigram[-1] if unigram else None)


def draw(curves: Sequence[Curve], path: Path) -> None:
    """Write the picture. UsageError if no run has a loss to draw."""
    if not any(len(curve.train) for curve in curves):
        raise UsageError("usage.plot", "none of the runs has a loss to draw", hint="mlmctl pretrain")
    with axes(path, (8, 4.5), "report") as drawn:
        plot(drawn, curves)
        drawn.legend(title="validation (faint: training, dashed: token frequencies)")


def plot(drawn: Any, curves: Sequence[Curve]) -> None:
    """Draw the curves on axes, without a legend."""
    ticker = extras.load("matplotlib.ticker", "report", "plots")
    for number, curve in enumerate(curves):
        colour = COLOURS[number % len(COLOURS)]
        drawn.plot(*curve.train.T, color=colour, alpha=0.35, linewidth=1)
        drawn.plot(*curve.valid.T, color=colour, marker="o", markersize=3, label=label(curve.name))
        if curve.unigram_loss is not None:
            drawn.axhline(curve.unigram_loss, color=colour, linestyle="--", linewidth=1)
    drawn.set_xscale("log")  # most of what is learned is learned soon
    drawn.xaxis.set_major_formatter(ticker.EngFormatter())
    drawn.xaxis.set_minor_formatter(ticker.NullFormatter())
    drawn.set_xlabel("tokens seen in training")
    drawn.set_ylabel("loss (nats a masked token)")


def rows(run: Path) -> list[dict[str, Any]]:
    """What was logged step by step by the encoder's training; the last line may be being written.

    ArtifactError if the record is missing or damaged.
    """
    folder = run / "pretrain"
    path = folder / _LOG
    if (folder / MANIFEST).is_file():
        check_file(folder, _LOG, read_manifest(folder).outputs[_LOG])
    else:
        begun = sorted(run.glob(f".work/pretrain-*/{_LOG}"))
        if not begun:
            return []
        path = begun[-1]
    return read_lines(path, is_growing=True)


def _thinned(points: Sequence[tuple[float, float]]) -> Floats:
    """At most 200 points, each the mean of as many neighbours."""
    groups = np.array_split(_pairs(points), min(_MOST_POINTS, max(len(points), 1)))
    return np.array([group.mean(axis=0) for group in groups if len(group)]).reshape(-1, 2)


def _pairs(points: Sequence[tuple[float, float]]) -> Floats:
    return np.array(points, dtype=np.float64).reshape(-1, 2)
