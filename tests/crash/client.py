"""The tests' side of the zygote: requests go to whichever worker is free."""

from __future__ import annotations

import json
import os
import queue
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_TESTS = Path(__file__).resolve().parent.parent
_ONE_THREAD = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"), "1"),
    "TOKENIZERS_PARALLELISM": "false",
}


class Workers:
    """As many forked workers as there are connections."""

    def __init__(self, channels: list[socket.socket]) -> None:
        self._files = [channel.makefile("rwb") for channel in channels]
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for file in self._files:
            self._free.put(file)

    def close(self) -> None:
        for file in self._files:
            file.close()

    def ask(self, do: str, **arguments: Any) -> Any:
        """The answer to one request; AssertionError with the worker's traceback if it failed."""
        file = self._free.get()
        try:
            file.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
            file.flush()
            line = file.readline()
        finally:
            self._free.put(file)
        assert line, "the worker died: see its standard error"
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def ask_all(self, requests: Iterable[dict[str, Any]]) -> list[Any]:
        """The answers in the order of the requests."""
        with ThreadPoolExecutor(len(self._files)) as pool:
            return list(pool.map(lambda request: self.ask(**request), requests))


@contextmanager
def started(base: Path, number: int) -> Iterator[Workers]:
    """A zygote with so many workers, below the folder `base`."""
    pairs = [socket.socketpair() for _ in range(number)]
    theirs = [pair[1] for pair in pairs]
    command = [sys.executable, "-m", "crash.zygote", str(base), *(str(end.fileno()) for end in theirs)]
    path = os.pathsep.join(filter(None, [str(_TESTS), os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, **_ONE_THREAD, "PYTHONPATH": path}
    with subprocess.Popen(command, pass_fds=[end.fileno() for end in theirs], env=environment) as process:
        for end in theirs:
            end.close()
        workers = Workers([pair[0] for pair in pairs])
        try:
            yield workers
        finally:
            workers.close()
            for end, _ in pairs:
                end.close()
            process.wait(60)
