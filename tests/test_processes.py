"""The real command as a process: signals, kills, pipes, what is imported."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import SMALL, write_corpus

from mlmctl.storage import sha256_file

COMMAND = [sys.executable, "-m", "mlmctl"]
LONG = [*SMALL, "--steps", "400", "--set", "pretrain.save_interval=1s", "--threads", "1"]


def start(arguments: list[str], folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # we may run under nohup
    )


def wait_for(folder: Path, pattern: str, process: subprocess.Popen[bytes]) -> None:
    """Until a file appears; fails if the process ends before."""
    deadline = time.monotonic() + 60
    while not list(folder.glob(pattern)):
        assert process.poll() is None, "the process ended before it could be hit"
        assert time.monotonic() < deadline
        time.sleep(0.01)


def finish(process: subprocess.Popen[bytes]) -> tuple[int, bytes, bytes]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus and a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("unbroken")
    write_corpus(folder / "corpus.txt")
    code, _, err = finish(start(["pretrain", "corpus.txt", *LONG], folder))
    assert code == 0, err.decode()
    return folder


def weights(folder: Path) -> str:
    return sha256_file(folder / "run" / "pretrain" / "model.safetensors")


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129), (signal.SIGKILL, -9)],
)
def test_faults_03_07_and_08_a_stopped_run_continues_to_the_same_weights(
    unbroken: Path, tmp_path: Path, number: int, code: int
) -> None:
    corpus = unbroken / "corpus.txt"
    process = start(["pretrain", str(corpus), *LONG, "--json"], tmp_path)
    wait_for(tmp_path, "run/.work/pretrain-*/checkpoints/step-*", process)
    sent = time.monotonic()
    process.send_signal(number)
    status, out, err = finish(process)
    assert status == code
    assert time.monotonic() - sent < 20
    assert b"Traceback" not in err
    if number != signal.SIGKILL:
        assert json.loads(out)["error"]["code"] == "run.interrupted"
    assert not (tmp_path / "run" / "pretrain").exists()
    again = finish(start(["pretrain", str(corpus), *LONG, "--json"], tmp_path))
    assert json.loads(again[1])["stages"][-1]["status"] == "resumed"
    assert weights(tmp_path) == weights(unbroken)


def test_fault_07_a_second_signal_ends_the_process_at_once() -> None:
    code = (
        "import time\nfrom mlmctl.signals import stop\nstop.install()\n"
        "with stop.deferred():\n    print('ready', flush=True)\n    while True: time.sleep(0.01)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        assert process.poll() is None
        sent = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143
        assert time.monotonic() - sent < 10  # far from the 18 seconds that one signal is given


_SIGNAL_ON_THE_WAY_OUT = """
import os, signal, sys, time
from mlmctl.errors import InterruptedRun
from mlmctl.signals import stop

class Late:
    def __del__(self, kill=os.kill, pid=os.getpid(), number=signal.SIGTERM):
        kill(pid, number)

late = Late()
stop.install()
try:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5)
except InterruptedRun:
    sys.exit(128 + signal.SIGTERM)
"""


def test_fault_07_a_second_signal_on_the_way_out_leaves_the_exit_code() -> None:
    found = subprocess.run([sys.executable, "-c", _SIGNAL_ON_THE_WAY_OUT], timeout=60, check=False)
    assert found.returncode == 143


def test_fault_09_a_suspended_process_goes_on_to_the_same_weights(unbroken: Path, tmp_path: Path) -> None:
    process = start(["pretrain", str(unbroken / "corpus.txt"), *LONG, "--json"], tmp_path)
    wait_for(tmp_path, "run/.work/pretrain-*/checkpoints", process)
    process.send_signal(signal.SIGSTOP)
    time.sleep(0.5)
    process.send_signal(signal.SIGCONT)
    code, _, err = finish(process)
    assert code == 0, err.decode()
    assert weights(tmp_path) == weights(unbroken)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("recipe list --json", 141),
        ("recipe list", 141),
        ("status --run nowhere --json", 141),
        ("--help", 1),
    ],
)
def test_fault_08_a_closed_output_is_no_traceback(tmp_path: Path, command: str, code: int) -> None:
    process = start(command.split(), tmp_path)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    err = process.stderr.read()
    assert process.wait(60) == code
    process.stderr.close()
    assert b"Traceback" not in err
    assert b"Exception ignored" not in err


@pytest.mark.parametrize(("streams", "code"), [("> /dev/full", 6), (">&-", 0), ("<&- >&- 2>&-", 0)])
def test_fault_08_an_output_that_is_full_or_was_never_open(tmp_path: Path, streams: str, code: int) -> None:
    shell = f'"{sys.executable}" -m mlmctl recipe list {streams}'
    done = subprocess.run(["sh", "-c", shell], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == code, done.stderr
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
    assert (b"the disk is full" in done.stderr) == (code == 6)


def test_fault_14_neither_a_home_nor_shared_memory_is_needed(tmp_path: Path) -> None:
    code = (
        "import os, sys, _multiprocessing\n"
        "class SemLock:\n"  # as where there is no /dev/shm
        "    SEM_VALUE_MAX = 1\n"
        "    def __init__(self, *given): raise FileNotFoundError(2, 'no shared memory')\n"
        "_multiprocessing.SemLock = SemLock\n"
        "def refuse(event, arguments):\n"
        "    if event == 'open' and str(arguments[0]).startswith(('/dev/shm', '/nonexistent')):\n"
        "        raise PermissionError(13, 'no', arguments[0])\n"
        "sys.addaudithook(refuse)\n"
        "from mlmctl.text import workers\nworkers.FROM_BYTES = 1\n"
        "from mlmctl.cli import main\nmain(sys.argv[1:])"
    )
    environment = {
        name: value for name, value in os.environ.items() if name not in ("HOME", "USER", "LOGNAME")
    }
    arguments = ["pretrain", str(write_corpus(tmp_path / "corpus.txt")), *SMALL, "--steps", "1"]
    for home in ({}, {"HOME": "/nonexistent"}):
        run = ["--run", str(tmp_path / f"run{len(home)}")]
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments, *run],
            env=environment | home,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        assert b"Traceback" not in done.stderr


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom mlmctl.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'transformers', 'tokenizers', 'numpy', 'pydantic'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_fault_55_no_network_is_touched_by_a_name_that_is_a_typing_error(tmp_path: Path) -> None:
    code = (
        "import socket, sys\n"
        "def refuse(*arguments, **named):\n    raise SystemExit('TOUCHED')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from mlmctl.cli import main\nmain(sys.argv[1:])"
    )
    for arguments, says in (
        (["pretrain", "owner/dataset"], ""),
        (["finetune", "--model", "bert-base"], "hf:OWNER/NAME"),
        (["fill", "--model", "owner/model", "x [MASK]"], "hf:owner/model"),
    ):
        result = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )
        assert result.returncode == 2, result.stderr
        assert "TOUCHED" not in result.stderr
        assert says in result.stderr


def test_fault_17_a_second_run_is_refused_in_a_second(unbroken: Path, tmp_path: Path) -> None:
    process = start(["pretrain", str(unbroken / "corpus.txt"), *LONG], tmp_path)
    wait_for(tmp_path, "run/.work/pretrain-*/checkpoints", process)
    started = time.monotonic()
    second = finish(start(["mask", str(unbroken / "corpus.txt")], tmp_path))
    assert second[0] == 7
    assert f"process {process.pid}".encode() in second[2]
    assert time.monotonic() - started < 10  # the promise is one second; a loaded machine starts slowly
    os.kill(process.pid, signal.SIGKILL)
    finish(process)
