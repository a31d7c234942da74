"""One trial: a forked process whose k-th system call that changes a folder goes wrong."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from .seccomp import Call, Unsupported, Watch, install

_SECONDS = 120.0
_UNSUPPORTED = 97


@dataclass(frozen=True)
class Fault:
    """What goes wrong, at which of the counted calls (from 1)."""

    kind: str = "none"
    """`kill` before the call; `torn`: after the first half of it, if it writes; `error`;
    `interrupted` is an error that may be gone on with; `full`: from there on
    nothing can be written or created; `short`: only half is written; `signal` during the call."""
    at: int = 0
    number: int = 0
    """The errno, or the signal."""

    def __str__(self) -> str:
        names = {
            "error": errno.errorcode,
            "interrupted": errno.errorcode,
            "signal": {s.value: s.name for s in signal.Signals},
        }
        name = names.get(self.kind, {}).get(self.number, "")
        return f"{self.kind} {name}".strip() + f" at {self.at}"


@dataclass
class Ended:
    """How a trial ended: its exit code (negative: the signal) and the calls that were counted."""

    code: int
    calls: list[tuple[str, str, str]] = field(default_factory=list)
    """(kind, path, new name), below the folder; the last may not have been carried out."""


def run(
    function: Callable[[], object],
    folder: Path,
    fault: Fault = Fault(),
    record: Callable[[Watch, Call], None] | None = None,
) -> Ended:
    """Fork, call `function` there and watch what it does to `folder` (an absolute path without links).

    `record` sees every counted call before it is carried out. Unsupported if the system forbids to watch.
    """
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        _child(function, theirs)
    theirs.close()
    _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
    if not descriptors:
        os.waitpid(pid, 0)
        raise Unsupported("the child could not be watched: see its standard error")
    watch = Watch(pid, descriptors[0], _SECONDS)
    ours.send(b".")
    ours.close()
    ended = Ended(0)
    try:
        _supervise(watch, str(folder), fault, ended, record, pid)
    finally:
        _, status = os.waitpid(pid, 0)
        watch.close()
    ended.code = os.waitstatus_to_exitcode(status)
    return ended


def _child(function: Callable[[], object], channel: socket.socket) -> NoReturn:
    code = _UNSUPPORTED
    try:
        listener = install()
        socket.send_fds(channel, [b"."], [listener])
        os.close(listener)
        channel.recv(1)  # until the other side is ready
        channel.close()
        code = 1
        function()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _supervise(
    watch: Watch,
    folder: str,
    fault: Fault,
    ended: Ended,
    record: Callable[[Watch, Call], None] | None,
    pid: int,
) -> None:
    for call in watch.calls():
        if not _is_below(folder, call.path) and not _is_below(folder, call.target):
            watch.go_on(call)
            continue
        ended.calls.append((call.kind, _relative(folder, call.path), _relative(folder, call.target)))
        if record is not None:
            record(watch, call)
        if len(ended.calls) == fault.at or (fault.kind == "full" and len(ended.calls) > fault.at):
            _strike(watch, call, fault, pid)
        else:
            watch.go_on(call)


def _strike(watch: Watch, call: Call, fault: Fault, pid: int) -> None:
    can_be_cut = call.kind == "write" and call.size > 1 and call.source < 0
    match fault.kind:
        case "kill":
            watch.kill()
        case "torn":
            if can_be_cut:
                watch.write_half(call)
            watch.kill()
        case "error" | "interrupted":
            watch.fail(call, fault.number)
        case "full":
            is_new = call.kind == "create" and not os.path.lexists(call.path)
            if is_new or call.kind in ("write", "mkdir"):
                watch.fail(call, errno.ENOSPC)
            else:
                watch.go_on(call)
        case "short":
            if can_be_cut:
                watch.done(call, watch.write_half(call))
            else:
                watch.go_on(call)
        case "signal":
            os.kill(pid, fault.number)  # stays pending until the call has returned
            watch.go_on(call)
        case _:
            watch.go_on(call)


def _is_below(folder: str, path: str) -> bool:
    return path == folder or path.startswith(folder + "/")


def _relative(folder: str, path: str) -> str:
    return os.path.relpath(path, folder) if path else ""
