"""Where the work is done: threads, device, ranks, and the facts about them that a manifest records."""

from __future__ import annotations

import os
import platform
import resource
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import transformers

from ..config import RuntimeConfig
from ..errors import ResourceError

_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16")


@dataclass(frozen=True)
class Runtime:
    """This process's share of the machine."""

    device: torch.device
    num_threads: int
    rank: int = 0
    world_size: int = 1


def prepare(config: RuntimeConfig) -> Runtime:
    """Set up torch and transformers for this process: threads, determinism, silence.

    ResourceError if the device asked for is not there.
    """
    num_threads = min(available_threads(), config.threads or sys.maxsize)
    torch.set_num_threads(num_threads)
    torch.use_deterministic_algorithms(True)
    # Filling memory that is about to be overwritten anyway costs 3 % of a step and hides no bug of ours.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cuda.matmul.allow_tf32 = False
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return Runtime(
        device=_device(config.device),
        num_threads=num_threads,
        rank=int(os.environ.get("RANK", "0")),
        world_size=int(os.environ.get("WORLD_SIZE", "1")),
    )


def available_threads() -> int:
    """CPUs this process may use: its affinity, cut by the container's quota (cgroup v2 or v1)."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return max(1, min(affinity, int(_quota(Path("/sys/fs/cgroup")) or affinity)))


def _quota(cgroup: Path) -> float | None:
    """CPUs' worth of time a second the container may use; None if there is no limit."""
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


def _device(wanted: str) -> torch.device:
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not present[wanted]:
        raise ResourceError(
            "resource.device",
            f"this build of torch sees no {wanted} device",
            hint="--device cpu, or another build of torch",
        )
    return torch.device(wanted)


def cpu_flags() -> list[str]:
    """The instruction sets that change bits or speed, of those this CPU has."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return []
    flags = next(
        (line.split(":", 1)[1].split() for line in lines if line.startswith(("flags", "Features"))), []
    )
    return [flag for flag in _FLAGS if flag in flags]


def environment(runtime: Runtime) -> dict[str, Any]:
    """Versions, CPU, threads and device: what bits may depend on beside configuration and inputs."""
    versions = {}
    for package in ("mlmctl", "torch", "transformers", "tokenizers", "numpy"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "unknown"
    return {
        "python": platform.python_version(),
        **versions,
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_model(),
        "cpu_flags": cpu_flags(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "num_threads": runtime.num_threads,
        "device": runtime.device.type,
        "world_size": runtime.world_size,
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def peak_memory() -> int:
    """Most bytes this process has had in memory so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) if sys.platform == "darwin" else int(peak) * 1024
