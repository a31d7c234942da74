"""One zygote for all tests here; what was tried is told at the end of `make crash`."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import client
from .trials import NUM_WORKERS, TALLY, TRIES_ALL, Trials


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


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if TRIES_ALL and TALLY:
        terminalreporter.section("tried")
        for what, number in sorted(TALLY.items()):
            terminalreporter.write_line(f"{number:6,}  {what}")
