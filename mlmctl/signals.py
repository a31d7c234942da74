"""SIGINT, SIGTERM and SIGHUP: stop soon, lose nothing, exit with 128 + the signal's number.

Outside a `deferred()` block the first signal raises `InterruptedRun` at the next Python instruction.
Inside one (the training loop) it only sets `stop.requested`, so that the loop can finish its step and
save. A second signal ends the process at once: whatever stands under a final name is whole at any
moment, so nothing is lost by that. A watchdog thread does the same if the first signal got no answer
in `GRACE` seconds; it hears of signals through a pipe, so that native code that does not return to
Python (vocabulary training, one huge operation) cannot hold the process.
"""

from __future__ import annotations

import atexit
import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from .errors import InterruptedRun

GRACE = 18.0
"""Seconds after the first signal when the process ends whatever it does (the promise is 20)."""

STEP_GRACE = 8.0
"""Seconds a training step may go on after the signal before it is abandoned."""

_OURS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequest:
    """Whether a signal asked us to stop, which, and since when."""

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._since = 0.0
        self._deferred = 0
        self._is_installed = False

    @property
    def requested(self) -> bool:
        return self.signal_number is not None

    @property
    def overdue(self) -> bool:
        """The step in progress should be abandoned: it had `STEP_GRACE` seconds to end."""
        return self.requested and time.monotonic() - self._since > STEP_GRACE

    def install(self) -> None:
        """Take over the signals, once; only the main thread of the command may call this.

        SIGHUP is left alone where it is ignored: that is what `nohup` asks for.
        """
        if self._is_installed:
            return
        self._is_installed = True
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        threading.Thread(target=_watch, args=(reader,), name="signals", daemon=True).start()
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in _OURS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._handle)
        atexit.register(self._leave)

    def _leave(self) -> None:
        """Python gives signals back on its way out: a second one would replace the exit code of the first."""
        if self.requested:
            for number in _OURS:
                signal.signal(number, signal.SIG_IGN)

    def raise_if_requested(self) -> None:
        if self.signal_number is not None:
            raise InterruptedRun(self.signal_number)

    @contextmanager
    def deferred(self) -> Iterator[StopRequest]:
        """Inside, a signal sets `requested` and raises nothing; the caller has to look."""
        self._deferred += 1
        try:
            yield self
        finally:
            self._deferred -= 1

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.signal_number = number
        self._since = time.monotonic()
        if not self._deferred:
            raise InterruptedRun(number)


def _watch(reader: int) -> None:
    """Thread: end the process at the second signal, or `GRACE` seconds after the first."""
    first = 0
    while not first:
        number = os.read(reader, 1)[0]
        first = number if number in _OURS else 0
    deadline = time.monotonic() + GRACE
    while (left := deadline - time.monotonic()) > 0:
        ready, _, _ = select.select([reader], [], [], left)
        if ready and os.read(reader, 1)[0] in _OURS:
            break
    os._exit(128 + first)


stop = StopRequest()
"""The one instance of the process: signals are process-wide, so this is too."""
