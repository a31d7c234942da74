"""One zygote for all tests here; what was tried is told at the end."""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from . import client
from .trials import NUM_WORKERS, POWER_CUT, TALLY, TRIES_ALL, Trials

_TRIED = "tried"


@pytest.fixture(scope="session")
def trials() -> Iterator[Trials]:
    """In a folder in memory, if there is one: a sync then costs nothing."""
    if sys.platform != "linux":
        pytest.skip("system calls are watched by seccomp, which only Linux has")
    memory = Path("/dev/shm")
    where = memory if os.access(memory, os.W_OK) else None
    with (
        tempfile.TemporaryDirectory(prefix="mlmctl-crash-", dir=where) as folder,
        client.started(Path(folder).resolve(), NUM_WORKERS) as workers,
    ):
        yield Trials(workers)


@pytest.fixture(autouse=True)
def _told(record_property: Callable[[str, object], None]) -> Iterator[None]:
    """What a test tried goes with its report: another process may write the summary."""
    TALLY.clear()
    yield
    record_property(_TRIED, dict(TALLY))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """How many faults were tried; each kind in each scenario, if all were."""
    tried: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name == _TRIED and report.when == "teardown":
                    tried.update(value)
    if not tried:
        return
    cuts = sum(number for what, number in tried.items() if what.startswith(POWER_CUT))
    terminalreporter.section("crash harness")
    terminalreporter.write_line(f"{tried.total() - cuts:,} crash points, {cuts:,} states after a power cut")
    if TRIES_ALL:
        for what, number in sorted(tried.items()):
            terminalreporter.write_line(f"{number:8,}  {what}")
