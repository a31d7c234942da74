"""The worst errors of an evaluation, each as its text and a few words on what was wrong, task by task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ...json_files import read_lines
from ...quantities import number, percent
from .opened import Opened, damaged
from .parts import Line, Mistakes, Part

_MOST = 10
_MOST_CHARACTERS = 700

Error = Mapping[str, Any]
Shown = tuple[str, list[tuple[str, str]]]


def mistakes(run: Opened, name: str, task: str) -> list[Part]:
    """The worst errors, or a line that says why there are none; nothing of a task that records none (`mlm`).

    ArtifactError for rows of another form.
    """
    if task not in _OF_TASK:
        return []
    if not run.has_text:
        return [Line("Examples of errors are left out (--no-text).")]
    errors = read_lines(run.folder / name / "errors.jsonl", _MOST)
    if not errors:
        return [Line("No errors are recorded.")]
    try:
        rows = [_OF_TASK[task](error) for error in errors]
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(run.folder / name / "errors.jsonl", error) from None
    shown = [(_cut(text), [(field, _cut(value)) for field, value in told]) for text, told in rows]
    return [Mistakes("Errors, the worst first", shown)]


def _class(error: Error) -> Shown:
    sure = percent(error["probabilities"][error["prediction"]])
    return error["text"], [("true", error["label"]), ("predicted", error["prediction"]), ("sure", sure)]


def _tags(error: Error) -> Shown:
    told = [(kind, ", ".join(_entities(error[kind])) or "none") for kind in ("missed", "wrong")]
    return error["text"], told


def _entities(found: list[Error]) -> Iterator[str]:
    return (f"{each['text']} ({each['type']})" for each in found)


def _qa(error: Error) -> Shown:
    right = "; ".join(dict.fromkeys(error["answers"])) or "(no answer)"
    predicted = error["prediction"] or "(no answer)"
    told = [("right", right), ("predicted", predicted), ("F1", percent(error["f1"]))]
    return error["question"], [*told, ("passage", error["context"])]


def _pairs(error: Error) -> Shown:
    lead = number(error["score_bad"] - error["score_good"])
    told = [("found likelier", error["sentence_bad"]), ("by nats", lead), ("set", str(error["file"]))]
    return error["sentence_good"], told


_OF_TASK: dict[str, Callable[[Error], Shown]] = {
    "sentiment": _class,
    "classify": _class,
    "tags": _tags,
    "qa": _qa,
    "pairs": _pairs,
}


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]} ..."
