"""What `tokenizer` and `mask` take as the text grows: `python scripts/large_corpus.py FOLDER TEXT...`

For each file of text (made by `scripts/make_corpus.py`) both stages run in a run folder of their own, made
anew below FOLDER and deleted; a `.gz` is piped through zcat into `mask -`, which does both at once. Prints a
Markdown table: wall and CPU seconds, MB of text a second, most memory of all processes together, most disk
at a time (run folder, spooled input included) and what stays as artifacts, both for each byte of text.
"""

from __future__ import annotations

import gzip
import os
import shlex
import shutil
import sys
from pathlib import Path

from watch import bytes_in, watch

from mlmctl.config import RuntimeConfig
from mlmctl.engine import machine


def main() -> None:
    folder, texts = Path(sys.argv[1]), sys.argv[2:]
    facts = machine.facts(RuntimeConfig())
    print(
        f"{facts['cpu']}, {facts['num_threads']} of {os.cpu_count()} CPUs; mlmctl {facts['mlmctl']}, Python "
        f"{facts['python']}, tokenizers {facts['tokenizers']}, numpy {facts['numpy']}\n"
    )
    print("| text | command | seconds | CPU seconds | MB/s | memory (MiB) | disk at most | artifacts |")
    print("|---|---|---|---|---|---|---|---|")
    for text in texts:
        run = folder / "run"
        shutil.rmtree(run, ignore_errors=True)
        is_piped = text.endswith(".gz")
        size = _text_bytes(text)
        for stage in ("mask",) if is_piped else ("tokenizer", "mask"):
            corpus = "-" if is_piped else shlex.quote(text)
            pipe = f"zcat {shlex.quote(text)} | " if is_piped else ""
            program = f"{shlex.quote(sys.executable)} -m mlmctl"
            taken = watch(f"{pipe}{program} {stage} {corpus} --run {shlex.quote(str(run))} --json", run)
            kept = bytes_in(run / "tokenizer", run / "mask")
            row = (
                f"{size / 1e6:,.0f} MB",
                f"{'zcat, ' if is_piped else ''}{stage}",
                f"{taken.seconds:,.1f}",
                f"{taken.cpu_seconds:,.1f}",
                f"{size / taken.seconds / 1e6:.2f}",
                f"{taken.memory / 2**20:,.0f}",
                f"{taken.disk / size:.2f}",
                f"{kept / size:.3f}",
            )
            print(f"| {' | '.join(row)} |", flush=True)
        shutil.rmtree(run)


def _text_bytes(path: str) -> int:
    if not path.endswith(".gz"):
        return os.stat(path).st_size
    with gzip.open(path) as file:
        return sum(map(len, iter(lambda: file.read(2**20), b"")))


if __name__ == "__main__":
    main()
