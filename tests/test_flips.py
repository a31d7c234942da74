"""One flipped bit or a missing byte in any file of any artifact: every command that reads it refuses it."""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from commands import SMALL, Shell

from mlmctl.artifact import open_artifact
from mlmctl.errors import ArtifactError
from mlmctl.manifest import MANIFEST

STAGES = ("tokenizer", "mask/blocks", "mask/policy", "pretrain", "finetune/sentiment")
TESTED = ("evaluate/sentiment/test", "evaluate/pretrain/mlm")


@dataclass(frozen=True)
class Reader:
    """A command, and the artifacts of which it reads every file."""

    arguments: Callable[[Path], tuple[str | Path, ...]]
    reads: tuple[str, ...]


READERS = {
    "mask": Reader(lambda whole: ("mask", whole / "corpus.txt", *SMALL[2:6]), STAGES[:3]),
    "pretrain": Reader(lambda whole: ("pretrain", whole / "corpus.txt", *SMALL, "--steps", "2"), STAGES[:4]),
    "finetune": Reader(
        lambda whole: ("finetune", "--data", whole / "train.jsonl", "--set", "finetune.epochs=1"), STAGES[3:]
    ),
    "evaluate": Reader(lambda whole: ("evaluate", "--data", whole / "test.jsonl"), (STAGES[4], TESTED[0])),
    "evaluate mlm": Reader(lambda whole: ("evaluate", "--task", "mlm"), (*STAGES[1:4], TESTED[1])),
    "fill": Reader(lambda whole: ("fill", "the [MASK]"), (STAGES[3],)),
    "embed": Reader(lambda whole: ("embed",), (STAGES[3],)),
    "score": Reader(lambda whole: ("score",), (STAGES[3],)),
    "predict": Reader(lambda whole: ("predict",), (STAGES[4],)),
    "compare": Reader(lambda whole: ("compare", "{run}", whole / "run"), TESTED),
}


@pytest.fixture(scope="module")
def run(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(whole / "run", tmp_path_factory.mktemp("flips") / "run")


@pytest.fixture
def ask(
    whole: Path, run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], tuple[int, str]]:
    shell = Shell(capsys)
    monkeypatch.setattr("mlmctl.cli.use._lines", lambda: iter(["the quiet river"]))

    def asked(name: str) -> tuple[int, str]:
        arguments = [run if word == "{run}" else word for word in READERS[name].arguments(whole)]
        outcome = (
            shell(*arguments, "--threads", "1", "--run", run) if name != "compare" else shell(*arguments)
        )
        return outcome.code, outcome.err

    return asked


def damages(content: bytes) -> Iterator[bytes]:
    """First, middle or last bit flipped; cut to nothing, to one byte, to all but one."""
    last = len(content) - 1
    for at in sorted({0, last // 2, last}):
        yield content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
    yield from (content[:length] for length in sorted({0, 1, last}) if length < len(content))


def test_every_artifact_of_a_run_is_read_by_some_reader(run: Path) -> None:
    made = {
        path.parent.relative_to(run).as_posix() for path in run.rglob(MANIFEST) if ".work" not in path.parts
    }
    assert made == {name for reader in READERS.values() for name in reader.reads}


@pytest.mark.parametrize("name", READERS)
def test_fault_20_a_reader_refuses_every_damage_before_it_computes(
    name: str, run: Path, ask: Callable[[str], tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, err = ask(name)
    assert code == 0, err

    def computes(*arguments: object, **named: object) -> None:
        raise AssertionError("something was computed")

    with monkeypatch.context() as patch:
        for module, function in (
            ("mlmctl.pipeline.execute", "_make"),
            ("mlmctl.commands.encoders", "open_pretrained"),
            ("mlmctl.commands.predict", "open_adapted"),
        ):
            patch.setattr(importlib.import_module(module), function, computes)
        for path in [p for artifact in READERS[name].reads for p in sorted((run / artifact).rglob("*"))]:
            content = path.read_bytes() if path.is_file() else b""
            for damaged in damages(content) if content else ():
                path.write_bytes(damaged)
                code, err = ask(name)
                assert code == 5, f"{path.relative_to(run)}, {len(damaged)} bytes: {code}: {err}"
                assert path.name in err
            path.write_bytes(content) if path.is_file() else None
    code, err = ask(name)
    assert code == 0, err


def test_fault_20_a_bit_that_flips_behind_the_cache_of_hashes_is_seen_by_who_computes(
    run: Path, whole: Path, ask: Callable[[str], tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bits that rot on a disk change neither size nor time of a file, which is what the cache goes by."""
    monkeypatch.setattr("mlmctl.storage._CACHE_FROM_BYTES", 0)
    assert ask("evaluate")[0] == ask("evaluate")[0] == 0
    path = run / "finetune/sentiment/model.safetensors"
    content, before = path.read_bytes(), path.stat()
    shutil.rmtree(run / TESTED[0])
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    code, err = ask("evaluate")
    assert (code, "model.safetensors" in err) == (5, True)
    path.write_bytes(content)
    assert ask("evaluate")[0] == 0


@pytest.mark.parametrize("words", ["mask --export x.jsonl", "mask --preview 1", "report --output x.html"])
def test_fault_20_a_bit_that_flips_behind_the_cache_is_seen_by_who_shows_blocks(
    words: str, run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mlmctl.storage._CACHE_FROM_BYTES", 0)
    shell, call = Shell(capsys), (*words.split(), "--run", run)
    path = run / f"mask/blocks/{'valid' if words.startswith('report') else 'train'}.npy"
    content, before = path.read_bytes(), path.stat()
    first = shell(*call)
    assert first.code == 0, first.err
    (tmp_path / words.split()[-1]).unlink(missing_ok=True)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    again = shell(*call)
    path.write_bytes(content)
    assert (again.code, path.name in again.err) == (5, True), again.err


def test_fault_20_a_model_that_lost_its_manifest_is_not_taken_for_a_strangers(
    run: Path, ask: Callable[[str], tuple[int, str]]
) -> None:
    for artifact, readers in (
        ("pretrain", ("fill", "finetune")),
        ("finetune/sentiment", ("predict", "evaluate")),
    ):
        path = run / artifact / MANIFEST
        content = path.read_bytes()
        path.unlink()
        for name in readers:
            code, err = ask(name)
            assert (code, "manifest" in err) == (5, True), err
        path.write_bytes(content)
        open_artifact(run / artifact)


def test_fault_20_shards_that_were_swapped_are_refused(
    run: Path, ask: Callable[[str], tuple[int, str]]
) -> None:
    folder = run / "mask/blocks"
    one, other, between = folder / "train.npy", folder / "valid.npy", folder / "x"
    for a, b in ((one, between), (other, one), (between, other)):
        a.rename(b)
    with pytest.raises(ArtifactError, match="npy"):
        open_artifact(folder)
    assert ask("evaluate mlm")[0] == 5
    for a, b in ((other, between), (one, other), (between, one)):
        a.rename(b)
    open_artifact(folder)
