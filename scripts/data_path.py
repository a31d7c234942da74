"""Text to blocks of ids, side by side: `mlmctl mask` and the data path of the usual example script.

    python scripts/data_path.py TOKENIZER_FOLDER CORPUS.txt FOLDER

The other side is `datasets`: load_dataset("text"), a map that tokenizes, a map that joins and cuts into
blocks (as `run_mlm.py` does by default, both cores). Both sides use the same tokenizer and start from
nothing; each runs in a process of its own, whose seconds, peak memory (with its workers) and bytes on
disk (at most, and at the end, for each byte of text) are printed. Needs `datasets`.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from pathlib import Path

from watch import bytes_in, watch

BLOCK_LENGTH = 128


def usual(tokenizer_folder: str, corpus: str, cache: str) -> None:
    """The other side, in this process."""
    from itertools import chain

    from datasets import load_dataset
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    raw = load_dataset("text", data_files={"train": corpus}, cache_dir=cache)

    def tokenize(rows: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        return tokenizer(rows["text"], return_special_tokens_mask=True)  # type: ignore[no-any-return]

    def group(rows: dict[str, list[list[int]]]) -> dict[str, list[list[int]]]:
        joined = {name: list(chain(*lists)) for name, lists in rows.items()}
        total = len(joined["input_ids"]) // BLOCK_LENGTH * BLOCK_LENGTH
        return {
            name: [ids[i : i + BLOCK_LENGTH] for i in range(0, total, BLOCK_LENGTH)]
            for name, ids in joined.items()
        }

    cores = os.cpu_count()
    tokenized = raw.map(tokenize, batched=True, num_proc=cores, remove_columns=["text"])
    blocks = tokenized.map(group, batched=True, num_proc=cores)
    print(json.dumps({"num_blocks": len(blocks["train"])}))


def measured(name: str, command: list[str], folder: Path, size: int) -> None:
    """Run a command and print what it took."""
    shutil.rmtree(folder, ignore_errors=True)
    taken = watch(f"{shlex.join(command)} 2> /dev/null", folder)
    print(
        f"| {name} | {taken.seconds:.0f} | {size / taken.seconds / 1e6:.2f} | {taken.memory / 2**20:,.0f} "
        f"| {taken.disk / size:.2f} | {bytes_in(folder) / size:.2f} |",
        flush=True,
    )


def main() -> None:
    if sys.argv[1] == "usual":
        usual(*sys.argv[2:5])
        return
    tokenizer, corpus, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    size = Path(corpus).stat().st_size
    print(f"{size / 1e6:,.0f} MB of text")
    print("| side | seconds | MB of text a second | peak memory (MiB) | disk at most | disk at the end |")
    print("|---|---|---|---|---|---|")
    ours = [
        sys.executable,
        "-m",
        "mlmctl",
        "mask",
        corpus,
        "--tokenizer",
        tokenizer,
        "--run",
        str(folder / "mlmctl"),
    ]
    measured("mlmctl mask", [*ours, "--json"], folder / "mlmctl", size)
    theirs = [sys.executable, __file__, "usual", tokenizer, corpus, str(folder / "datasets")]
    measured("load_dataset, map, group_texts", theirs, folder / "datasets", size)


if __name__ == "__main__":
    main()
