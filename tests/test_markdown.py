"""Text from anywhere in Markdown: a parser reads what was written, and no markup."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from mlmctl.commands.markdown import plain, table

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
MARKS = st.text(st.sampled_from("_*~#+-=:.)(19 aé|`\\[]<>&;!$/w\n"), min_size=1, max_size=12)


def read(markdown: str) -> list[str]:
    """The texts of its blocks; an error if anything in one is more than text."""
    blocks = [token for token in PARSER.parse(markdown) if token.type == "inline"]
    assert {child.type for block in blocks for child in block.children or ()} <= {"text"}, markdown
    return ["".join(child.content for child in block.children or ()) for block in blocks]


@given(MARKS | st.text(min_size=1, max_size=12))
def test_no_text_is_markup_in_a_line_an_item_a_heading_or_a_cell(text: str) -> None:
    escaped = plain(text)
    meant = [said] if (said := "".join(read(f"a {escaped}")).removeprefix("a").strip()) else []
    for markdown in (escaped, f"- {escaped}", f"# {escaped}", f"above\n{escaped}"):
        tokens = [token.type for token in PARSER.parse(markdown)]
        assert not {"hr", "heading_open", "ordered_list_open"} & set(tokens) - {
            "heading_open" if markdown.startswith("# ") else ""
        }, markdown
        assert tokens.count("bullet_list_open") == markdown.startswith("- "), markdown
    assert read(escaped) == meant
    assert read(f"- {escaped}") == meant
    assert "".join(read(f"# {escaped}")) == "".join(meant)
    assert read("\n".join(table(("of",), [(text,)]))) == ["of", *(meant or [""])]


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
