"""Is a tokenizer the same every time? Train each type many times, each in its own process; count the hashes.

    python scripts/tokenizer_hashes.py CORPUS [TRAININGS]

Half of the trainings have one thread, half have two, and each has another seed of Python's hashes. Prints a
row for each type and fails if it has more than one hash.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

TYPES = ("wordpiece", "bpe")
THREADS = (1, 2)


def trained(corpus: Path, kind: str, threads: int, number: int) -> str:
    """SHA-256 of the `tokenizer.json` that one training gives."""
    environment = {
        **os.environ,
        "PYTHONHASHSEED": str(number),
        "RAYON_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "true",
    }
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "mlmctl", "tokenizer", str(corpus), "--run", folder, "--quiet"]
        command += ["--tokenizer-type", kind]
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        return hashlib.sha256((Path(folder) / "tokenizer/tokenizer.json").read_bytes()).hexdigest()


def main() -> None:
    corpus = Path(sys.argv[1])
    per_type = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    print("| type | trainings | threads | different hashes | SHA-256 of tokenizer.json |")
    print("|---|---|---|---|---|")
    differ = False
    for kind in TYPES:
        hashes = {trained(corpus, kind, THREADS[n % len(THREADS)], n) for n in range(per_type)}
        differ |= len(hashes) > 1
        shown = ", ".join(sorted(value[:16] for value in hashes))
        threads = " and ".join(map(str, THREADS))
        print(f"| {kind} | {per_type} | {threads} | {len(hashes)} | {shown} |", flush=True)
    raise SystemExit(differ)


if __name__ == "__main__":
    main()
