"""The command's end of the line to its child processes: starts them, asks them, ends them.

Children write what their libraries print to a log file. They die with the command: it ends their process
group when it leaves, and they end by themselves when the line is closed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from ...errors import MlmctlError, ResourceError
from .sides import Job

_WORKER = "mlmctl.commands.bench.worker"


class Child:
    """A process that does one job. Use it as a context manager: it is gone afterwards."""

    def __init__(self, job: Job, keep_log_in: Path) -> None:
        """`keep_log_in`: the folder that gets its log if it fails."""
        self.job = job
        job.scratch.mkdir(parents=True)
        theirs, requests = os.pipe()
        answers, their_answers = os.pipe()
        with (job.scratch / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", _WORKER, str(theirs), str(their_answers)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs, their_answers),
                env=environment(job.scratch, job.world.num_threads),
                start_new_session=True,
            )
        os.close(theirs)
        os.close(their_answers)
        self._requests = os.fdopen(requests, "w", encoding="utf-8")
        self._answers = os.fdopen(answers, encoding="utf-8")
        self._keep_log_in = keep_log_in
        self._tell(asdict(job))

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Its answer. MlmctlError (ResourceError if it was killed) if it has failed."""
        self._tell(request)
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """What it says next; raises as `ask` does."""
        line = self._answers.readline()
        found: dict[str, Any] = json.loads(line) if line else {}
        if line and "error" not in found:
            return found
        return_code = self._end(wait=True)
        log = self.job.scratch / "log"
        raise failure(self.job.side, found.get("error"), return_code, log, self._keep_log_in)

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _tell(self, message: Mapping[str, Any]) -> None:
        with suppress(BrokenPipeError):  # it is gone; reading its answer says why
            self._requests.write(json.dumps(message) + "\n")
            self._requests.flush()

    def _end(self, wait: bool = False) -> int:
        """End the process and what it has started; its status. `wait`: it is ending by itself."""
        return_code = None
        if wait:
            with suppress(subprocess.TimeoutExpired):
                return_code = self._process.wait(timeout=10)
        end(self._process)
        for pipe in (self._requests, self._answers):
            with suppress(BrokenPipeError):
                pipe.close()
        return self._process.returncode if return_code is None else return_code


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill the process group of a process that leads one, and wait for it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def environment(scratch: Path, num_threads: int) -> dict[str, str]:
    """The environment of a child: no network, and an empty cache, so that compiling is always counted."""
    return {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(scratch / "datasets"),
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": str(num_threads),
        "TORCHINDUCTOR_CACHE_DIR": str(scratch / "inductor"),
    }


def failure(side: str, told: str | None, return_code: int, log: Path, keep_in: Path) -> MlmctlError:
    """The error for a side whose process has failed; its log is kept."""
    keep_in.mkdir(parents=True, exist_ok=True)
    kept = keep_in / f"{side}.log"
    shutil.copyfile(log, kept)
    hint = f"what it printed is in {kept}"
    if told is None and return_code == -signal.SIGKILL:
        found = "was killed, probably because memory ran out"
        return ResourceError("bench.killed", found, where=f"side {side}", hint=hint)
    if told is None:
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        told = f"ended with status {return_code}" + (f": {last}" if last else "")
    return MlmctlError("bench.side", told, where=f"side {side}", hint=hint)
