"""One command done by several ranks: the first runs it, the others help with the stages that are divided.

The first rank does what a process alone would do: it locks the run folder, decides what is fresh, prints.
Where a stage is divided it leaves a job in the store that `torchrun` keeps; the others look there, do the
job with it, and look for the next. How long one needs (a vocabulary may take an hour) is nobody's business
as long as it shows signs of life; whoever hears none of one it waits for gives up after the time limit.
"""

from __future__ import annotations

import json
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from ..engine.ranks import Place, Ranks, lost
from ..errors import MlmctlError, ResourceError

Perform = Callable[[str, Mapping[str, Any], "Team"], object]
"""Does a job that the first rank began: (name, content, team)."""

_POLL = 0.2  # seconds between two looks into the store
_PATIENCE = 2.0  # seconds for a word to a store whose host may be gone
_GRACE = 2.0  # seconds after a failure in which the one that failed is to be seen first to have ended
_END = "end"

_T = TypeVar("_T")


class Team:
    """The ranks of one command, and the store in which they leave each other messages."""

    def __init__(self, place: Place, timeout: float, device: str) -> None:
        """Meet the others. ResourceError as `Ranks.join` raises it."""
        self.ranks = Ranks.join(place, timeout, device)
        self._store = self.ranks.store
        self._timeout = timeout
        self._num_jobs = 0
        self.failed_first = False
        """Whether this rank was the first of all to tell of a failure."""
        self._is_over = threading.Event()
        self._watch = _Watch(self._store, place.rank, timeout / 20, self._is_over)
        _enter(self.ranks.decide(os.getcwd))

    def begin(self, name: str, content: Mapping[str, Any]) -> None:
        """The first rank begins a job, which it must then do itself too."""
        self._num_jobs += 1
        self._store.set(f"job/{self._num_jobs}", json.dumps({"name": name, "content": content}))

    def dismiss(self) -> None:
        """The first rank needs no more help with the job; returns when the others have stopped."""
        self._store.set(f"enough/{self._num_jobs}", "")
        self.wait()

    def is_dismissed(self) -> bool:
        """Whether the first rank needs no more help with the job."""
        self._check_alive([0])
        return self._watch.num_dismissed >= self._num_jobs

    def wait(self) -> None:
        """The first rank waits until all have done the job. ResourceError `ranks.lost` if one is gone."""
        while not self._are_done():
            self._check_alive(
                [r for r in range(1, self.ranks.world_size) if not self._store.check([self._done(r)])]
            )
            time.sleep(_POLL)

    def end(self, exit_code: int) -> None:
        """The first rank has nothing more to do; the others leave with its exit code."""
        _quickly(lambda: self.begin(_END, {"exit_code": exit_code}))
        until = time.monotonic() + _PATIENCE  # the store may be in this process, and they have to read it
        while time.monotonic() < until and not _quickly(self._are_done):
            time.sleep(_POLL / 4)
        self._is_over.set()
        if exit_code == 0:
            self.ranks.leave()

    def follow(self, perform: Perform) -> int:
        """Do what the first rank begins until it ends; its exit code.

        Raises what a job raises, and ResourceError `ranks.lost` if the first rank is gone.
        """
        while True:
            job = self._next_job()
            is_end = job["name"] == _END
            if not is_end:
                perform(job["name"], job["content"], self)
            _quickly(partial(self._store.set, self._done(self.ranks.rank), ""))
            if is_end:
                break
        self._is_over.set()
        exit_code = int(job["content"]["exit_code"])
        if exit_code == 0:
            self.ranks.leave()
        else:
            time.sleep(_GRACE)  # that torchrun names the one that failed, not us
        return exit_code

    def tell_failure(self, error: MlmctlError) -> None:
        """Let the others know why this rank ends, for they will notice no more than that it is gone."""
        place = self.ranks.place
        told = {"rank": place.rank, "code": error.code, "message": str(error), "exit_code": error.exit_code}
        text = json.dumps(told)
        if not self.ranks.is_first:
            time.sleep(_POLL)  # what befalls all alike is the first one's to tell
        self.failed_first = _quickly(lambda: self._store.compare_set("failure", "", text)) == text.encode()

    def failure(self) -> dict[str, Any] | None:
        """What the first rank to fail told: {rank, code, message, exit_code}; None if nobody did."""

        def read() -> dict[str, Any] | None:
            found = self._store.check(["failure"])
            return json.loads(self._store.get("failure")) if found else None

        return _quickly(read)

    def _done(self, rank: int) -> str:
        return f"done/{self._num_jobs}/{rank}"

    def _are_done(self) -> bool:
        return bool(self._store.check([self._done(rank) for rank in range(1, self.ranks.world_size)]))

    def _next_job(self) -> dict[str, Any]:
        self._num_jobs += 1
        while True:
            try:
                return self._watch.jobs.get(timeout=_POLL)
            except queue.Empty:
                self._check_alive([0])

    def _check_alive(self, ranks: Sequence[int]) -> None:
        now = time.monotonic()
        for rank in set(ranks) - set(self._watch.of):
            self._watch.heard[rank] = now  # nobody listened to it until now
        self._watch.of = ranks
        for rank in ranks:
            if self._watch.is_cut_off or now - self._watch.heard[rank] > self._timeout:
                why = (
                    "the store is gone"
                    if self._watch.is_cut_off
                    else f"nothing heard for {self._timeout:g} s"
                )
                raise lost(self.ranks.place, f"rank {rank}: {why}")


class _Watch:
    """A thread that shows signs of life, listens for those of others, and looks for jobs.

    Only it talks to a store that may not answer, so that nobody has to wait for that longer than they want.
    """

    def __init__(self, store: Any, rank: int, interval: float, is_over: threading.Event) -> None:
        self.jobs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.heard: dict[int, float] = {}
        """When each rank that is waited for (`of`) last showed a sign of life."""
        self.of: Sequence[int] = ()
        self.num_dismissed = 0
        """The last job with which no more help is needed."""
        self.is_cut_off = False
        self._store, self._rank, self._interval, self._is_over = store, rank, interval, is_over
        threading.Thread(target=self._run, name="ranks", daemon=True).start()

    def _run(self) -> None:
        number, beat, beats, due = 1, 0, dict[int, bytes](), 0.0
        try:
            while not self._is_over.wait(_POLL):
                if self._rank and self._store.check([f"job/{number}"]):
                    self.jobs.put(json.loads(self._store.get(f"job/{number}")))
                    number += 1
                elif self._rank and self._store.check([f"enough/{number - 1}"]):
                    self.num_dismissed = number - 1
                if time.monotonic() < due:
                    continue
                beat, due = beat + 1, time.monotonic() + self._interval
                self._store.set(f"alive/{self._rank}", str(beat))
                for rank in self.of:
                    if not self._store.check([f"alive/{rank}"]):
                        continue
                    if (found := self._store.get(f"alive/{rank}")) != beats.get(rank):
                        beats[rank], self.heard[rank] = found, time.monotonic()
        except RuntimeError:
            self.is_cut_off = True


def _enter(folder: str) -> None:
    """Work where the first rank was started, so that a path means the same to all."""
    try:
        os.chdir(folder)
    except OSError:
        raise ResourceError(
            "ranks.folder",
            "the folder in which rank 0 was started is not here",
            where=folder,
            hint="all ranks need a common file system",
        ) from None


def _quickly(function: Callable[[], _T]) -> _T | None:
    """What the function returns; None if it fails or does not return soon."""
    results: list[_T] = []

    def call() -> None:
        try:
            results.append(function())
        except RuntimeError:
            return

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    return results[0] if results else None
