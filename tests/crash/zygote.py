"""A process that has imported everything once and forks from then on: `python -m crash.zygote FOLDER FD...`.

It makes one worker for each descriptor, which answers requests (a line of JSON each) until the other end is
closed. No thread may be there when it forks, so OpenMP and tokenizers are kept to the one that there is.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import socket
import sys
import traceback
from contextlib import redirect_stdout, suppress
from pathlib import Path
from types import SimpleNamespace

import torch

from mlmctl import signals
from mlmctl.cli import main as mlmctl
from mlmctl.engine import loop, plan

from . import scenarios
from .jobs import Worker


def main(base: Path, descriptors: list[int]) -> None:
    torch.set_num_threads(1)
    _make_deterministic()
    _warm_up(base / "warm")
    threads = os.listdir("/proc/self/task")
    assert len(threads) == 1, f"{len(threads)} threads: a fork would lose them"
    gc.collect()
    gc.freeze()
    for number, descriptor in enumerate(descriptors):
        if os.fork() == 0:
            _serve(socket.socket(fileno=descriptor), Worker(base, number))
            os._exit(0)
    for descriptor in descriptors:
        os.close(descriptor)
    for _ in descriptors:
        os.wait()


def _make_deterministic() -> None:
    """The same checkpoints and evaluations in every trial: each look at the clock is a second later."""
    ticks = itertools.count()
    loop.time = SimpleNamespace(monotonic=lambda: float(next(ticks)))  # type: ignore[attr-defined]
    plan._FIRST_EVALUATION = 2


def _warm_up(folder: Path) -> None:
    """Run every stage once, so that whatever is imported or built on first use is there."""
    scenarios.write_inputs(folder)
    here = os.getcwd()
    os.chdir(folder)
    install, signals.stop.install = signals.stop.install, lambda: None  # type: ignore[method-assign]
    for command in scenarios.STAGES:
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), suppress(SystemExit):
            mlmctl([*command, "--quiet"])
    signals.stop.install = install  # type: ignore[method-assign]
    os.chdir(here)


def _serve(channel: socket.socket, worker: Worker) -> None:
    with channel.makefile("rwb") as file:
        for line in file:
            request = json.loads(line)
            try:
                answer = {"result": getattr(worker, request.pop("do"))(**request)}
            except Exception:
                answer = {"error": traceback.format_exc()}
            file.write(json.dumps(answer).encode() + b"\n")
            file.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(word) for word in sys.argv[2:]])
