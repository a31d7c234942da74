"""Work divided over processes: the same results in the same order, and nobody is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from jobs import Squares

from mlmctl.config import CorpusConfig, MaskConfig, RuntimeConfig, TokenizerConfig
from mlmctl.errors import DataError, InterruptedRun, MlmctlError, ResourceError
from mlmctl.stages import mask, tokenizer
from mlmctl.stages.stage import Stage
from mlmctl.text import parts, words, workers
from mlmctl.text.corpus import resolve


@pytest.mark.parametrize("num_workers", [1, 3])
def test_results_come_in_the_order_of_the_jobs(num_workers: int) -> None:
    begun = []

    def jobs() -> Iterator[int]:
        for number in range(20, 60):
            begun.append(number)
            yield number

    results = workers.in_order(Squares, jobs(), num_workers)
    first, pid = next(results)
    assert first == 400
    assert len(begun) <= 1 + 2 * num_workers  # memory is bounded: nobody runs ahead
    rest = list(results)
    assert [square for square, _ in rest] == [n * n for n in range(21, 60)]
    pids = {pid, *(pid for _, pid in rest)}
    assert len(pids) == num_workers
    assert (os.getpid() in pids) == (num_workers == 1)


def test_an_error_in_a_worker_is_the_error_of_the_run() -> None:
    with pytest.raises(DataError) as caught:
        list(workers.in_order(Squares, [1, 13], 2))
    error = caught.value
    assert (error.code, error.message, error.where, error.hint) == (
        "data.thirteen",
        "is thirteen",
        "jobs:13",
        "skip it",
    )
    with pytest.raises(RuntimeError, match="KeyError: 'fourteen'"):
        list(workers.in_order(Squares, [14], 2))


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGKILL, ResourceError), (signal.SIGTERM, InterruptedRun)]
)
def test_a_worker_that_dies_ends_the_run(number: int, error: type[MlmctlError]) -> None:
    with pytest.raises(error, match=signal.Signals(number).name):
        list(workers.in_order(Squares, [1, -number, *range(20, 40)], 2))


def is_blocked(pid: int, number: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    blocked = next(line.split()[1] for line in status.splitlines() if line.startswith("SigBlk"))
    return bool(int(blocked, 16) >> (number - 1) & 1)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="signal masks are read from /proc")
def test_no_worker_outlives_the_iterator() -> None:
    with closing(workers.in_order(Squares, range(20, 99), 2)) as results:
        pids = {next(results)[1] for _ in range(9)}
        for pid in pids:
            assert is_blocked(pid, signal.SIGINT)  # control-C is the parent's to answer
            assert not is_blocked(pid, signal.SIGTERM)
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_worker_outlives_a_parent_that_is_killed(number: int) -> None:
    command = [sys.executable, str(Path(__file__).with_name("jobs.py"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(parent.stdout.readline()) for _ in range(2)]
        parent.send_signal(number)
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_few_megabytes_are_done_in_one_process() -> None:
    assert workers.number(8, 10**6) == 1
    assert workers.number(8, 10**9) == 8


WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in ("", "n", "s", "é", "ло")]


def some_text(seed: int, num_documents: int = 150) -> str:
    rng = np.random.default_rng(seed)
    lines = [" ".join(rng.choice(WORDS, rng.integers(1, 40))) for _ in range(num_documents)]
    return "".join(f"{seed} {number} {line}\n" for number, line in enumerate(lines))


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART_CHARACTERS", 4000)
    monkeypatch.setattr(parts, "_FILE_BYTES", 1000)


class Run:
    """A run folder, and the first two stages run in it by hand."""

    def __init__(self, folder: Path, files: dict[str, str]) -> None:
        self.folder, self.notes = folder, list[str]()
        folder.mkdir(exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text)

    def stage(self, name: str, **more: object) -> Stage:
        out, work = self.folder / "out" / name, self.folder / "work" / name
        out.mkdir(parents=True, exist_ok=True)
        work.mkdir(parents=True, exist_ok=True)
        sources = resolve([str(path) for path in sorted(self.folder.glob("*.txt"))], work, lambda event: None)
        inputs = {"tokenizer": self.folder / "out" / "tokenizer"}
        emit = lambda event: self.notes.append(getattr(event, "message", ""))  # noqa: E731
        return Stage(name, inputs, out, work, emit, runtime=RuntimeConfig(threads=3), sources=sources, **more)

    def tokenizer(self) -> None:
        tokenizer.run(TokenizerConfig(vocab_size=200), CorpusConfig(), self.stage("tokenizer"))

    def blocks(self, name: str, previous: str = "", **fields: object) -> dict[str, bytes]:
        stage = self.stage(name, previous=lambda: self.folder / "out" / previous if previous else None)
        mask.run_blocks(MaskConfig(**{"block_length": 16, **fields}), CorpusConfig(), stage)
        return {path.name: path.read_bytes() for path in stage.out.iterdir()}

    def num_encoded(self) -> int:
        return int([note for note in self.notes if "were tokenized" in note][-1].split()[0].replace(",", ""))


def test_fault_02_bytes_are_the_same_for_any_number_of_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_parts: None
) -> None:
    monkeypatch.setattr(words, "_BATCH", 1000)
    monkeypatch.setattr(words, "_MAX_WORDS", 250)  # words are forgotten again and again
    made = []
    for num_workers in (1, 2, 3):
        monkeypatch.setattr(workers, "number", lambda *_, n=num_workers: n)
        run = Run(tmp_path / str(num_workers), {"a.txt": some_text(1), "b.txt": some_text(2)})
        run.tokenizer()
        made.append((run.blocks("blocks"), (run.folder / "out/tokenizer/tokenizer.json").read_bytes()))
        assert "were left out to bound the memory" in str(run.notes)
    assert made[0] == made[1] == made[2]
    assert len(np.load(tmp_path / "1/out/blocks/parts.npy")) > 6


def test_a_part_ends_where_its_text_says(small_parts: None) -> None:
    documents = (some_text(1) + some_text(2)).splitlines()
    middle = some_text(3, 20).splitlines()
    before = [tuple(part) for part in parts.cut(documents, lambda: 0)]
    after = [tuple(part) for part in parts.cut([*documents[:100], *middle, *documents[100:]], lambda: 0)]
    assert [document for part in before for document in part] == documents
    assert len(set(after) - set(before)) <= 4
    sizes = [sum(map(len, part)) for part in before]
    assert 1000 < np.mean(sizes) < 3500
    assert max(sizes) < 4000 + max(map(len, documents))


def test_only_small_neighbours_share_a_part() -> None:
    large = 2**16
    assert parts.groups([1, 2, large, large, 3, large - 1, large, 5]) == [0, 0, 1, 2, 3, 3, 4, 5]
    assert list(parts.cut(iter("abcd"), iter([0, 0, 1, 1]).__next__)) == [["a", "b"], ["c", "d"]]


def test_a_file_that_is_added_is_tokenized_alone(tmp_path: Path, small_parts: None) -> None:
    run = Run(tmp_path, {"b.txt": some_text(1), "d.txt": some_text(2) + some_text(1)[:500]})
    run.tokenizer()
    run.blocks("before")
    assert not [note for note in run.notes if "were tokenized" in note]
    for name in ("a.txt", "c.txt", "e.txt"):
        (tmp_path / name).write_text(some_text(ord(name[0]), 50))
        after = run.blocks("after", previous="before")
        num_duplicates = sum(line in some_text(1)[:500] for line in some_text(1).splitlines())
        assert run.num_encoded() == 50 + num_duplicates  # what was dropped before has left no ids
        fresh = run.blocks("fresh")
        assert after == fresh
        for path in (
            tmp_path / name,
            *(tmp_path / "out/after").iterdir(),
            *(tmp_path / "out/fresh").iterdir(),
        ):
            path.unlink()


def test_other_blocks_of_the_same_text_are_not_tokenized_again(tmp_path: Path, small_parts: None) -> None:
    run = Run(tmp_path, {"a.txt": some_text(1), "b.txt": some_text(2)})
    run.tokenizer()
    run.blocks("before")
    after = run.blocks("after", previous="before", block_length=32, valid_fraction=0.3)
    assert run.num_encoded() == 0
    assert after == run.blocks("fresh", block_length=32, valid_fraction=0.3)
    (tmp_path / "a.txt").write_text(some_text(3))
    run.tokenizer()
    run.notes.clear()
    run.blocks("other", previous="after")
    assert not [note for note in run.notes if "were tokenized" in note]  # the vocabulary is another


def test_a_copy_of_a_file_shares_its_parts(tmp_path: Path, small_parts: None) -> None:
    run = Run(tmp_path, {"a.txt": some_text(1), "b.txt": some_text(1)})
    run.tokenizer()
    run.blocks("before")
    keys = np.load(tmp_path / "out/before/parts.keys.npy")
    half = len(keys) // 2
    assert (keys[:half] == keys[half:]).all()
    (tmp_path / "b.txt").unlink()
    after = run.blocks("after", previous="before")
    assert run.num_encoded() == 0  # the copy was dropped, not the first
    assert after == run.blocks("fresh")
