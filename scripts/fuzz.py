"""Fuzz the readers for a number of seconds: tests/test_fuzz.py with other examples each time.

    python scripts/fuzz.py 600

Ends with the first failure; hypothesis prints the smallest example, and how to run it again.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
import time

_TESTS = "tests/test_fuzz.py"


def main(seconds: float) -> int:
    """The exit code of the first round that fails, 0 if time is up before."""
    end, rounds = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        seed = secrets.randbelow(2**32)
        command = [
            "-m",
            "pytest",
            "-x",
            "-q",
            _TESTS,
            "--hypothesis-profile=fuzz",
            f"--hypothesis-seed={seed}",
        ]
        try:
            found = subprocess.run([sys.executable, *command], timeout=end - time.monotonic(), check=False)
        except subprocess.TimeoutExpired:
            break
        rounds += 1
        if found.returncode:
            print(f"found with --hypothesis-seed={seed}")
            return found.returncode
    print(f"{seconds:.0f} seconds, {rounds} whole rounds, nothing found")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 600.0))
