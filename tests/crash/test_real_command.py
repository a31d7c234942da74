"""The real command as a process of its own, under the same watch, and with two signals."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import SMALL, write_corpus

from .trials import TRIES_ALL, Trials

SCENARIO = "real-pretrain"


def test_fault_03_the_real_command_is_killed(trials: Trials) -> None:
    num_calls = len(trials.calls(SCENARIO))
    number = 12 if TRIES_ALL else 1
    faults = [("kill", (n + 1) * num_calls // (number + 1)) for n in range(number)]
    assert not trials.attempts(SCENARIO, faults, "the real command, SIGKILL")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_fault_07_the_real_command_is_told_to_stop(trials: Trials, number: int) -> None:
    num_calls = len(trials.calls(SCENARIO))
    shares = (0.2, 0.4, 0.6, 0.8) if TRIES_ALL else (0.6,)
    faults = [("signal", int(share * num_calls), int(number)) for share in shares]
    assert not trials.attempts(SCENARIO, faults, f"the real command, {signal.Signals(number).name}")


def test_fault_07_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus.txt")
    long_steps = ("--set", "pretrain.tokens_per_step=4000000", "--steps", "2", "--threads", "1")
    command = [sys.executable, "-m", "mlmctl", "pretrain", "corpus.txt", *SMALL, *long_steps]
    with subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("run/.work/pretrain-*/metrics.jsonl")) and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(1)  # until it is in its step
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):  # it goes on with its step
            process.wait(0.5)
        sent = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert time.monotonic() - sent < 5
    assert b"Traceback" not in err
