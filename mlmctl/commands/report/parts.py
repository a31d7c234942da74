"""What a report is made of: a few kinds of parts, plain values that the template knows how to show.

Their texts are shown as they are and never read as HTML, whatever they hold. What comes from the data is
left out by whoever makes a part, not here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True)
class Line:
    """A sentence, and perhaps the command that changes what it says."""

    kind: ClassVar[str] = "line"
    text: str
    command: str = ""


@dataclass(frozen=True)
class Facts:
    """Names with their values."""

    kind: ClassVar[str] = "facts"
    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Table:
    """Rows of cells; all but the first `num_texts` columns hold numbers."""

    kind: ClassVar[str] = "table"
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    num_texts: int = 1
    is_folded: bool = False


@dataclass(frozen=True)
class Figure:
    """A picture, drawn by us, and what its lines are."""

    kind: ClassVar[str] = "figure"
    title: str
    svg: str
    legend: Sequence[tuple[str, str]] = ()
    """(class of its look in the style sheet, name)."""
    note: str = ""


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix: counts [true label, predicted label]."""

    kind: ClassVar[str] = "matrix"
    title: str
    labels: Sequence[str]
    counts: Sequence[Sequence[int]]

    @property
    def shares(self) -> list[list[float]]:
        """Of each true label, 0 to 1."""
        return [[count / max(1, sum(row)) for count in row] for row in self.counts]


@dataclass(frozen=True)
class Passages:
    """Running texts in which some places are marked: each a list of (text, class of the mark)."""

    kind: ClassVar[str] = "passages"
    title: str
    texts: Sequence[Sequence[tuple[str, str]]]


@dataclass(frozen=True)
class Fillings:
    """Sentences with a hidden word: (left, right, truth, [(guess, share)])."""

    kind: ClassVar[str] = "fillings"
    rows: Sequence[tuple[str, str, str, Sequence[tuple[str, str]]]]


@dataclass(frozen=True)
class Mistakes:
    """Texts that were answered wrong, each with (name, value) pairs that say how."""

    kind: ClassVar[str] = "mistakes"
    title: str
    rows: Sequence[tuple[str, Sequence[tuple[str, str]]]]


@dataclass(frozen=True)
class Group:
    """Parts that belong together under a heading."""

    kind: ClassVar[str] = "group"
    title: str
    parts: Sequence[Part]


Part = Line | Facts | Table | Figure | Matrix | Passages | Fillings | Mistakes | Group


@dataclass(frozen=True)
class Section:
    """A chapter of the report."""

    id: str
    title: str
    parts: Sequence[Part] = field(default_factory=list)
    missing: Line | None = None
    """Said in place of the chapter by a run that has nothing for it yet."""
