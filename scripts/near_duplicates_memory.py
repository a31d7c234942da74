"""Time and memory of finding near-duplicates in made-up signatures: near_duplicates_memory.py NUM_DOCUMENTS

A tenth of the documents of every part are like one of the part before (estimate 0.91); the rest are random.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from mlmctl.text.near_duplicates import NUM_PLACES, first_of_similar
from mlmctl.text.npy import open_array

PART = 4000
PLANTED = PART // 10
NUM_CHANGED = 12
THRESHOLD = 0.8


def main(num_documents: int) -> None:
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [folder / f"{number}.npy" for number in range(num_documents // PART)]
        before = None
        for path in paths:
            table = rng.integers(0, 2**16, (PART, NUM_PLACES)).astype(np.uint16)
            if before is not None:
                table[:PLANTED] = before[-PLANTED:]
                table[:PLANTED, :NUM_CHANGED] += 1
            np.save(path, table, allow_pickle=False)
            before = table
        start = time.process_time()
        is_first = first_of_similar([lambda p=path: open_array(p) for path in paths], THRESHOLD, folder)
        seconds = time.process_time() - start
        num_dropped, planted = int((~is_first).sum()), (len(paths) - 1) * PLANTED
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{num_dropped:,} of {len(paths) * PART:,} dropped, {planted:,} were planted")
    print(f"{seconds:.1f} s of CPU, {peak:,.0f} MiB at most")


if __name__ == "__main__":
    main(int(sys.argv[1]))
