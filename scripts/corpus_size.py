"""Speed and memory of pretraining as the text grows: `python scripts/corpus_size.py FOLDER TEXT [MB...]`.

The first 1, 10 and 60 MB of TEXT (plain or .gz; whole documents) are packed with one tokenizer, in run
folders below FOLDER. Then `mini` trains on each in a process of its own. They take turns, 20 steps at a time
while the others are blocked, six times round, so that whatever the machine does meanwhile happens to all.
Prints a Markdown table: blocks, median, least and most tokens a second, the most memory each process has had.
"""

from __future__ import annotations

import gzip
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from mlmctl.commands.bench.children import Child
from mlmctl.commands.bench.sides import Job, World
from mlmctl.config import PretrainConfig, RuntimeConfig
from mlmctl.engine import machine
from mlmctl.engine.architectures import ARCHITECTURES
from mlmctl.text.blocks import Blocks

_ROUNDS, _STEPS = 6, 20
_MEGABYTES = ("1", "10", "60")


def main() -> None:
    folder, text, sizes = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:] or _MEGABYTES
    content = text.read_bytes()
    if text.suffix == ".gz":
        content = gzip.decompress(content)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _made(folder / "all", content, "tokenizer")
    runs = []
    for size in sizes:
        end = content.rfind(b"\n\n", 0, int(float(size) * 1e6))
        runs.append(
            _made(folder / f"{size}MB", content[:end], "mask", "--tokenizer", str(tokenizer / "tokenizer"))
        )
    facts = machine.facts(RuntimeConfig())
    print(
        f"{facts['cpu']}, {facts['num_threads']} threads; torch {facts['torch']}, mlmctl {facts['mlmctl']}\n"
    )
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        worlds = [_world(run) for run in runs]
        jobs = [Job("ours", f"{n}", world, f"{scratch}/{n}") for n, world in enumerate(worlds)]
        children = [stack.enter_context(Child(job, folder)) for job in jobs]
        for child in children:
            child.answer()
            child.ask({"num_steps": 4})
        speeds: list[list[float]] = [[] for _ in children]
        memory = [0] * len(children)
        for number in range(_ROUNDS):
            turn = list(enumerate(children))
            for n, child in turn if number % 2 == 0 else reversed(turn):
                answer = child.ask({"num_steps": _STEPS})
                speeds[n].append(_STEPS * worlds[n].tokens_per_step / answer["seconds"])
                memory[n] = answer["peak_memory_bytes"]
    print("| text | blocks | tokens/s | min-max | memory (MiB) |")
    print("|---|---|---|---|---|")
    for n, (size, world) in enumerate(zip(sizes, worlds, strict=True)):
        num_blocks = Blocks.open(Path(world.blocks), "train").num_blocks
        spread = f"{min(speeds[n]):,.0f}-{max(speeds[n]):,.0f}"
        row = f"{size} MB | {num_blocks:,} | {statistics.median(speeds[n]):,.0f} | {spread}"
        print(f"| {row} | {memory[n] / 2**20:,.0f} |")


def _made(run: Path, content: bytes, stage: str, *options: str) -> Path:
    """A run folder up to a stage."""
    file = run.with_suffix(".txt")
    if not file.exists():
        file.write_bytes(content)
    command = [sys.executable, "-m", "mlmctl", stage, str(file), "--run", str(run), "--quiet", *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return run


def _world(run: Path) -> World:
    blocks, config = Blocks.open(run / "mask/blocks", "train"), PretrainConfig()
    specials = blocks.specials
    return World(
        tokenizer=str(run / "tokenizer"),
        blocks=str(run / "mask/blocks"),
        policy=str(run / "mask/policy"),
        rows="",
        shape=asdict(ARCHITECTURES[config.architecture].presets[config.preset]),
        special_ids={"pad": specials.pad, "cls": specials.cls, "sep": specials.sep},
        vocab_size=specials.vocab_size,
        block_length=blocks.block_length,
        tokens_per_step=config.tokens_per_step // blocks.block_length * blocks.block_length,
        num_threads=machine.num_threads(RuntimeConfig()),
        pretrain={},
    )


if __name__ == "__main__":
    main()
