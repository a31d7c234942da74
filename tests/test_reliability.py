"""docs/reliability.md names for every fault the tests that hold what is promised, and all of them."""

from __future__ import annotations

import ast
import re

import pytest
from conftest import REPOSITORY
from test_docs import PAGES

PAGE = REPOSITORY / "docs/reliability.md"
NUM_FAULTS = 55

_NAME = re.compile(r"test_faults?_((?:\d\d_(?:and_)?)+)")
_TORCHRUN = re.compile(r"^\s*(?:\$ )?(?:\w+=\S+ )*torchrun .*$", flags=re.M)


def faults_of(test: str) -> set[int]:
    """The rows a test is named for: 3 and 7 for `test_faults_03_and_07_...`."""
    found = _NAME.match(test)
    return {int(number) for number in re.findall(r"\d\d", found[1])} if found else set()


@pytest.fixture(scope="module")
def tests() -> set[str]:
    """The names of all tests of faults."""
    trees = [
        ast.parse(path.read_text(encoding="utf-8")) for path in (REPOSITORY / "tests").rglob("test_*.py")
    ]
    names = {node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    return {name for name in names if faults_of(name)}


@pytest.fixture(scope="module")
def table() -> dict[int, set[str]]:
    """Row -> the tests it names."""
    rows = re.findall(r"^\| (\d+) \| .+? \| (.*) \|$", PAGE.read_text(encoding="utf-8"), flags=re.M)
    assert [int(number) for number, _ in rows] == list(range(1, NUM_FAULTS + 1))
    return {int(number): set(re.findall(r"`(test_\w+)`", cell)) for number, cell in rows}


def test_names_say_which_faults_they_are_of() -> None:
    assert faults_of("test_fault_20_x_30") == {20}
    assert faults_of("test_faults_03_07_and_08_x") == {3, 7, 8}
    assert faults_of("test_fault_16_and_53_x") == {16, 53}
    assert faults_of("test_x") == set()


def test_every_fault_has_a_test_that_exists(table: dict[int, set[str]], tests: set[str]) -> None:
    assert all(table.values())
    for number, named in table.items():
        assert named <= tests, f"row {number}: {sorted(named - tests)}"


def test_every_test_of_a_fault_is_named_in_its_rows(table: dict[int, set[str]], tests: set[str]) -> None:
    missing = [
        (number, test) for test in sorted(tests) for number in faults_of(test) if test not in table[number]
    ]
    assert not missing


def _stays_here(line: str) -> bool:
    return "--standalone" in line or "--nnodes" in line


def test_fault_54_examples_of_torchrun_meet_on_this_machine() -> None:
    assert not _stays_here("torchrun --nproc-per-node 2 -m mlmctl pretrain c.txt")
    assert _stays_here("torchrun --standalone --nproc-per-node 2 -m mlmctl pretrain c.txt")
    for page in PAGES:
        for line in _TORCHRUN.findall(page.read_text(encoding="utf-8")):
            assert _stays_here(line), f"{page.name}: {line}"
    assert "rendezvous" in PAGE.read_text(encoding="utf-8")
