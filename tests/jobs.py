"""Jobs for worker processes, which can only be given what they can import."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from mlmctl.errors import DataError
from mlmctl.text import workers


class Squares:
    """Squares numbers, the even ones slowly; says in which process; some numbers it cannot do."""

    def __call__(self, number: int) -> tuple[int, int]:
        if number == 13:
            raise DataError("data.thirteen", "is thirteen", where="jobs:13", hint="skip it")
        if number == 14:
            raise KeyError("fourteen")
        if number < 0:
            os.kill(os.getpid(), -number)
        if number % 2 == 0:
            time.sleep(0.01)
        return number * number, os.getpid()


def sleep(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def sleeper() -> Callable[[float], int]:
    return sleep


def main() -> None:
    """Write the process ids of two workers that have much to do."""
    pids: set[int] = set()
    for pid in workers.in_order(sleeper, [0.2] * 1000, 2):
        if pid not in pids:
            pids.add(pid)
            sys.stdout.write(f"{pid}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
