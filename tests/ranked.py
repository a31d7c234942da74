"""Processes that are ranks of one another, as torchrun would start them, on the loopback address."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

STAGES = ("tokenizer", "mask", "pretrain", "finetune", "evaluate")

# A server that has imported what is heavy, and from which the ranks are forked: they start at once.
_CONTEXT = get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["torch.distributed", "mlmctl.cli", "mlmctl.pipeline", *(f"mlmctl.stages.{name}" for name in STAGES)]
)
_LIMIT = 120.0  # a hang ends here


@dataclass(frozen=True)
class Ended:
    """How the ranks of one start ended, in their order."""

    codes: list[int | None]
    """Exit codes; minus the number of the signal that killed one."""
    told: list[str]
    """What each wrote."""
    seconds: float


def run(num_ranks: int, target: Callable[..., object], *arguments: object, folder: Path) -> Ended:
    """Call `target(*arguments)` in so many ranks. What is still there after the limit is killed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"rank-{rank}.txt" for rank in range(num_ranks)]
    began = time.monotonic()
    processes = [
        _CONTEXT.Process(target=_rank, args=(rank, num_ranks, port, str(file), target, arguments))
        for rank, file in enumerate(files)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(max(0.1, _LIMIT - (time.monotonic() - began)))
        if process.is_alive():
            process.kill()
            process.join()
    seconds = time.monotonic() - began
    return Ended([process.exitcode for process in processes], [file.read_text() for file in files], seconds)


def command(*words: str) -> None:
    """The command line, as a rank runs it."""
    from mlmctl.cli import main

    main(list(words))


def command_that_ends_at(step: int, how: str, words: Sequence[str]) -> None:
    """The same, but before that step the last rank is killed, hangs, fails, lacks memory, drifts or stops."""
    from mlmctl.engine import loop
    from mlmctl.errors import DataError

    real = loop.accumulate

    def accumulate(model, work, number, settings, stop):  # type: ignore[no-untyped-def]
        if number == step and settings.ranks.rank == settings.ranks.world_size - 1:
            if how == "drifts":
                next(model.parameters()).data[0] += 1e-3
                return real(model, work, number, settings, stop)
            if how == "fails":
                raise DataError("data.test", "is bad", where="there")
            if how == "lacks memory":
                raise RuntimeError("can't allocate memory: you tried to")
            if how == "hangs":
                time.sleep(_LIMIT)
            os.kill(os.getpid(), signal.SIGTERM if how == "is stopped" else signal.SIGKILL)
        return real(model, work, number, settings, stop)

    loop.accumulate = accumulate
    command(*words)


def command_stopped_as_it_evaluates(*words: str) -> None:
    """The same, but a signal comes to the first rank when it begins its first evaluation."""
    from mlmctl.engine import evaluate_mlm

    real = evaluate_mlm.evaluate

    def evaluate(*arguments, **more):  # type: ignore[no-untyped-def]
        os.kill(os.getpid(), signal.SIGTERM)
        return real(*arguments, **more)

    evaluate_mlm.evaluate = evaluate
    command(*words)


def _rank(
    rank: int,
    num_ranks: int,
    port: int,
    file: str,
    target: Callable[..., object],
    arguments: Sequence[object],
) -> None:
    output = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(output, stream.fileno())
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(num_ranks)}
    os.environ |= {"LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(num_ranks)}
    try:
        target(*arguments)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(99)
