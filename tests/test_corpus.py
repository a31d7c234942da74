"""From names to files: what is taken, in which order, and what is refused."""

from __future__ import annotations

import glob
import io
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlmctl.artifact import publish
from mlmctl.errors import DataError, MlmctlError, UsageError
from mlmctl.events import Event, Note, silent
from mlmctl.manifest import Header
from mlmctl.storage import sha256_file
from mlmctl.text.corpus import fingerprint, resolve


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.txt", "a.jsonl", "deep/c.txt.gz", "deep/d.md", "deep/notes.pdf", ".hidden.txt", "B.TXT"):
        path = tmp_path / "corpus" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "corpus"


def refused(path: str | Path, tmp_path: Path) -> MlmctlError:
    with pytest.raises((DataError, UsageError)) as caught:
        resolve([str(path)], tmp_path / "spool", silent)
    return caught.value


def test_a_folder_is_searched_in_byte_order_and_the_rest_is_told(folder: Path, tmp_path: Path) -> None:
    told: list[Event] = []
    sources = resolve([str(folder)], tmp_path / "spool", told.append)
    names = [source.path.relative_to(folder).as_posix() for source in sources]
    assert names == ["B.TXT", "a.jsonl", "b.txt", "deep/c.txt.gz", "deep/d.md"]
    assert [source.compression for source in sources] == ["", "", "", "gz", ""]
    assert [source.format for source in sources] == ["text", "jsonl", "text", "text", "text"]
    assert [source.size for source in sources] == [5, 7, 5, 13, 9]
    assert isinstance(told[0], Note)
    assert "2 others" in told[0].message


