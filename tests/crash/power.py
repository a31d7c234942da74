"""Every state a disk may be in after a power cut, from a recorded run: what was not synced may be lost.

The model is harsher than the file systems in use, which keep more order than POSIX promises:

- Bytes are safe once their file is synced after they were written. Unsynced bytes of a file may all be there,
  or all but a part of the last write, or none, or the file has its length and zeros in their place.
- A name (created, renamed, removed) is safe once its folder is synced after that; a rename from one folder to
  another once both are. Syncing a file does not make its name safe.
- Unsynced changes of names may be there or not in any combination, also within one folder, but in order where
  they concern the same name. A rename is never half done.

After ALICE (Pillai et al. 2014, "All File Systems Are Not Created Equal", OSDI), whose abstract persistence
model this is for a file system without any order among unsynced operations.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .seccomp import Call, Watch

ROOT = 0
Entry = tuple[int, str]
"""(number of the folder, name)"""


@dataclass(frozen=True)
class _Names:
    """A change of names that happens at once: entry -> the number of what it leads to, None if to nothing."""

    at: int
    entries: Mapping[Entry, int | None]


@dataclass(frozen=True)
class _Data:
    """A write, or (without content) a cut to the length `offset`."""

    at: int
    offset: int
    content: bytes | None


@dataclass(frozen=True)
class State:
    """What a power cut before the call number `at` left: path -> content, None for a folder."""

    at: int
    files: Mapping[str, bytes | None]

    def write(self, folder: Path) -> None:
        """Put it into a new folder."""
        folder.mkdir()
        for path, content in self.files.items():
            if content is None:
                (folder / path).mkdir()
            else:
                (folder / path).write_bytes(content)


class Disk:
    """A folder whose content is safe at first, and what was then done to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)
        self._numbers = itertools.count(ROOT + 1)
        self._first: dict[Entry, int] = {}
        self._content: dict[int, bytes] = {}
        self._is_folder = {ROOT}
        self.num_calls = 0
        self._changes: list[_Names] = []
        self._data: dict[int, list[_Data]] = {}
        self._syncs: dict[int, list[int]] = {}
        numbers = {".": ROOT}
        for path in sorted(folder.rglob("*")):
            relative = path.relative_to(folder)
            number = numbers[str(relative)] = next(self._numbers)
            self._first[numbers[str(relative.parent)], path.name] = number
            if path.is_dir():
                self._is_folder.add(number)
            else:
                self._content[number] = path.read_bytes()
        self._now = dict(self._first)
        self._known: dict[tuple[int, int, int, str], bytes] = {}

    def record(self, watch: Watch, call: Call) -> None:
        """Note what a call is about to do; one that will fail does nothing."""
        at, self.num_calls = self.num_calls, self.num_calls + 1
        entry = self._entry(call.path)
        number = self._now.get(entry) if entry else (ROOT if call.path == self.folder else None)
        match call.kind:
            case "create":
                self._create(at, entry, number, call.size)
            case "mkdir" if entry and number is None:
                number = next(self._numbers)
                self._is_folder.add(number)
                self._change(at, {entry: number})
            case "unlink" if entry and number is not None:
                self._change(at, {entry: None})
            case "rmdir" if entry and number is not None:
                if number not in {folder for folder, _ in self._now}:
                    self._change(at, {entry: None})
            case "rename" if entry and number is not None:
                target = self._entry(call.target)
                if target is not None:
                    self._change(at, {entry: None, target: number})
            case "write" if number is not None:
                place, content = watch.place(call), watch.content(call)
                if content:
                    self._data.setdefault(number, []).append(_Data(at, place, content))
            case "truncate" if number is not None:
                self._data.setdefault(number, []).append(_Data(at, call.size, None))
            case "sync" if number is not None:
                self._syncs.setdefault(number, []).append(at)
            case "link" | "symlink":
                raise NotImplementedError(call.kind)

    def current(self) -> dict[str, bytes | None]:
        """What the disk holds if nothing is lost."""
        return self._tree(self._now, {n: self._whole(n) for n in {*self._content, *self._data}})

    def is_right(self) -> bool:
        """Whether the folder is what was recorded of it; writes to mapped memory are not."""
        real = {
            path.relative_to(self.folder).as_posix(): None if path.is_dir() else path.read_bytes()
            for path in Path(self.folder).rglob("*")
        }
        return self.current() == real

    def states(self, at: int, most: int, generator: random.Random) -> Iterator[State]:
        """The states after a cut before call number `at`; a sample of `most` if there are more."""
        changes = [change for change in self._changes if change.at < at]
        safe = self._safe(changes, at)
        open_changes = [change for change in changes if change not in safe]
        open_files = [n for n, data in self._data.items() if any(self._is_open(n, d, at) for d in data)]
        choices = [(False, True)] * len(open_changes) + [_LOSSES] * len(open_files)
        for chosen in _product(choices, most, generator):
            done, losses = chosen[: len(open_changes)], chosen[len(open_changes) :]
            taken = {c.at for c, is_done in zip(open_changes, done, strict=True) if is_done}
            if not _is_in_order(open_changes, taken):
                continue
            names = dict(self._first)
            for change in changes:
                if change in safe or change.at in taken:
                    _apply(names, change)
            lossy = dict(zip(open_files, losses, strict=True))
            contents = {n: self._after(n, at, lossy.get(n, "whole")) for n in {*self._content, *self._data}}
            yield State(at, self._tree(names, contents))

    def _create(self, at: int, entry: Entry | None, number: int | None, flags: int) -> None:
        if number is None:
            if entry is not None and flags & os.O_CREAT:
                number = next(self._numbers)
                self._content[number] = b""
                self._change(at, {entry: number})
        elif flags & os.O_TRUNC and not flags & os.O_EXCL:
            self._data.setdefault(number, []).append(_Data(at, 0, None))

    def _change(self, at: int, entries: dict[Entry, int | None]) -> None:
        change = _Names(at, entries)
        self._changes.append(change)
        _apply(self._now, change)

    def _entry(self, path: str) -> Entry | None:
        """(folder, name) of a path, if its folder is there."""
        relative = os.path.relpath(path, self.folder) if path else ""
        if relative in ("", ".") or relative.startswith(".."):
            return None
        *parents, name = relative.split("/")
        folder = ROOT
        for parent in parents:
            if (folder, parent) not in self._now:
                return None
            folder = self._now[folder, parent]
        return folder, name

    def _safe(self, changes: list[_Names], at: int) -> list[_Names]:
        """The changes whose folders were synced afterwards, and those that these come after."""
        safe: list[_Names] = []
        needed: set[Entry] = set()
        for change in reversed(changes):
            is_synced = all(self._is_synced(folder, change.at, at) for folder, _ in change.entries)
            if is_synced or needed & change.entries.keys():
                safe.append(change)
                needed |= change.entries.keys()
        return safe

    def _is_synced(self, number: int, since: int, until: int) -> bool:
        return any(since < sync < until for sync in self._syncs.get(number, ()))

    def _is_open(self, number: int, data: _Data, at: int) -> bool:
        return data.at < at and not self._is_synced(number, data.at, at)

    def _whole(self, number: int) -> bytes:
        return self._after(number, self.num_calls, "whole")

    def _after(self, number: int, at: int, loss: str) -> bytes:
        done = [data for data in self._data.get(number, ()) if data.at < at]
        unsynced = [data for data in done if self._is_open(number, data, at)]
        key = number, len(done), len(unsynced), loss
        if key not in self._known:
            self._known[key] = self._lossy(number, done, unsynced, loss)
        return self._known[key]

    def _lossy(self, number: int, done: list[_Data], unsynced: list[_Data], loss: str) -> bytes:
        content = bytearray(self._content.get(number, b""))
        for data in done:
            if loss == "lost" and data in unsynced:
                break
            is_last = bool(unsynced) and data is unsynced[-1]
            if data.content is None:
                if not (loss == "part" and is_last):
                    content[data.offset :] = bytes(max(0, data.offset - len(content)))
                continue
            written = data.content
            if loss == "part" and is_last:
                written = written[: len(written) // 2]
            if loss == "zeros" and data in unsynced:
                written = bytes(len(written))
            content.extend(bytes(max(0, data.offset - len(content))))
            content[data.offset : data.offset + len(written)] = written
        return bytes(content)

    def _tree(self, names: Mapping[Entry, int], contents: Mapping[int, bytes]) -> dict[str, bytes | None]:
        """What can be reached from the root."""
        below: dict[int, list[tuple[str, int]]] = {}
        for (folder, name), number in names.items():
            below.setdefault(folder, []).append((name, number))
        found: dict[str, bytes | None] = {}

        def visit(folder: int, path: str) -> None:
            for name, number in sorted(below.get(folder, ())):
                found[path + name] = None if number in self._is_folder else contents[number]
                if number in self._is_folder:
                    visit(number, f"{path}{name}/")

        visit(ROOT, "")
        return found


_LOSSES = ("lost", "part", "zeros", "whole")


def _apply(names: dict[Entry, int], change: _Names) -> None:
    for entry, number in change.entries.items():
        if number is None:
            names.pop(entry, None)
        else:
            names[entry] = number


def _is_in_order(changes: list[_Names], taken: set[int]) -> bool:
    """Whether each change that was taken has all before it that concern the same names."""
    missing: set[Entry] = set()
    for change in changes:
        if change.at not in taken:
            missing |= change.entries.keys()
        elif missing & change.entries.keys():
            return False
    return True


def _product(
    choices: list[tuple[object, ...]], most: int, generator: random.Random
) -> Iterator[tuple[object, ...]]:
    """All combinations; if there are more than `most`, the first of all, the last of all, and a sample."""
    number = 1
    for each in choices:
        number *= len(each)
    if number <= most:
        yield from itertools.product(*choices)
        return
    yield tuple(each[0] for each in choices)
    yield tuple(each[-1] for each in choices)
    for _ in range(most - 2):
        # Mostly one side or the other: what breaks things is often a single change that is missing or there.
        share = generator.choice((0.1, 0.5, 0.9))
        yield tuple(
            each[-1] if generator.random() < share else generator.choice(each[:-1]) for each in choices
        )
