"""Where the work is done: threads, device, and the facts about them that a manifest records."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from dataclasses import dataclass
from typing import Any

import torch
import transformers

from ..config import RuntimeConfig
from ..errors import ResourceError
from . import machine
from .ranks import ALONE, Ranks


@dataclass(frozen=True)
class Runtime:
    """This process's share of the machine."""

    device: torch.device
    num_threads: int


def prepare(config: RuntimeConfig, ranks: Ranks = ALONE) -> Runtime:
    """Set up torch and transformers for this process: threads, determinism, silence.

    The CPUs of a machine are divided between the ranks on it, unless `--threads` says how many each has.

    ResourceError if the device asked for is not there.
    """
    num_threads = machine.num_threads(config, ranks.place.local_world_size)
    _keep_memory()
    torch.set_num_threads(num_threads)
    machine.bind_tokenizers(num_threads)
    torch.use_deterministic_algorithms(True)
    # Filling memory that is about to be overwritten anyway costs 3 % of a step and hides no bug of ours.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cuda.matmul.allow_tf32 = False
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return Runtime(_device(config.device, ranks), num_threads)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_MOST = 2**30


def _keep_memory() -> None:
    """Let freed memory stay with the process, where the C library can.

    glibc gives large arrays back to the system as soon as they are freed, and every step takes them again
    page by page, each page cleared by the kernel: 5 to 10 % of a step (measured, 2,048 tokens at once).
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MOST)
        mallopt(_M_TRIM_THRESHOLD, _MOST)


def _device(wanted: str, ranks: Ranks) -> torch.device:
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not present[wanted]:
        raise ResourceError(
            "resource.device",
            f"this build of torch sees no {wanted} device",
            hint="--device cpu, or another build of torch",
        )
    is_one_of_many = wanted == "cuda" and not ranks.is_alone
    return torch.device(wanted, ranks.place.local_rank) if is_one_of_many else torch.device(wanted)


def environment(config: RuntimeConfig, ranks: Ranks = ALONE) -> dict[str, Any]:
    """The facts about the machine, and what torch makes of it; prepares the process."""
    runtime = prepare(config, ranks)
    return {
        **machine.facts(config),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "num_threads": runtime.num_threads,
        "device": runtime.device.type,
        "world_size": ranks.world_size,
    }


def free_memory(device: torch.device) -> int | None:
    """Bytes that a model on `device` can have; None where nobody says."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return machine.available_memory()


def peak_memory() -> int:
    """Most bytes this process has had in memory so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) if sys.platform == "darwin" else int(peak) * 1024