def test_run_folders_and_artifacts_in_a_folder_are_passed_over(folder: Path, tmp_path: Path) -> None:
    for name in ("run/.lock", "run/curve/curve.csv", "deep/model/README.md", "theirs/manifest.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    with publish(folder / "deep/model/mine", Header("export", {})) as draft:
        (draft.path / "vocab.txt").write_text("a")
    (folder / "theirs/e.txt").write_text("e")
    told: list[Event] = []
    sources = resolve([str(folder)], tmp_path / "spool", told.append)
    names = [source.path.relative_to(folder).as_posix() for source in sources]
    assert names == [
        "B.TXT", "a.jsonl", "b.txt", "deep/c.txt.gz", "deep/d.md", "deep/model/README.md", "theirs/e.txt"
    ]  # fmt: skip
    for name in ("run", "deep/model/mine"):
        assert f"{folder / name} is passed over" in str(told)
    [named] = resolve([str(folder / "deep/model/mine")], tmp_path / "spool", silent)
    assert named.path.name == "vocab.txt"


@pytest.mark.parametrize("pattern", ["", "*", "**", "[br]*", "**/*.txt"])
def test_a_star_does_not_take_the_run_folder(
    pattern: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a shell has put the names for it or not."""
    monkeypatch.chdir(tmp_path)
    for name in ("b.txt", "run/.lock", "run/curve/notes.txt", "run/x.txt"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(name)
    told: list[Event] = []
    [source] = resolve([pattern] if pattern else ["b.txt", "run"], Path("run/.spool"), told.append)
    assert source.name == "b.txt"
    assert [event.message for event in told if isinstance(event, Note) and "run is passed" in event.message]
    [named] = resolve(["run/*.txt"], Path("run/.spool"), silent)
    assert named.name == "run/x.txt"


def test_where_all_is_of_run_folders_the_error_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("run/.lock", "run2/.lock"):
        Path(name).parent.mkdir()
        Path(name).touch()
    for paths in (["run"], ["run", "run2"], ["run*"]):
        with pytest.raises(DataError, match="run folder") as caught:
            resolve(paths, tmp_path / "spool", silent)
        assert caught.value.code == "data.no-text"


def test_a_link_to_a_folder_is_passed_over_and_told(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "e.txt").write_text("e")
    (folder / "deep" / "link").symlink_to(tmp_path / "elsewhere")
    told: list[Event] = []
    names = [source.path.name for source in resolve([str(folder)], tmp_path / "spool", told.append)]
    assert "e.txt" not in names
    assert f"{folder / 'deep/link'} is passed over: it is a link" in str(told)
    both = resolve([str(folder), str(folder / "deep/link")], tmp_path / "spool", silent)
    assert [source.path.name for source in both] == [*names, "e.txt"]


def test_the_order_is_stable_whatever_the_file_system_says(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def names() -> list[str]:
        sources = resolve([str(folder), str(folder.parent / "*")], tmp_path / "spool", silent)
        return [source.name for source in sources]

    expected, walk, glob_ = names(), os.walk, glob.glob
    generator = random.Random(0)

    def shuffled_walk(top: str, **options: Any) -> Iterator[tuple[str, list[str], list[str]]]:
        for parent, folders, files in walk(top, **options):
            generator.shuffle(folders)
            generator.shuffle(files)
            yield parent, folders, files

    monkeypatch.setattr(os, "walk", shuffled_walk)
    monkeypatch.setattr(glob, "glob", lambda *a, **o: generator.sample(found := glob_(*a, **o), len(found)))
    assert all(names() == expected for _ in range(20))


def test_globs_and_repeated_files(folder: Path, tmp_path: Path) -> None:
    told: list[Event] = []
    sources = resolve([str(folder / "*.txt"), str(folder / "b.txt")], tmp_path / "spool", told.append)
    assert [source.path.name for source in sources] == ["b.txt"]
    assert "twice" in str(told)
    assert refused(folder / "*.nothing", tmp_path).exit_code == 2


def test_standard_input_is_spooled_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spooled = []
    for content in (b"one\n", b"one\n", b"two\n"):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        [source] = resolve(["-"], tmp_path / "spool", silent)
        assert source.path.read_bytes() == content
        assert source.size == 4
        spooled.append(source.path)
    assert spooled[0] == spooled[1] != spooled[2]
    assert len(list((tmp_path / "spool").iterdir())) == 2


@pytest.mark.parametrize(
    ("content", "form"),
    [
        (b'{"text": "a"}\n', "jsonl"),
        (b'\xef\xbb\xbf{"text": "a"}', "jsonl"),
        (b'\n \n{"text": "caf\xe9"}\nb\n', "jsonl"),
        (b'{"text": "' + b"a" * 2**21 + b'"}\n', "jsonl"),
        (b'{a brace}\n{"text": "a"}\n', "text"),
        (b'a\n{"text": "a"}\n', "text"),
        (b"[1]\n", "text"),
        (b"\n\n", "text"),
        (b"", "text"),
    ],
)
def test_standard_input_may_be_json_lines(
    content: bytes, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    told: list[Event] = []
    [source] = resolve(["-"], tmp_path / "spool", told.append)
    assert (source.format, source.path.read_bytes()) == (form, content)
    assert ("JSON Lines" in str(told)) == (form == "jsonl")
    [again] = resolve([str(source.path)], tmp_path / "spool", silent)  # as the run folder remembers it
    assert again.format == form


def test_fingerprint_knows_content_and_order_but_no_names(tmp_path: Path) -> None:
    for name, content in {"a.txt": "1", "b.txt": "2", "c.txt": "1", "c.jsonl": "1"}.items():
        (tmp_path / name).write_text(content)

    def of(*names: str) -> str:
        sources = resolve([str(tmp_path / name) for name in names], tmp_path / "spool", silent)
        return fingerprint(sources, sha256_file)

    assert of("a.txt", "b.txt") == of("c.txt", "b.txt")
    assert of("a.txt", "b.txt") != of("b.txt", "a.txt")
    assert of("a.txt") != of("c.jsonl")


def test_fault_30_missing_empty_dangling_and_devices(tmp_path: Path) -> None:
    assert refused(tmp_path / "missing.txt", tmp_path).exit_code == 2
    (tmp_path / "empty").mkdir()
    error = refused(tmp_path / "empty", tmp_path)
    assert (error.exit_code, error.code) == (4, "data.no-text")
    (tmp_path / "link.txt").symlink_to(tmp_path / "gone.txt")
    error = refused(tmp_path / "link.txt", tmp_path)
    assert (error.exit_code, error.code) == (4, "data.dangling-link")
    (tmp_path / "circle.txt").symlink_to("circle.txt")
    error = refused(tmp_path / "circle.txt", tmp_path)
    assert (error.exit_code, error.code) == (4, "data.dangling-link")
    assert refused(tmp_path / "circle.txt" / "a.txt", tmp_path).exit_code == 2
    assert refused("/dev/null", tmp_path).exit_code == 4
    os.mkfifo(tmp_path / "pipe.txt")
    error = refused(tmp_path / "pipe.txt", tmp_path)
    assert error.exit_code == 4
    assert "-" in str(error.hint)


def test_fault_51_archives_are_refused_by_name(tmp_path: Path) -> None:
    for name in ("a.zip", "a.tar", "a.tar.gz", "a.tar.zst", "a.7z", "a.tgz", "a.txz"):
        (tmp_path / name).write_bytes(b"x")
        assert refused(tmp_path / name, tmp_path).code == "data.archive"
    (tmp_path / "a.bin").write_bytes(b"x")
    error = refused(tmp_path / "a.bin", tmp_path)
    assert error.code == "data.unknown-suffix"
    assert ".jsonl" in error.message
    assert "text or JSON Lines can be piped" in str(error.hint)


def test_fault_55_a_hub_like_name_says_how_one_is_written(tmp_path: Path) -> None:
    assert "hf://datasets/owner/name" in str(refused("owner/name", tmp_path).hint)
    assert "hf://" not in str(refused("data/missing.txt", tmp_path).hint)


def test_fault_16_odd_names(tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path) + b"/odd \xff\n\x1b[31m.txt"
    with open(odd, "wb") as file:
        file.write(b"text")
    [source] = resolve([os.fsdecode(odd)], tmp_path / "spool", silent)
    assert source.name.endswith(r"odd \udcff\n\x1b[31m.txt")
    assert source.path.read_bytes() == b"text"
    assert refused("a\0b", tmp_path).exit_code == 2
