"""One process a run folder: an flock that the kernel frees when its holder dies, however it dies.

`filelock` truncates the lock file before it knows whether it got the lock, and so erases the name of
the holder that the refusal has to give; hence these few lines.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import BusyError, ResourceError
from ..storage import make_folder

NAME = ".lock"


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold the run folder, made if need be. BusyError names the holder; ResourceError: not writable."""
    try:
        make_folder(run)
        descriptor = os.open(run / NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        raise ResourceError("resource.run", "is a file, not a folder", where=str(run)) from None
    except PermissionError:
        hint = "choose another --run folder"
        raise ResourceError(
            "resource.run", "the run folder is not writable", where=str(run), hint=hint
        ) from None
    with os.fdopen(descriptor, "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(
                "run.busy",
                f"is in use by {_holder(file.read())}",
                where=str(run),
                hint="wait, or use another --run",
            ) from None
        command = " ".join(sys.argv)[:200]
        file.truncate(0)
        json.dump({"pid": os.getpid(), "host": socket.gethostname(), "command": command}, file)
        file.flush()
        yield


def _holder(text: str) -> str:
    try:
        known = json.loads(text)
        return f"process {known['pid']} on {known['host']} ({known['command']})"
    except (ValueError, KeyError, TypeError):
        return "another process"
