"""Faults of the world around a run: locks, links, clocks, names, folders that cannot be written, memory."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import SMALL, Outcome, Shell, write_corpus
from pretrain_world import LENGTH, Run, config, make_inputs
from torch import Tensor, nn

from mlmctl import signals
from mlmctl.artifact import LOCK, open_artifact, publish, recover
from mlmctl.config import PretrainConfig, RuntimeConfig
from mlmctl.engine import gradients, loop, machine, runtime
from mlmctl.engine.checkpoint import Checkpoints, Counters
from mlmctl.errors import BusyError, ResourceError, UsageError, from_os_error
from mlmctl.events import Note, silent
from mlmctl.manifest import MANIFEST, Header
from mlmctl.pipeline.lock import locked
from mlmctl.stages import pretrain
from mlmctl.storage import check_writable, sha256_file

TOKENIZER = ("--vocab-size", "100")


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLMCTL_RUN", raising=False)
    return Shell(capsys)


def refused(outcome: Outcome, code: int) -> str:
    """The one line of an error."""
    assert outcome.code == code, outcome.err
    assert "Traceback" not in outcome.err
    [line] = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    return line


def state(work: Path, step: int) -> list[str]:
    names = ("model.safetensors", "optimizer.safetensors", "state.json")
    return [sha256_file(work / f"checkpoints/step-{step:08d}" / name) for name in names]


# signals and time


def test_fault_08_a_hangup_is_heard_unless_it_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[int] = []
    monkeypatch.setattr(signal, "signal", lambda number, handler: heard.append(number))
    monkeypatch.setattr(signal, "set_wakeup_fd", lambda *arguments, **named: None)
    monkeypatch.setattr(threading.Thread, "start", lambda thread: None)
    for ignored in (False, True):  # `nohup` ignores it before we begin
        heard.clear()
        handler = signal.SIG_IGN if ignored else signal.SIG_DFL
        monkeypatch.setattr(signal, "getsignal", lambda number, handler=handler: handler)
        signals.StopRequest().install()
        assert (signal.SIGHUP in heard) is not ignored
        assert {signal.SIGINT, signal.SIGTERM} <= set(heard)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, inputs: dict[str, Path]) -> Run:
    run = Run(tmp_path_factory.mktemp("unbroken") / "run", inputs)
    pretrain.run(config(), run.stage())
    return run


def test_fault_09_a_stopped_clock_changes_no_number_of_steps(
    tmp_path: Path, inputs: dict[str, Path], unbroken: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A laptop that slept an hour in every step: the length of a run was decided before it began."""
    really, asleep = time.monotonic, [0.0]

    def monotonic() -> float:
        asleep[0] += 3600.0
        return really() + asleep[0]

    run = Run(tmp_path / "run", inputs)
    with monkeypatch.context() as patch:
        patch.setattr(loop.time, "monotonic", monotonic)
        assert pretrain.run(config(), run.stage())["num_steps"] == 12
    assert state(run.root / "work", 12) == state(unbroken.root / "work", 12)


def test_fault_19_neither_clock_nor_modification_times_order_anything(
    tmp_path: Path, inputs: dict[str, Path], unbroken: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path / "run", inputs)
    shutil.copytree(unbroken.root / "work", run.root / "work")
    checkpoints = sorted((run.root / "work/checkpoints").iterdir())
    for number, path in enumerate(checkpoints):
        for file in (path, *path.iterdir()):
            os.utime(file, (4e9 - 1e9 * number, 4e9 - 1e9 * number))  # the newest is the oldest, by its time
    monkeypatch.setattr(time, "time", lambda: 0.0)
    pretrain.run(config(), run.stage())
    notes = [event.message for event in run.events if isinstance(event, Note)]
    assert "pretrain continues after step 12" in notes


