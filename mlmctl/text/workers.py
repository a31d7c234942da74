"""Work divided over processes, with results in the order of the jobs: who did what never shows.

Each worker is a new Python (nothing is forked), builds what it needs once, and then answers one job after
the other over a pipe of its own. When the parent is gone, however it died, the pipe ends, and so does the
worker.
"""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from ..errors import InterruptedRun, MlmctlError, ResourceError

Job = TypeVar("Job")
Result = TypeVar("Result")

FROM_BYTES = 2**24
"""A smaller corpus is done before the workers have started, each of which takes half a second."""

_AHEAD = 2
"""Jobs a worker that may be begun before the first of them has ended: what bounds the memory."""


def number(num_threads: int, num_bytes: int) -> int:
    """How many workers are worth it for so much text; 1 is this process itself."""
    is_posix = hasattr(signal, "pthread_sigmask")
    return num_threads if is_posix and num_bytes >= FROM_BYTES else 1


def in_order(
    setup: Callable[[], Callable[[Job], Result]], jobs: Iterable[Job], num_workers: int
) -> Generator[Result, None, None]:
    """The results of the jobs, in their order; with one worker they are done right here.

    Close the iterator if it is not read to its end.

    Args:
        setup: makes what does a job, once in each worker; like jobs and results, it is pickled.

    Raises:
        What a job raises; ResourceError `resource.worker` if a worker dies; InterruptedRun if it was told to.
    """
    if num_workers <= 1:
        yield from map(setup(), jobs)
        return
    with _team(setup, num_workers) as team:
        idle = list(team)
        results: dict[int, Result] = {}
        first = 0  # the first job whose result has not been handed on
        for n, job in enumerate(jobs):
            while not idle or n >= first + _AHEAD * num_workers:
                _collect(team, idle, results)
                while first in results:
                    yield results.pop(first)
                    first += 1
            idle.pop().begin(n, job)
        while results or len(idle) < len(team):
            while first in results:
                yield results.pop(first)
                first += 1
            if len(idle) < len(team):
                _collect(team, idle, results)


class _Worker:
    """One process, seen from the parent."""

    def __init__(self, setup: Callable[[], Callable[[Any], Any]]) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, setup), daemon=True)
        # Control-C reaches every process of a terminal; the parent alone is to answer it.
        resource_tracker.ensure_running()  # which would take the block away again
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
        self._job = -1

    def begin(self, number: int, job: object) -> None:
        self._job = number
        try:
            self.connection.send(job)
        except OSError:
            raise self._lost() from None

    def end(self) -> tuple[int, Any]:
        """(number of the job, its result); raises what the job raised."""
        try:
            result, error = self.connection.recv()
        except (EOFError, OSError):
            raise self._lost() from None
        if error is not None:
            raise error
        return self._job, result

    def stop(self) -> None:
        self.connection.close()
        self._process.kill()
        self._process.join()

    def _lost(self) -> MlmctlError:
        self._process.join(5)
        code = self._process.exitcode or 0
        if -code in (signal.SIGTERM, signal.SIGINT):
            return InterruptedRun(-code)
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return ResourceError(
            "resource.worker",
            f"a worker process was ended by {how}",
            hint="memory may be short: --threads 1 needs least; the same command continues from here",
        )


@contextmanager
def _team(setup: Callable[[], Callable[[Any], Any]], num_workers: int) -> Iterator[list[_Worker]]:
    team: list[_Worker] = []
    try:
        for _ in range(num_workers):
            team.append(_Worker(setup))
        yield team
    finally:
        for worker in team:
            worker.stop()


def _collect(team: list[_Worker], idle: list[_Worker], results: dict[int, Any]) -> None:
    """Wait for a worker that is busy, or several; note what they did."""
    busy = {worker.connection: worker for worker in team if worker not in idle}
    for connection in wait(list(busy)):
        worker = busy[connection]  # type: ignore[index]
        n, result = worker.end()
        results[n] = result
        idle.append(worker)


def _serve(connection: Connection, setup: Callable[[], Callable[[Any], Any]]) -> None:
    """The life of a worker."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    work: Callable[[Any], Any] | None = None
    answer: tuple[Any, Exception | None]
    while True:
        try:
            job = connection.recv()
        except (EOFError, OSError):
            return  # the parent is gone
        try:
            work = work or setup()
            answer = work(job), None
        except (MlmctlError, OSError, MemoryError) as error:
            answer = None, error
        except Exception:
            # Not every exception survives a pipe; what it said does.
            answer = None, RuntimeError(f"in a worker process:\n{traceback.format_exc()}")
        try:
            connection.send(answer)
        except OSError:
            return
