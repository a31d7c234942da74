"""The private line between the command and a child: JSON objects, one a line, through two pipes.

Standard output and error are not used, so that nothing a library prints can disturb it. A thread of the
child listens: when the command is gone, however it went, the child ends at once, whatever it computes.
"""

from __future__ import annotations

import json
import os
import queue
import threading
import time
from typing import Any

from ...engine.runtime import peak_memory

Message = dict[str, Any]


class Channel:
    """The child's end."""

    def __init__(self, requests: int, answers: int) -> None:
        """From the numbers of two open file descriptors."""
        self._answers = os.fdopen(answers, "w", encoding="utf-8")
        self._queue: queue.SimpleQueue[Message] = queue.SimpleQueue()
        threading.Thread(target=self._listen, args=(requests,), name="requests", daemon=True).start()

    def receive(self) -> Message:
        """The next request; waits for it."""
        return self._queue.get()

    def send(self, message: Message) -> None:
        self._answers.write(json.dumps(message, allow_nan=False) + "\n")
        self._answers.flush()

    def _listen(self, requests: int) -> None:
        with os.fdopen(requests, encoding="utf-8") as lines:
            for line in lines:
                self._queue.put(json.loads(line))
        os._exit(0)


class Pacer:
    """Lets a training loop take as many steps as it is asked for, and blocks it in between."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._num_steps = 0
        self._left = 0
        self._start = 0.0

    def begin(self, facts: Message) -> None:
        """To be called before the first step: answers with facts about the side and waits."""
        self._channel.send({**facts, "peak_memory_bytes": peak_memory()})
        self._wait()

    def step(self) -> None:
        """To be called after each step: at the last one answers with the time taken, and waits."""
        self._left -= 1
        if self._left == 0:
            seconds = time.perf_counter() - self._start
            self._channel.send(
                {"seconds": seconds, "num_steps": self._num_steps, "peak_memory_bytes": peak_memory()}
            )
            self._wait()

    def _wait(self) -> None:
        self._num_steps = self._left = int(self._channel.receive()["num_steps"])
        self._start = time.perf_counter()