def test_fault_19_an_artifact_from_the_future_is_fresh(shell: Shell, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c.txt")
    shell("tokenizer", corpus, *TOKENIZER)
    for path in (corpus, *Path("run").rglob("*")):
        os.utime(path, (0, 0) if path == corpus else (2**33, 2**33))
    assert shell("tokenizer", corpus, *TOKENIZER, "--json").json["stages"][0]["status"] == "fresh"


# one process a folder


def test_fault_17_locks_raced_a_thousand_times_have_one_winner_each(tmp_path: Path) -> None:
    rounds, racers = 250, 4
    barrier = threading.Barrier(racers)
    won: list[list[int]] = [[] for _ in range(rounds)]
    told: set[str] = set()

    def race(racer: int) -> None:
        for number in range(rounds):
            barrier.wait()
            try:
                with locked(tmp_path):
                    won[number].append(racer)
                    barrier.wait()
            except BusyError as error:
                told.add(error.message)
                barrier.wait()
            barrier.wait()

    threads = [threading.Thread(target=race, args=(racer,)) for racer in range(racers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {len(winners) for winners in won} == {1}
    [message] = told
    assert f"process {os.getpid()} on " in message


def test_fault_17_the_second_run_is_refused_in_less_than_a_second(shell: Shell, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c.txt")
    with locked(tmp_path / "run"):
        start = time.process_time()
        for command in (
            ("tokenizer", corpus),
            ("mask", corpus),
            ("pretrain", corpus),
            ("finetune",),
            ("evaluate",),
        ):
            assert f"process {os.getpid()}" in refused(shell(*command), 7)
        assert time.process_time() - start < 1.0
    assert shell("tokenizer", corpus, *TOKENIZER).code == 0


# folders and files that cannot be written, odd names


@pytest.fixture
def closed() -> Iterator[Path]:
    """A folder we may read and not write: root, who may do anything, becomes somebody else for the test."""
    folder = Path(tempfile.mkdtemp())
    (folder / "c.txt").write_text("the quiet river\n" * 50)
    folder.chmod(0o555)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield folder
    finally:
        if is_root:
            os.seteuid(0)
        folder.chmod(stat.S_IRWXU)
        shutil.rmtree(folder)


def test_fault_14_a_folder_that_cannot_be_written_is_told_before_any_work(
    closed: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = Shell(capsys)
    monkeypatch.setattr("mlmctl.text.corpus.resolve", lambda *given: pytest.fail("the corpus was read"))
    for command in (
        ("tokenizer", closed / "c.txt"),
        ("pretrain", closed / "c.txt"),
        ("finetune",),
        ("evaluate",),
    ):
        error = refused(shell(*command, "--run", closed / "run"), 6)
        assert "not writable" in error
        assert str(closed) in error
    for output in (("mask", "--export", closed / "x.jsonl"), ("evaluate", "--markdown", closed / "x.md")):
        assert "cannot be written" in refused(shell(*output, "--run", closed / "run"), 6)
    with pytest.raises(ResourceError):
        check_writable(closed / "x.npy")


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT])
def test_fault_14_a_read_only_file_system_is_exit_6(
    number: int, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = os.open

    def refuse(path: Any, *arguments: Any, **named: Any) -> int:
        if str(path).endswith(LOCK):
            raise OSError(number, os.strerror(number), path)
        return really(path, *arguments, **named)

    monkeypatch.setattr(os, "open", refuse)
    assert os.strerror(number) in refused(shell("tokenizer", write_corpus(tmp_path / "c.txt")), 6)


def test_fault_14_a_place_for_results_that_is_none_is_told_before_any_work(
    shell: Shell, tmp_path: Path
) -> None:
    corpus = write_corpus(tmp_path / "c.txt")
    for output in (
        ("mask", corpus, "--export", "no/x.jsonl"),
        ("evaluate", "--markdown", "no/x.md"),
        ("compare", tmp_path, "--plot", "no/x.svg"),
        ("embed", "--output", "no/x.npy"),
        ("mask", corpus, "--export", tmp_path),
    ):
        refused(shell(*output), 2)
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("number", "exit_code"),
    [(errno.EFBIG, 6), (errno.ENFILE, 6), (errno.ESTALE, 6), (errno.ELOOP, 2), (errno.ENOENT, 4)],
)
def test_what_the_operating_system_refuses_is_no_fault_of_mlmctl(number: int, exit_code: int) -> None:
    error = from_os_error(OSError(number, os.strerror(number), "a.txt"))
    assert (error.exit_code, error.where) == (exit_code, "a.txt")


def test_a_file_that_is_removed_once_it_was_listed_is_told(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = write_corpus(tmp_path / "c.txt")

    def remove(*given: object) -> str:
        corpus.unlink()
        return "0" * 64

    monkeypatch.setattr("mlmctl.pipeline.inputs.fingerprint", remove)
    assert "data.gone" in refused(shell("tokenizer", corpus, *TOKENIZER), 4)


def test_fault_16_names_of_255_bytes_blanks_and_bytes_that_are_no_text(shell: Shell, tmp_path: Path) -> None:
    for name in ("n" * 251, "a b\tc\n", os.fsdecode(b"caf\xe9 \xff"), "-x", "é🙂", "'\"$(ls);*", "%s{}\\"):
        corpus = write_corpus(tmp_path / f"{name}.txt")
        made = shell("tokenizer", corpus, *TOKENIZER, "--run", "run", "--json")
        assert made.code == 0, made.err
        assert made.json["stages"][0]["status"] in ("ran", "fresh")
        verified = shell("verify", "--run", "run", "--json")
        assert {row["name"]: row["state"] for row in verified.json["findings"]} == {
            "tokenizer": "ok",
            "tokenizer < corpus": "ok",
        }
        again = shell("tokenizer", corpus, *TOKENIZER, "--run", f"in {name}"[:255], "--json")
        is_text = name.isascii() or "é🙂" in name
        assert again.code == (0 if is_text else 2), again.err
        assert (f"in {name}"[:255] in os.listdir()) == is_text
    for name in ("n" * 256, "a\0b"):
        refused(shell("tokenizer", f"{name}.txt"), 2)
    refused(shell("tokenizer", corpus, *TOKENIZER, "--run", "n" * 256), 2)


# what others have put into the run folder


def test_fault_18_foreign_files_stay_as_they_are(shell: Shell, tmp_path: Path) -> None:
    corpus, run = write_corpus(tmp_path / "c.txt"), tmp_path / "run"
    foreign = {
        "notes.txt": b"mine", "tokenizer.bak/manifest.json": b"{}", "mask/mine": b"", ".mine": b"",
        "old/x": b"1", "finetune/mine/config.json": b"{}", "pretrain.tar": b"",
        ".tmp-notes": b"mine", ".old/mine": b"",
    }  # fmt: skip
    for name, content in foreign.items():
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_bytes(content)
    (run / "link").symlink_to(tmp_path)
    (run / ".tmp-link").symlink_to(tmp_path)
    arguments = (corpus, *TOKENIZER, "--block-length", "32")
    assert shell("mask", *arguments).code == 0
    assert shell("mask", *arguments, "--force").code == 0
    assert {name: (run / name).read_bytes() for name in foreign} == foreign
    assert (run / "link").is_symlink()
    assert corpus.exists()


@pytest.mark.parametrize(
    "name", [".work", ".old", ".spool", "mask", "tokenizer", ".lock", "mask/blocks", "work"]
)
def test_fault_18_a_link_where_we_write_is_refused(name: str, shell: Shell, tmp_path: Path) -> None:
    corpus, run, elsewhere = write_corpus(tmp_path / "c.txt"), tmp_path / "run", tmp_path / "elsewhere"
    arguments = (corpus, *TOKENIZER, "--block-length", "32")
    elsewhere.mkdir()
    (elsewhere / "theirs").write_text("1")
    run.mkdir()
    if name == "work":  # inside the folder of one stage
        shell("tokenizer", *arguments[:3])
        [work] = _begin(run, arguments, shell)
        (work / "parts").symlink_to(elsewhere)
    else:
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).symlink_to(elsewhere)
    if name == ".spool":
        with pytest.MonkeyPatch.context() as patch, corpus.open() as text:
            patch.setattr("sys.stdin", text)
            error = refused(shell("tokenizer", "-", *TOKENIZER), 5)
    else:
        error = refused(shell("mask", *arguments), 5)
    assert "link" in error or "manifest" in error
    assert [path.name for path in elsewhere.iterdir()] == ["theirs"]


def _begin(run: Path, arguments: tuple[Any, ...], shell: Shell) -> list[Path]:
    """Blocks that were begun and not finished."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "mlmctl.stages.mask.run_blocks", lambda *given: (_ for _ in ()).throw(UsageError("x", "stop"))
        )
        refused(shell("mask", *arguments), 2)
    return list((run / ".work").glob("mask+blocks-*"))


# writing that fails, and power that fails


def test_fault_13_an_error_of_the_device_leaves_the_old_artifact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, old = tmp_path / "tokenizer", tmp_path / ".old/tokenizer"
    header = Header("tokenizer", {})
    with publish(target, header) as draft:
        (draft.path / "a").write_text("old")
    calls = 0

    def fails(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            raise OSError(errno.EIO, "Input/output error")

    at = 1
    while True:
        calls = 0
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fails)
            try:
                with publish(target, header, old=old) as draft:
                    (draft.path / "a").write_text("new")
            except OSError:
                recover(tmp_path)
                assert (target / "a").read_text() in ("old", "new")
                open_artifact(target)
                at += 1
                continue
        break
    assert at > 4
    assert (target / "a").read_text() == "new"


def test_fault_15_files_are_on_disk_before_they_have_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def synced(descriptor: int) -> None:
        fsync(descriptor)
        done.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)

    def renamed(path: Path, target: Path) -> Path:
        done.append("rename")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    with publish(tmp_path / "x", Header("x", {})) as draft:
        (draft.path / "a").write_text("1")
        (draft.path / "b").mkdir()
        (draft.path / "b/c").write_text("2")
    before, after = done[: done.index("rename")], done[done.index("rename") + 1 :]
    assert {"a", "b", "c", MANIFEST, draft.path.name} == set(before)
    assert before.index(MANIFEST) > max(before.index("a"), before.index("c"))
    assert before.index(draft.path.name) > before.index(MANIFEST)
    assert after == [tmp_path.name]


def test_fault_04_a_checkpoint_that_is_not_finished_leaves_the_one_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, parameters = nn.Linear(3, 3), _NoOptimizer()
    checkpoints = Checkpoints(tmp_path / ".work/pretrain-1", "pretrain", silent)
    checkpoints.restore(encoder, parameters)  # type: ignore[arg-type]
    checkpoints.save(encoder, parameters, Counters(step=1), 1.0)  # type: ignore[arg-type]
    for place in ("mlmctl.artifact._close", "mlmctl.artifact._swap_in", "mlmctl.engine.weights.write"):
        with monkeypatch.context() as patch:
            patch.setattr(place, lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
            patch.setattr(shutil, "rmtree", lambda *given, **named: None)  # a kill tidies nothing up
            with pytest.raises(KeyboardInterrupt):
                checkpoints.save(encoder, parameters, Counters(step=2), 2.0)  # type: ignore[arg-type]
        assert checkpoints.restore(encoder, parameters)[0].step == 1  # type: ignore[arg-type]
    assert len(recover(tmp_path)) == 3
    [kept] = (tmp_path / ".work/pretrain-1/checkpoints").iterdir()
    assert kept.name == "step-00000001"


class _NoOptimizer:
    def state(self) -> dict[str, Tensor]:
        return {"x": torch.zeros(1)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        pass


# numbers and memory


class _Work:
    """One micro-batch a step, whose loss is whatever a function says."""

    def __init__(self, loss: Callable[[nn.Module], Tensor], weight: float = 1.0) -> None:
        self._loss, self._weight = loss, weight

    def num_micro_batches(self, step: int) -> int:
        return 1

    def total_weight(self, step: int) -> float:
        return self._weight

    def micro_batch(self, step: int, number: int) -> dict[str, Tensor]:
        return {"input_ids": torch.zeros(6, LENGTH, dtype=torch.long)}

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        return self._loss(model)


def test_fault_44_a_step_in_which_nothing_is_hidden_has_a_loss_of_zero() -> None:
    model = nn.Linear(2, 2)
    found = loop.accumulate(
        model, _Work(lambda m: m.weight.sum() * 0.0, 0.0), 0, loop.Settings("x", 1, 0, 1.0, 60.0)
    )
    assert found is not None
    assert found[:2] == (0.0, 6 * LENGTH)
    assert model.weight.grad is not None
    assert bool((model.weight.grad == 0).all())


@pytest.mark.parametrize(
    ("error", "stage", "way_out"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "pretrain", f"pretrain.tokens_per_step={3 * LENGTH}"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"),
            "pretrain",
            f"3 x {LENGTH}",
        ),
        (MemoryError(), "finetune/sentiment", "finetune.batch_size=3"),
    ],
)
def test_fault_45_out_of_memory_names_a_micro_batch_that_would_fit(
    error: Exception, stage: str, way_out: str
) -> None:
    def loss(model: nn.Module) -> Tensor:
        raise error

    with pytest.raises(ResourceError, match="out of memory on cpu with 6 x 16 tokens") as caught:
        loop.accumulate(nn.Linear(2, 2), _Work(loss), 0, loop.Settings(stage, 1, 0, 1.0, 60.0))
    assert caught.value.exit_code == 6
    assert way_out in str(caught.value)


@pytest.mark.parametrize(
    ("stage", "way_out"), [("pretrain", "--block-length"), ("finetune/qa", "finetune.window_length")]
)
def test_fault_45_a_single_row_has_no_half(stage: str, way_out: str) -> None:
    settings = loop.Settings(stage, 1, 0, 1.0, 60.0)
    with (
        pytest.raises(ResourceError) as caught,
        gradients._told_if_short(torch.zeros(1, 4096), settings),
    ):
        raise MemoryError
    assert f"a smaller {way_out}" in str(caught.value.hint)
    assert "--force" in str(caught.value.hint)


def test_fault_45_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    def loss(model: nn.Module) -> Tensor:
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        loop.accumulate(nn.Linear(2, 2), _Work(loss), 0, loop.Settings("x", 1, 0, 1.0, 60.0))


def test_fault_45_too_little_memory_is_told_before_the_first_step(
    tmp_path: Path, inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path / "run", inputs)
    monkeypatch.setattr(machine, "available_memory", lambda: 2**20)
    pretrain.run(config(steps=1), run.stage())
    [told] = [e.message for e in run.events if isinstance(e, Note) and e.level == "warning"]
    assert "MiB of memory, 1 are free" in told


def test_fault_45_memory_that_runs_out_elsewhere_is_told_the_same_way(shell: Shell, tmp_path: Path) -> None:
    def build(*arguments: object, **more: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrain.World, "fresh", build)
        asked = (
            "pretrain",
            write_corpus(tmp_path / "c.txt"),
            "--run",
            tmp_path / "run",
            "--steps",
            "1",
            *SMALL,
        )
        told = shell(*asked, "--json")
    assert (told.code, told.json["error"]["code"]) == (6, "resource.memory")


def test_fault_45_the_cache_of_files_counts_as_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "proc/meminfo": "MemTotal: 9000 kB\nMemAvailable: 8000 kB\n",
        "sys/fs/cgroup/memory.max": "4096000\n",
        "sys/fs/cgroup/memory.current": "4000000\n",
        "sys/fs/cgroup/memory.stat": "anon 1000000\ninactive_file 2000000\nactive_file 1000000\n",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(machine, "Path", lambda path: tmp_path / path.lstrip("/"))
    assert machine.available_memory() == 3_096_000


def test_fault_46_what_has_no_deterministic_version_fails() -> None:
    runtime.prepare(RuntimeConfig(threads=1))
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    with pytest.raises(RuntimeError, match="deterministic"):
        torch.zeros(3).put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))


# paths that lead out, schemas


@pytest.mark.parametrize("name", ["..", ".", "../x", "/x", "a/b", ".x", "a\nb", "", "\x1b[31m"])
def test_fault_50_a_name_cannot_lead_out_of_the_run_folder(name: str, shell: Shell, tmp_path: Path) -> None:
    if name:
        refused(shell("finetune", "--name", name), 2)
    Path("r.toml").write_text(f"[finetune]\nname = {json.dumps(name or '..')}\n")
    refused(shell("finetune", "--recipe", "r.toml"), 2)
    assert not list(tmp_path.glob("run/finetune/*"))


@pytest.mark.parametrize("version", [0, -1])
def test_fault_24_an_older_schema_is_told_with_the_way_to_make_it_again(
    version: int, shell: Shell, tmp_path: Path
) -> None:
    corpus = write_corpus(tmp_path / "c.txt")
    shell("tokenizer", corpus, *TOKENIZER)
    path = Path("run/tokenizer", MANIFEST)
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": version}))
    assert "--force" in refused(shell("mask", corpus, *TOKENIZER), 5)
    assert shell("tokenizer", corpus, *TOKENIZER, "--force").code == 0


def test_fault_23_fields_that_cannot_change_the_result_may_change(shell: Shell, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c.txt")
    command = ("pretrain", corpus, *SMALL, "--steps", "1", "--json")
    assert shell(*command, "--threads", "1").code == 0
    again = shell(*command, "--threads", "2", "--set", "pretrain.save_interval=3s", "-v").json
    assert {stage["status"] for stage in again["stages"]} == {"fresh"}
    assert PretrainConfig(save_interval="5s").key_fields() == PretrainConfig().key_fields()
