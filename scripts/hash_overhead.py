"""How much of a pretraining run goes into hashing files, so that a flipped bit is seen.

    python scripts/hash_overhead.py CORPUS RUN_FOLDER [options of mlmctl pretrain]

Runs the command in this process and times every SHA-256 of a file: of the corpus, of what is read, of what
is published (checkpoints are hashed when they are written and once more when they are verified).
"""

from __future__ import annotations

import hashlib
import sys
import time
from typing import Any

from mlmctl.cli import main


def run(arguments: list[str]) -> None:
    """Print seconds in all, seconds of hashing, the share, and the bytes."""
    really, seconds, num_bytes, num_files = hashlib.file_digest, 0.0, 0, 0

    def timed(file: Any, *given: Any) -> Any:
        nonlocal seconds, num_bytes, num_files
        start = time.perf_counter()
        try:
            return really(file, *given)
        finally:
            seconds += time.perf_counter() - start
            num_bytes += file.tell()
            num_files += 1

    hashlib.file_digest = timed
    start = time.perf_counter()
    status: object = 0
    try:
        main(arguments)
    except SystemExit as ended:
        status = ended.code
    total = time.perf_counter() - start
    size = num_bytes / 2**20
    print(
        f"{total:.1f} s in all, {seconds:.2f} s of it hashing ({seconds / total:.2%}): "
        f"{num_files:,} files, {size:,.0f} MiB, {size / max(seconds, 1e-9):,.0f} MiB/s"
    )
    if status:
        raise SystemExit(f"the command ended with {status}")


if __name__ == "__main__":
    corpus, folder, *options = sys.argv[1:]
    run(["pretrain", corpus, "--run", folder, "-q", *options])
