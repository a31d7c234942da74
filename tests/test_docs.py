"""The documentation says what is true: commands exist, the reference is the help, links lead somewhere."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

PAGES = [
    REPOSITORY / "README.md",
    *sorted((REPOSITORY / "docs").rglob("*.md")),
    REPOSITORY / "CONTRIBUTING.md",
]
OPTION = re.compile(r"--[a-z][a-z-]+")


@pytest.fixture(scope="module")
def reference() -> dict[str, str]:
    """Command -> its help, as `make docs` writes it."""
    text = (REPOSITORY / "docs/commands.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^## `mlmctl (.+?)`\n\n```\n(.+?)\n```", text, flags=re.M | re.S))


def test_the_reference_is_what_the_commands_say() -> None:
    made = subprocess.run(
        [sys.executable, REPOSITORY / "scripts/command_reference.py"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert made.stdout == (REPOSITORY / "docs/commands.md").read_text(encoding="utf-8"), "run `make docs`"


def test_every_command_is_in_the_reference(reference: dict[str, str]) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "mlmctl", "--help"], capture_output=True, text=True, check=True
    ).stdout
    commands = set(re.findall(r"^│ ([a-z]+) {2,}", shown, flags=re.M)) - {"recipe"}
    assert commands
    assert commands == {name for name in reference if not name.startswith("recipe ")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_in_the_pages_exist_with_their_options(page: Path, reference: dict[str, str]) -> None:
    text = page.read_text(encoding="utf-8")
    for block in re.findall(r"```\n(.+?)```", text, flags=re.S):
        for line in block.splitlines():
            for call in re.findall(r"mlmctl ([a-z][^|#`]*)", line):
                words = shlex.split(call)
                name = " ".join(words[:2]) if words[0] == "recipe" else words[0]
                assert name in reference, f"{page.name}: mlmctl {name}"
                for option in OPTION.findall(call):
                    assert option in reference[name], f"{page.name}: mlmctl {name} {option}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name}: {target}"
