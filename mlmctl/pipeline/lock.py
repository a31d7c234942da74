"""One process a run folder: an flock that the kernel frees when its holder dies, however it dies.

`filelock` truncates the lock file before it knows whether it got the lock, and so erases the name of
the holder that the refusal has to give; hence these few lines.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..artifact import LOCK
from ..errors import ArtifactError, BusyError, ResourceError, UsageError
from ..storage import make_folder

_PATIENCE = 0.2
"""Seconds to wait for a holder that has the lock and has not yet written who it is."""


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold the run folder, made if need be.

    BusyError names the holder; ResourceError: not writable; ArtifactError: the lock is a link; UsageError
    for a name that libraries could not write to.
    """
    _check_name(run)
    try:
        make_folder(run)
        descriptor = os.open(run / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        raise ResourceError("resource.run", "is a file, not a folder", where=str(run)) from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            found = "is a symbolic link; nothing is written through it"
            raise ArtifactError("artifact.link", found, where=str(run / LOCK)) from None
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR):
            found, hint = f"the run folder is not writable ({error.strerror})", "choose another --run folder"
            raise ResourceError("resource.run", found, where=str(run), hint=hint) from None
        raise
    with os.fdopen(descriptor, "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(
                "run.busy",
                f"is in use by {_holder(descriptor)}",
                where=str(run),
                hint="wait, or use another --run",
            ) from None
        command = " ".join(sys.argv)[:200]
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "command": command}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        try:
            yield
        finally:
            os.ftruncate(descriptor, 0)  # so that the next holder is never taken for this one


def _check_name(run: Path) -> None:
    try:
        str(run).encode()
    except UnicodeEncodeError:
        found, hint = "is not UTF-8, which some libraries need", "choose another --run folder"
        raise UsageError("usage.run", found, where=str(run), hint=hint) from None


def _holder(descriptor: int) -> str:
    deadline = time.monotonic() + _PATIENCE
    while not (text := os.pread(descriptor, 4096, 0)) and time.monotonic() < deadline:
        time.sleep(0.001)
    try:
        known = json.loads(text)
        return f"process {known['pid']} on {known['host']} ({known['command']})"
    except (ValueError, KeyError, TypeError):
        return "another process"
