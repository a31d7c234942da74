"""One question of a file: what it says is checked, and its answers are found in its passage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..text.corpus import shown

FAULTS = {
    "missing_key": "lack a key, or have a value of the wrong type under it",
    "duplicate_id": "have an id that was there before",
    "blank": "have a blank question, context or answer",
    "no_unicode": "hold half a surrogate pair",
    "absent_answer": "have an answer that is not in the context",
    "ambiguous_answer": "have an answer that is not where it is said to be, but at several other places",
    "contradiction": "are said to have no answer and have one, or the reverse",
}
"""What can be wrong with a question, in the words of the message."""

How = Literal["said", "bytes", "repaired"]
"""How an answer was found: where it was said to be, by an offset in bytes, or at its only place."""


@dataclass(frozen=True)
class Answer:
    """A gold answer: its text, and where it starts in the context (in characters)."""

    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


class Fault(Exception):
    """What is wrong with one question: one of `FAULTS`, and what exactly."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def fields_of(found: object, paragraph: object) -> tuple[str, str, str]:
    """The context, the question and its id. Fault for one that is missing, blank or no text."""
    return _text(paragraph, "context"), _text(found, "question"), _text(found, "id")


def answers_of(found: object, context: str) -> list[tuple[Answer, How]]:
    """The answers of a question at their places; none if it has none. Fault for one that has no place."""
    assert isinstance(found, dict)
    is_impossible = found.get("is_impossible")
    if not isinstance(is_impossible, bool | None):
        raise Fault("missing_key", "is_impossible is neither true nor false")
    given = _pairs(found.get("answers", [] if is_impossible else None))
    if is_impossible is not None and is_impossible == bool(given):
        raise Fault("contradiction", f"is_impossible is {is_impossible} with {len(given)} answers")
    return [_locate(context, text, start) for text, start in given]


def _text(holder: object, key: str) -> str:
    value = holder.get(key) if isinstance(holder, dict) else None
    if key == "id" and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise Fault("missing_key", f"{key} is " + ("not there" if value is None else "not a string"))
    if not value.strip():
        raise Fault("blank", f"{key} is blank")
    return _unicode(value)


def _unicode(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Fault("no_unicode", "half a surrogate pair is no text") from None
    return text


def _pairs(answers: object) -> list[tuple[str, object]]:
    """(text, start) of answers in any of their usual forms; a start that is not said is None."""
    if isinstance(answers, dict):  # {"text": [...], "answer_start": [...]}
        texts, starts = answers.get("text"), answers.get("answer_start")
        if not (isinstance(texts, list) and isinstance(starts, list) and len(texts) == len(starts)):
            raise Fault("missing_key", "answers has no lists text and answer_start of one length")
        answers = [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]
    if not isinstance(answers, list):
        raise Fault("missing_key", "answers is " + ("not there" if answers is None else "not a list"))
    return [
        (answer, None) if isinstance(answer, str) else (_text(answer, "text"), answer.get("answer_start"))
        for answer in answers
    ]


def _locate(context: str, text: str, start: object) -> tuple[Answer, How]:
    """The answer at its place, and how it was found: `said`, `bytes` or `repaired`."""
    if not _unicode(text).strip():
        raise Fault("blank", "an answer is blank")
    place = start if isinstance(start, int) and not isinstance(start, bool) and start >= 0 else None
    if place is not None and context.startswith(text, place):
        return Answer(text, place), "said"
    first = context.find(text)
    if first < 0:
        raise Fault("absent_answer", f"the answer {shown(text)[:60]!r} is not in the context")
    if context.find(text, first + 1) < 0:
        in_bytes = place is not None and len(context[:first].encode()) == place
        return Answer(text, first), "bytes" if in_bytes else "repaired"
    if place is not None:
        before = context.encode()[:place]
        if context.encode().startswith(text.encode(), place):
            return Answer(text, len(before.decode())), "bytes"
        found = f"is not at {place}, but at several places"
    else:
        found = "is at several places, and answer_start does not say at which"
    raise Fault("ambiguous_answer", f"the answer {shown(text)[:60]!r} {found}")
