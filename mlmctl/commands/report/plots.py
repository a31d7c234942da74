"""The pictures of a report: drawn as all others are, and put into the page so that it rules their colours.

A picture becomes part of the page: its colours are names that the style sheet gives values for a light and a
dark page, its text is text in the page's own type, its identifiers are its own. No text of the data is in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

from ...engine.schedule import Schedule
from ...text.policy import Policy
from .. import curves, pictures
from ..curve import plot as curve_plot
from ..curve.plot import Rows
from .opened import Opened
from .parts import Figure

_SIZE = (4.6, 3.1)
"""Inches: small, so that the type is still read on a phone, which shows the picture at half its size."""
_MOST_STEPS = 300
"""Points of a line that has one for each step of training."""
_NAMES = {
    pictures.GREY: "var(--axis)",
    **{colour: f"var(--c{number})" for number, colour in enumerate(pictures.COLOURS)},
}
_COLOUR = re.compile("|".join(map(re.escape, _NAMES)), re.IGNORECASE)
_DROPPED = ("metadata", "style")
"""Of an SVG: who made it, and rules that would hold for the whole page."""


def inline(name: str, title: str, draw: Callable[[Any], object]) -> str:
    """An `<svg>` element with what `draw` puts on axes; `name` unique on the page, `title` read aloud."""
    with pictures.drawing(_SIZE, "report") as drawn:
        draw(drawn)
        root = ElementTree.fromstring(pictures.rendered(drawn, "svg"))
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in _DROPPED:
                parent.remove(child)
    for element in root.iter():
        element.tag = _local(element.tag)
        known = {_local(field): value for field, value in element.attrib.items()}
        element.attrib.clear()
        element.attrib.update({field: _owned(name, field, value) for field, value in known.items()})
    for field in ("width", "height", "version"):
        root.attrib.pop(field, None)
    root.attrib.update({"class": "plot", "role": "img", "aria-label": title})
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=True)


def _local(name: str) -> str:
    """A name without its namespace: HTML knows which one an `<svg>` is in."""
    return name.rpartition("}")[2]


def _owned(picture: str, field: str, value: str) -> str:
    if field == "id":
        return f"{picture}-{value}"
    if field == "href":
        return f"#{picture}-{value[1:]}"
    value = value.replace("url(#", f"url(#{picture}-")
    return _COLOUR.sub(lambda found: _NAMES[_canonical(found[0])], value)


def _canonical(colour: str) -> str:
    return next(known for known in _NAMES if known.lower() == colour.lower())


def training(run: Opened) -> list[Figure]:
    """Loss and rates of the encoder, as far as it was trained; none before the first step."""
    rows = curves.rows(run.folder)
    steps = [row for row in rows if "loss" in row]
    if not steps:
        return []
    curve = curves.read(run.folder, "")
    uniform = run.manifests["pretrain"].metrics.get("uniform_loss") if "pretrain" in run.manifests else None

    def loss(drawn: Any) -> None:
        curves.plot(drawn, [curve])
        if uniform is not None:
            drawn.axhline(uniform, color=pictures.GREY, linestyle=":", linewidth=1)

    legend = [("line c0", "validation, 15 % masked"), ("line faint c0", "training, at its own rate")]
    if curve.unigram_loss is not None:
        legend.append(("line dashed c0", f"token frequencies (unigram): {curve.unigram_loss:.3f}"))
    if uniform is not None:
        legend.append(("line dotted", f"guessing blindly (uniform): {uniform:.3f}"))
    note = "Below the unigram line the model uses the context."
    return [Figure("Loss", inline("loss", "Loss", loss), legend, note), *_rates(run, steps)]


def _rates(run: Opened, steps: Sequence[Mapping[str, Any]]) -> list[Figure]:
    """Learning rate and share masked over the steps, both as shares."""
    chosen = steps[:: -(-len(steps) // _MOST_STEPS)]
    chosen = chosen if chosen[-1] is steps[-1] else [*chosen, steps[-1]]
    numbers = [row["step"] for row in chosen]
    masked = _mask_rates(run, numbers)

    def rates(drawn: Any) -> None:
        drawn.plot(numbers, [row["lr_factor"] for row in chosen], color=pictures.COLOURS[0])
        if masked:
            drawn.plot(numbers, masked, color=pictures.COLOURS[1], linestyle="--")
        drawn.set_ylim(0, 1.05)
        drawn.set_xlim(left=0)
        drawn.set_xlabel("training steps")
        drawn.set_ylabel("share")
        drawn.xaxis.set_major_formatter("{x:,.0f}")
        drawn.locator_params(axis="x", nbins=6)

    legend = [("line c0", "learning rate, of its peak")]
    if masked:
        legend.append(("line dashed c1", "tokens masked in training"))
    config = run.manifests["pretrain"].config if "pretrain" in run.manifests else {}
    note = ""
    if config:
        note = f"Peaks: {config['muon_learning_rate']:g} (Muon), {config['learning_rate']:g} (AdamW)."
    title = "Learning rate and masking"
    return [Figure(title, inline("rates", title, rates), legend, note)]


def _mask_rates(run: Opened, numbers: Sequence[int]) -> list[float]:
    """The share masked at each of these steps (from 1), by plan and policy of a finished encoder."""
    if run.misfit("mask/policy", "pretrain"):  # the policy that lies here may not be the one it saw
        return []
    plan, rules = run.json("pretrain/plan.json"), Policy.read(run.folder / "mask/policy")
    schedule = Schedule.from_json(plan)
    return [schedule.mask_rate(number - 1, rules.rate_start, rules.rate_end) for number in numbers]


def efficiency(name: str, table: Rows, score: str) -> Figure:
    """Scores over numbers of labels."""
    legend = [(f"marker c{number % len(pictures.COLOURS)}", start) for number, start in enumerate(table)]
    title = "Labels and scores"
    svg = inline(name, title, lambda drawn: curve_plot.plot(drawn, table, score))
    return Figure(title, svg, legend, "Whiskers: the worst and the best seed.")


def reliability(name: str, bins: Sequence[Mapping[str, float]]) -> Figure:
    """How often the model is right against how sure it is; on the diagonal it is as good as its word."""
    total = sum(each["num_examples"] for each in bins)

    def draw(drawn: Any) -> None:
        drawn.plot([0, 1], [0, 1], color=pictures.GREY, linestyle="--", linewidth=1)
        for each in bins:
            middle, width = (each["low"] + each["high"]) / 2, each["high"] - each["low"]
            drawn.bar(middle, each["accuracy"], width, color=pictures.COLOURS[0], alpha=0.3)
        confidence, accuracy = ([each[field] for each in bins] for field in ("confidence", "accuracy"))
        areas = [12 + 200 * each["num_examples"] / total for each in bins]
        drawn.scatter(confidence, accuracy, s=areas, color=pictures.COLOURS[0], zorder=3, clip_on=False)
        drawn.set_xlim(0, 1)
        drawn.set_ylim(0, 1.05)
        drawn.set_xlabel("how sure the model is")
        drawn.set_ylabel("share of right answers")

    legend = [("marker c0", "answers, the larger the more"), ("line dashed", "as sure as it should be")]
    note = "Above the diagonal the model doubts too much, below it too little."
    title = "Calibration"
    return Figure(title, inline(name, title, draw), legend, note)
