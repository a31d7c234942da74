"""Text from anywhere in Markdown: a parser reads what was written, and no markup."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from mlmctl.commands.markdown import plain, table

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
MARKS = st.text(st.sampled_from("_*~#+-=:.)(19 aé|`\\[]<>&;!$/w\n"), max_size=12)
PRINTABLE = st.text(st.characters(exclude_categories=("C", "Z")), max_size=12)


def read(markdown: str) -> tuple[set[str], list[str]]:
    """The kinds of its blocks but for paragraphs, and their texts; an error for more than text in one."""
    tokens = PARSER.parse(markdown)
    parts = [token.children or [] for token in tokens if token.type == "inline"]
    assert {part.type for some in parts for part in some} <= {"text", "softbreak"}, markdown
    texts = ["".join(part.content or "\n" for part in some) for some in parts if some]
    return {token.tag for token in tokens} - {"", "p"}, texts


@given(MARKS | PRINTABLE)
def test_text_is_text_in_a_line_an_item_a_heading_and_a_cell(text: str) -> None:
    said = [line] if (line := " ".join(text.split())) else []
    escaped = plain(text)
    assert read(escaped) == (set(), said)
    assert read(f"- {escaped}") == ({"ul", "li"}, said)
    assert read(f"# {escaped}") == ({"h1"}, said)
    assert read(f"above\n{escaped}") == (set(), ["\n".join(["above", *said])])
    assert read("\n".join(table(("of",), [(text,)])))[1] == ["of", *said]


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("num_examples", "num_examples"),
        ("-0.15 (-0.2 to 0.1)", "-0.15 (-0.2 to 0.1)"),
        ("_a_ __b__", r"\_a\_ \_\_b\_\_"),
        ("~~a~~", r"\~\~a\~\~"),
        ("## a ##", r"\## a \##"),
        ("#1 C#", r"\#1 C#"),
        ("- a - b", r"\- a - b"),
        ("+ a", r"\+ a"),
        ("1. a 2. b", r"1\. a 2. b"),
        ("1.5", "1.5"),
        ("---", r"\---"),
        ("$a$", r"\$a\$"),
        ("https://a.b www.a.b", r"https\://a.b www\.a.b"),
    ],
)
def test_what_needs_no_escape_has_none(text: str, escaped: str) -> None:
    assert plain(text) == escaped
