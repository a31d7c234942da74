"""Every way `mlmctl` can refuse or fail: one class for each exit code, one line for each error.

An error carries a stable `code` (scripts may match on it), a `message` that says what was found,
`where` it was found (file, line, byte, row, field) and a `hint` that names the way out. The command
line prints them as one line; `--json` prints them as an object; neither shows a traceback.

    MlmctlError            1  a fault of ours
    ├── UsageError         2  a flag, a recipe, a path that does not exist
    ├── GateError          3  a quality gate (`--fail-under`) was not met
    ├── DataError          4  bad input data
    ├── ArtifactError      5  an artifact is missing, damaged or does not match
    ├── ResourceError      6  disk, memory or permission is short
    ├── BusyError          7  the run folder is in use
    ├── DivergedError      8  training diverged
    └── InterruptedRun     128 + signal number, state saved
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial


class MlmctlError(Exception):
    """An error the user is told about in one line. `exit_code` is the status of the process."""

    exit_code = 1

    def __init__(self, code: str, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.where = where
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        # An exception is rebuilt from its arguments, of which two have to be named here.
        return partial(type(self), where=self.where, hint=self.hint), (self.code, self.message)

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        way_out = f" ({self.hint})" if self.hint else ""
        return f"{place}{self.message}{way_out}"


class UsageError(MlmctlError):
    """A flag, a recipe or a path that cannot be what the user meant."""

    exit_code = 2


class GateError(MlmctlError):
    """A quality gate failed: everything ran, the result is not good enough."""

    exit_code = 3


class DataError(MlmctlError):
    """Text or labelled data that cannot be used as it is."""

    exit_code = 4


class ArtifactError(MlmctlError):
    """An artifact that is missing, damaged, or was made for something else."""

    exit_code = 5


class ResourceError(MlmctlError):
    """Disk, memory or permission is short."""

    exit_code = 6


class BusyError(MlmctlError):
    """Another process works in this run folder."""

    exit_code = 7


class DivergedError(MlmctlError):
    """Training produced no finite loss for too many steps in a row."""

    exit_code = 8


class InterruptedRun(MlmctlError):
    """SIGINT, SIGTERM or SIGHUP stopped the run; what was done is saved and the same command continues."""

    def __init__(self, signal_number: int, message: str | None = None) -> None:
        name = signal.Signals(signal_number).name
        super().__init__(
            "run.interrupted",
            message or f"stopped by {name}",
            hint="the same command continues from here",
        )
        self.exit_code = 128 + signal_number


def one_line(error: Exception) -> str:
    """What a library's exception says, in one line; its kind if it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def translated(to: Callable[[Exception], MlmctlError]) -> Iterator[None]:
    """Inside, whatever another library raises is raised as the error that `to` makes of it."""
    try:
        yield
    except MlmctlError:
        raise
    except Exception as error:
        raise to(error) from None


_SHORT = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "operation not permitted",
    errno.EFBIG: "the file is larger than the file system or a limit (ulimit -f) allows",
    errno.EMFILE: "too many open files",
    errno.ENFILE: "too many open files on this machine",
    errno.ESTALE: "the network file system has lost the file",
    errno.ENOMEM: "out of memory",
    errno.EIO: "the device reports an input/output error",
}
_ASTRAY: dict[int, tuple[type[MlmctlError], str, str]] = {
    errno.ENAMETOOLONG: (UsageError, "usage.name-too-long", "the name is too long"),
    errno.ELOOP: (UsageError, "usage.link-loop", "is a link that leads in a circle"),
    # Whether a path exists is asked before anything is done with it.
    errno.ENOENT: (DataError, "data.gone", "was removed while the command ran"),
}


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out; torch has no class of its own for that on CPUs."""
    words = ("out of memory", "allocate memory", "not enough memory")
    return isinstance(error, MemoryError) or any(some in str(error) for some in words)


@contextmanager
def memory_told() -> Iterator[None]:
    """Inside, running out of memory is a ResourceError: where nobody knows better which setting took it."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        hint = "a smaller --preset, or pretrain.tokens_per_step"
        raise ResourceError("resource.memory", "out of memory", hint=hint) from error


def from_os_error(error: OSError) -> MlmctlError:
    """The `MlmctlError` that says in one line what the operating system refused."""
    name = error.filename
    where = None if name is None else os.fsdecode(name) if isinstance(name, bytes) else str(name)
    if error.errno in _SHORT:
        reason = _SHORT[error.errno]
        code = f"resource.{errno.errorcode[error.errno].lower()}"
        hint = "free some space and run the same command again" if "disk" in reason else None
        return ResourceError(code, reason, where=where, hint=hint)
    if error.errno in _ASTRAY:
        kind, code, reason = _ASTRAY[error.errno]
        return kind(code, reason, where=where)
    return MlmctlError("internal.os", error.strerror or str(error), where=where)
