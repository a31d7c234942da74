"""The model of what a power cut leaves, on a few calls made by hand."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from .power import Disk
from .seccomp import Call


class Hand:
    """Records calls on a folder that holds `old` with the content `before`."""

    def __init__(self, folder: Path) -> None:
        (folder / "old").write_bytes(b"before")
        self.folder = folder
        self.disk = Disk(folder)

    def place(self, call: Call) -> int:
        return 0

    def content(self, call: Call) -> bytes:
        return b"abcd"

    def do(self, kind: str, path: str = "", target: str = "") -> None:
        below = [str(self.folder / name).rstrip("/") for name in (path, target)]
        flags = os.O_CREAT | os.O_TRUNC if kind == "create" else 0
        self.disk.record(self, Call(0, kind, *below, size=flags))  # type: ignore[arg-type]

    def states(self) -> list[dict[str, bytes | None]]:
        """What may be there after all calls, without what is always there."""
        found = self.disk.states(self.disk.num_calls, 10_000, random.Random(0))
        return [dict(state.files) for state in found]


@pytest.fixture
def hand(tmp_path: Path) -> Hand:
    return Hand(tmp_path)


def test_a_file_that_was_never_synced_may_be_anything(hand: Hand) -> None:
    hand.do("create", "new")
    hand.do("write", "new")
    found = {state.get("new", b"missing") for state in hand.states()}
    assert found == {b"missing", b"", b"ab", b"\0\0\0\0", b"abcd"}


def test_a_synced_file_has_its_bytes_but_perhaps_not_its_name(hand: Hand) -> None:
    hand.do("create", "new")
    hand.do("write", "new")
    hand.do("sync", "new")
    assert {state.get("new") for state in hand.states()} == {None, b"abcd"}
    hand.do("sync")
    assert {state.get("new") for state in hand.states()} == {b"abcd"}


def test_a_file_renamed_before_it_was_synced_may_replace_a_good_one_by_nothing(hand: Hand) -> None:
    hand.do("create", "new")
    hand.do("write", "new")
    hand.do("rename", "new", "old")
    assert {state["old"] for state in hand.states()} == {b"before", b"", b"ab", b"\0\0\0\0", b"abcd"}
    hand.do("sync", "old")
    hand.do("sync")
    assert hand.states() == [{"old": b"abcd"}]


def test_changes_of_other_names_have_no_order_and_those_of_one_name_have(hand: Hand) -> None:
    hand.do("mkdir", "a")
    hand.do("mkdir", "b")
    hand.do("rename", "a", "c")
    names = {frozenset(state) - {"old"} for state in hand.states()}
    assert names == {frozenset(each) for each in ("", "a", "b", "ab", "c", "bc")}


def test_a_rename_between_folders_needs_both_to_be_synced(hand: Hand) -> None:
    for name in ("a", "b"):
        hand.do("mkdir", name)
    hand.do("sync")
    hand.do("rename", "old", "a/new")
    hand.do("sync", "a")
    assert sorted(sorted(state) for state in hand.states()) == [["a", "a/new", "b"], ["a", "b", "old"]]
    hand.do("sync")
    assert [sorted(state) for state in hand.states()] == [["a", "a/new", "b"]]


def test_what_is_below_a_folder_that_was_not_synced_is_lost_with_it(hand: Hand) -> None:
    hand.do("mkdir", "a")
    hand.do("create", "a/new")
    hand.do("sync", "a/new")
    hand.do("sync", "a")
    assert sorted(sorted(state) for state in hand.states()) == [["a", "a/new", "old"], ["old"]]


def test_what_is_removed_may_come_back_until_its_folder_is_synced(hand: Hand) -> None:
    hand.do("unlink", "old")
    assert {frozenset(state) for state in hand.states()} == {frozenset(), frozenset({"old"})}
    hand.do("sync")
    assert hand.states() == [{}]
