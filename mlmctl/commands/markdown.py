"""Text from anywhere in GitHub's Markdown: it says what it says and never becomes markup.

After Markdown is read, GitHub makes links of mail addresses and, in comments, of names after @ and numbers
after #. No escape keeps it from that, and the text stays what it is.
"""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Iterable, Iterator, Sequence

_JOINERS = "\u200c\u200d"
"""Not printable, and yet part of words and emoji."""
_MARKUP = re.compile(
    r"""
      [\\`*|~$\[\]]
    | (?<![^\W_]) _     # one within a word, as in num_examples, means nothing
    | _ (?![^\W_])
    | (?<!\S) \#        # a heading, or the end of one
    | : (?=//)          # a link to what looks like one
    | (?<=www) \.
    """,
    re.VERBOSE,
)
_BEGINNING = re.compile(
    r"""^(
      \d{1,9} (?=[.)](\ |$))    # the number of a list
    | (?=[-+](\ |$))            # a list
    | (?=[-=:][-=:\ ]*$)        # a rule, or a line that makes something of the one above
    )""",
    re.VERBOSE,
)
"""What means something only where a line begins; the mark comes after it."""


def plain(text: str) -> str:
    """Text, in one line, that means nothing in Markdown but itself."""
    visible = "".join(c if c.isprintable() or c in _JOINERS else " " for c in text)
    escaped = html.escape(" ".join(visible.split()), quote=False)
    return _BEGINNING.sub(r"\1\\", _MARKUP.sub(r"\\\g<0>", escaped))


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
