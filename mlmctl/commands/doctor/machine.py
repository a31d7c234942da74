"""The machine: processor, threads, memory, disk, versions."""

from __future__ import annotations

import shutil
from pathlib import Path

from ...config import RuntimeConfig
from ...engine import machine as machines
from ...quantities import size
from .section import Section


def look(config: RuntimeConfig, run_folder: Path) -> Section:
    """The facts that a manifest records, and what is free."""
    from ...engine.runtime import environment

    facts = environment(config)
    existing = next(
        folder for folder in (run_folder.resolve(), *run_folder.resolve().parents) if folder.is_dir()
    )
    facts["free_disk_bytes"] = shutil.disk_usage(existing).free
    facts["available_memory_bytes"] = memory = machines.available_memory()
    free = [f"{size(facts['free_disk_bytes'])} of disk"]
    if memory is not None:
        free.insert(0, f"{size(memory)} of memory")
    versions = (f"{name} {facts[name]}" for name in ("mlmctl", "python", "torch", "transformers"))
    flags = " ".join(facts["cpu_flags"])
    rows = [
        ("processor", f"{facts['cpu']} {flags}, {facts['num_threads']} threads, {facts['device']}"),
        ("free", ", ".join(free)),
        ("versions", ", ".join(versions)),
    ]
    return Section("machine", facts, rows)
