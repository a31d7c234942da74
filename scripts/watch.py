"""What a command takes, measured from outside: seconds, memory of all its processes, disk."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

_EVERY = 0.5


@dataclass(frozen=True)
class Taken:
    """What a command took."""

    seconds: float
    cpu_seconds: float
    memory: int
    """Most bytes resident at a time in the process and all below it; what they share counts for each."""
    disk: int
    """Most bytes of files in the folder at a time."""


def watch(command: str, folder: Path) -> Taken:
    """Run a shell command to its end, which must be a good one, and watch what it writes below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    before = _cpu_seconds()
    start = time.monotonic()
    process = subprocess.Popen(["bash", "-o", "pipefail", "-c", command], stdout=subprocess.DEVNULL)
    memory = disk = 0
    while process.poll() is None:
        memory, disk = max(memory, resident(process.pid)), max(disk, bytes_in(folder))
        time.sleep(_EVERY)
    seconds = time.monotonic() - start
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return Taken(seconds, _cpu_seconds() - before, memory, disk)


def resident(process: int) -> int:
    """Bytes in memory of a process and all below it (Linux)."""
    total = 0
    try:
        total = int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        for thread in Path(f"/proc/{process}/task").iterdir():
            for child in (thread / "children").read_text().split():
                total += resident(int(child))
    except OSError:
        pass  # it has just ended
    return total


def bytes_in(*folders: Path) -> int:
    """Bytes of the files below some folders."""
    total = 0
    for folder in folders:
        for parent, _, files in os.walk(folder):
            for name in files:
                with contextlib.suppress(FileNotFoundError):  # it has just gone
                    total += os.lstat(os.path.join(parent, name)).st_size
    return total


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
