"""Write a large corpus of realistic text: the sentences of real corpora in ever new order, seeded.

    python scripts/make_corpus.py MEGABYTES CORPUS... > big.txt

Every pass over the sentences puts them into another order and cuts that into documents of 1 to 40
sentences with a blank line between, so word frequencies and sentences stay real and no document occurs
twice. Memory is that of the corpora, whatever the size of the result.
"""

from __future__ import annotations

import gzip
import re
import sys
from pathlib import Path

import numpy as np

_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_MAX_SENTENCES = 40


def main() -> None:
    num_bytes = int(float(sys.argv[1]) * 1e6)
    sentences: list[bytes] = []
    for name in sys.argv[2:]:
        content = Path(name).read_bytes()
        text = (gzip.decompress(content) if name.endswith(".gz") else content).decode()
        sentences += [s.encode() for s in _SENTENCE.split(text) if s.strip()]
    generator = np.random.Generator(np.random.PCG64(0))
    written = 0
    while written < num_bytes:
        order = generator.permutation(len(sentences))
        ends = np.cumsum(generator.integers(1, _MAX_SENTENCES + 1, size=len(sentences)))
        start = 0
        for end in ends[: int(np.searchsorted(ends, len(sentences))) + 1].tolist():
            document = b" ".join([sentences[n] for n in order[start:end].tolist()]) + b"\n\n"
            start = end
            if written + len(document) > num_bytes:
                return
            sys.stdout.buffer.write(document)
            written += len(document)


if __name__ == "__main__":
    main()
