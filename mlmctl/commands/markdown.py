"""Text from anywhere in GitHub's Markdown: it says what it says and never becomes markup."""

from __future__ import annotations

import html
from collections.abc import Collection, Iterable, Iterator, Sequence

_JOINERS = "\u200c\u200d"
"""Not printable, and yet part of words and emoji."""


def plain(text: str) -> str:
    """Text, in one line, that means nothing in Markdown but itself."""
    visible = "".join(c if c.isprintable() or c in _JOINERS else " " for c in text)
    escaped = html.escape(" ".join(visible.split()), quote=False)
    return "".join(f"\\{c}" if c in "|\\`*[]" else c for c in escaped)


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: Collection[int] = ()
) -> Iterator[str]:
    """The lines of a table of plain texts; the columns of these `numbers` are set to the right."""
    yield _line([plain(column) for column in columns])
    yield _line(["---:" if number in numbers else "---" for number in range(len(columns))])
    for row in rows:
        yield _line([plain(cell) for cell in row])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
