"""Named entities: tags become spans, and two lists of spans precision, recall and F1.

The definitions are those of the CoNLL shared tasks' `conlleval`, as seqeval has them by default (and
against which they are tested): an entity counts only if its type and both its borders are right; a tag that
continues what did not begin (`I-` after `O`, or after another type) begins it; a quotient whose divisor is
zero is 0; macro F1 is the plain mean over the types that occur, as truth or as prediction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

OUTSIDE = "O"
UNTYPED = "_"
"""The type of an entity whose tags name none: a bare `B` or `I`."""

_PREFIXES = {prefix: prefix for prefix in "BIES"} | {"L": "E", "U": "S"}
"""Prefixes that open a tag, BILOU's under the names of IOBES: begin, inside, end, single."""


class Span(NamedTuple):
    """One entity: the words `start` to `end` (exclusive) of a sentence."""

    type: str
    start: int
    end: int


def parse(tag: str) -> tuple[str, str]:
    """(prefix, type) of a tag: one of B, I, E, S (L is E, U is S) and a name, or ("O", "").

    ValueError if it is no tag of IOB1, IOB2, IOBES or BILOU.
    """
    if tag == OUTSIDE:
        return OUTSIDE, ""
    prefix, dash, kind = tag.partition("-")
    if prefix not in _PREFIXES or (dash and not kind):
        raise ValueError(f"{tag!r} is not O, B-TYPE or I-TYPE (nor E-, S-, L-, U-)")
    return _PREFIXES[prefix], kind or UNTYPED


def spans(tags: Sequence[str]) -> list[Span]:
    """The entities that the tags of a sentence mean, in order; whichever scheme they are in.

    ValueError for what is no tag.
    """
    found: list[Span] = []
    open_type = ""  # of the entity that the next tag may continue
    for position, tag in enumerate(tags):
        prefix, kind = parse(tag)
        if prefix in "IE" and kind == open_type:
            found[-1] = found[-1]._replace(end=position + 1)
        elif prefix != OUTSIDE:
            found.append(Span(kind, position, position + 1))
        open_type = kind if prefix in "BI" else ""
    return found


def iob2(entities: Iterable[Span], num_words: int) -> list[str]:
    """The tags of a sentence with these entities: `B-` on the first word of each, `I-` on its others."""
    tags = [OUTSIDE] * num_words
    for kind, start, end in entities:
        tags[start:end] = [f"B-{kind}", *[f"I-{kind}"] * (end - start - 1)]
    return tags


def num_unbegun(tags: Sequence[str]) -> int:
    """How many entities of a sentence open with a tag that should continue one: a fault, or IOB1."""
    return sum(prefix in "IE" and not continues for prefix, continues in _with_what_went_before(tags))


def is_iob1(sentences: Iterable[Sequence[str]]) -> bool:
    """Whether every `B-` stands between two adjacent entities of one type, where alone IOB1 has it."""
    return all(
        prefix in "IO" or (prefix == "B" and continues)
        for tags in sentences
        for prefix, continues in _with_what_went_before(tags)
    )


def _with_what_went_before(tags: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """(prefix, whether the tag before could be continued by one of this type) of each tag."""
    before = ("", "")
    for tag in tags:
        prefix, kind = parse(tag)
        yield prefix, before[0] in ("B", "I") and before[1] == kind
        before = (prefix, kind)


@dataclass(frozen=True)
class Counts:
    """Entities: in the truth, predicted, and predicted rightly. Counts of parts add up."""

    num_entities: int = 0
    num_predicted: int = 0
    num_correct: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.num_entities + other.num_entities,
            self.num_predicted + other.num_predicted,
            self.num_correct + other.num_correct,
        )

    @property
    def precision(self) -> float:
        return self.num_correct / self.num_predicted if self.num_predicted else 0.0

    @property
    def recall(self) -> float:
        return self.num_correct / self.num_entities if self.num_entities else 0.0

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall; 0 if there is nothing to find and nothing found."""
        both = self.num_entities + self.num_predicted
        return 2 * self.num_correct / both if both else 0.0


def count(truth: Iterable[Sequence[Span]], predicted: Iterable[Sequence[Span]]) -> dict[str, Counts]:
    """The counts of every type that occurs, types sorted; both arguments hold one list a sentence.

    ValueError if they do not hold the same number of sentences.
    """
    true, guessed, correct = Counter[str](), Counter[str](), Counter[str]()
    for entities, guesses in zip(truth, predicted, strict=True):
        true.update(span.type for span in entities)
        guessed.update(span.type for span in guesses)
        correct.update(span.type for span in {*entities} & {*guesses})
    return {kind: Counts(true[kind], guessed[kind], correct[kind]) for kind in sorted({*true, *guessed})}


def micro(counts: Iterable[Counts]) -> Counts:
    """All types together."""
    return sum(counts, Counts())


def macro_f1(counts: Iterable[Counts]) -> float:
    """Mean F1 over the types; 0 for none."""
    scores = [each.f1 for each in counts]
    return sum(scores) / len(scores) if scores else 0.0
