"""Every system call that changes the run folder, gone wrong: the same command again gives the same bytes."""

from __future__ import annotations

import errno
import random
import signal

import pytest

from . import standing
from .scenarios import SCENARIOS
from .trials import Trials, chosen

NAMES = [name for name, scenario in SCENARIOS.items() if not scenario.is_real]


def every(calls: list[list[str]], *kinds: str) -> list[int]:
    """The numbers (from 1) of the calls of these kinds; of all without one."""
    return [n for n, (kind, _, _) in enumerate(calls, 1) if not kinds or kind in kinds]


def is_publication(kind: str, name: str) -> bool:
    """Whether this call gives a checkpoint its final name."""
    return kind == "rename" and standing.published_step(name) is not None


@pytest.mark.parametrize("scenario", NAMES)
def test_faults_01_to_06_sigkill_at_any_call(trials: Trials, scenario: str) -> None:
    places = chosen(every(trials.calls(scenario)), SCENARIOS[scenario].sample)
    assert not trials.attempts(scenario, [("kill", at) for at in places], "SIGKILL")


@pytest.mark.parametrize("scenario", NAMES)
def test_faults_01_to_06_sigkill_in_the_middle_of_a_write(trials: Trials, scenario: str) -> None:
    places = chosen(every(trials.calls(scenario), "write"), 3)
    assert not trials.attempts(scenario, [("torn", at) for at in places], "SIGKILL within a write")


@pytest.mark.parametrize("scenario", NAMES)
def test_faults_01_to_06_sigkill_again_while_it_recovers(trials: Trials, scenario: str) -> None:
    calls, generator = trials.calls(scenario), random.Random(0)
    pairs = [(generator.choice(every(calls)), generator.randint(1, 30)) for _ in chosen(range(40), 1)]
    faults = [(("kill", first), ("kill", second)) for first, second in pairs]
    assert not trials.attempts(scenario, faults, "SIGKILL twice")


@pytest.mark.parametrize("scenario", NAMES)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_faults_12_and_13_an_error_at_any_call(trials: Trials, scenario: str, number: int) -> None:
    places = chosen(every(trials.calls(scenario)), 3)
    assert not trials.attempts(scenario, [("error", at, number) for at in places], errno.errorcode[number])


@pytest.mark.parametrize("scenario", NAMES)
def test_fault_12_a_disk_that_stays_full(trials: Trials, scenario: str) -> None:
    places = chosen(every(trials.calls(scenario), "write", "create", "mkdir"), 2)
    assert not trials.attempts(scenario, [("full", at) for at in places], "disk full from there on")


@pytest.mark.parametrize("scenario", NAMES)
def test_fault_13_interrupted_and_short_writes_are_gone_on_with(trials: Trials, scenario: str) -> None:
    writes = chosen(every(trials.calls(scenario), "write"), 1)
    faults = [*(("short", at) for at in writes), *(("interrupted", at, errno.EINTR) for at in writes)]
    assert not trials.attempts(scenario, faults, "EINTR, or half is written")


@pytest.mark.parametrize("scenario", NAMES)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_fault_07_a_signal_at_any_call(trials: Trials, scenario: str, number: int) -> None:
    places = chosen(every(trials.calls(scenario)), 2)
    faults = [("signal", at, int(number)) for at in places]
    assert not trials.attempts(scenario, faults, signal.Signals(number).name)


@pytest.mark.parametrize("scenario", ["pretrain", "finetune", "longer-pretrain"])
def test_fault_21_the_newest_checkpoint_is_damaged_after_a_kill(trials: Trials, scenario: str) -> None:
    calls = trials.calls(scenario)
    _, second, *_ = [n for n, (kind, _, name) in enumerate(calls, 1) if is_publication(kind, name)]
    published = next(n for n, (_, _, name) in enumerate(calls, 1) if name in ("pretrain", "finetune/toy"))
    places = chosen(range(second + 1, published), 3)
    assert not trials.attempts(
        scenario, [("kill", at) for at in places], "SIGKILL, then a flipped bit", rot=True
    )
