"""The machine, without torch: CPUs that are ours, their instruction sets, the versions of what we use."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..config import RuntimeConfig

_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16")


def num_threads(config: RuntimeConfig, num_processes: int = 1) -> int:
    """CPUs this process may use: its affinity, cut by the container's quota and by `--threads`.

    If `num_processes` of ours share the machine, each has its part; `--threads` is what one of them has.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    ours = max(1, min(affinity, int(_quota(Path("/sys/fs/cgroup")) or affinity)))
    return min(max(1, ours // num_processes), config.threads or sys.maxsize)


def bind_tokenizers(num_threads: int) -> None:
    """Let the tokenizers library use so many threads; it asks once, when it first uses several."""
    os.environ.setdefault("RAYON_NUM_THREADS", str(num_threads))


def _quota(cgroup: Path) -> float | None:
    """CPUs' worth of time a second the container may use (cgroup v2 or v1); None if there is no limit."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    try:
        return int(quota) / int(period) if int(quota) > 0 else None
    except (ValueError, ZeroDivisionError):
        return None  # "max": no limit


def available_memory() -> int | None:
    """Bytes that can be had without swapping, cut by the container's limit; None where nobody says."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        return None
    try:
        cgroup = Path("/sys/fs/cgroup")
        limit = int((cgroup / "memory.max").read_text())
        used = int((cgroup / "memory.current").read_text())
        # Of what is used the cache of files is given back when it is needed.
        stat = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
        used -= int(stat.get("inactive_file", 0)) + int(stat.get("active_file", 0))
        free = min(free, limit - used)
    except (OSError, ValueError):
        pass  # no limit ("max"), or no cgroup v2
    return max(0, free)


def cpu_flags() -> list[str]:
    """The instruction sets that change bits or speed, of those this CPU has."""
    lines = _cpuinfo()
    flags = next(
        (line.split(":", 1)[1].split() for line in lines if line.startswith(("flags", "Features"))), []
    )
    return [flag for flag in _FLAGS if flag in flags]


def facts(config: RuntimeConfig) -> dict[str, Any]:
    """Versions, CPU and threads: what bits may depend on beside configuration and inputs."""
    versions = {}
    for package in ("mlmctl", "torch", "transformers", "tokenizers", "numpy"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "unknown"
    model = (line.split(":", 1)[1].strip() for line in _cpuinfo() if line.startswith("model name"))
    return {
        "python": platform.python_version(),
        **versions,
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": next(model, platform.processor() or "unknown"),
        "cpu_flags": cpu_flags(),
        "num_threads": num_threads(config),
    }


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return []  # not Linux
