"""The same run with 1, 2, 4, ... ranks on this machine: the same batches, losses and masks; how fast.

    python scripts/scaling.py CORPUS FOLDER [--ranks 1 2 4] [--preset mini] [--steps 60]
        [--tokens-per-step 32768]

Each rank has one thread, so that a row says what a further process gives. Prints a table in Markdown and
exits with 1 if batches differ, if losses differ by more than rounding explains, or if mask artifacts are not
the same bytes. Machines that do other work at the same time make the speeds worthless, not the comparisons.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

TOLERANCE = 0.02
"""Of the loss of a step, relative: sums in another order (bfloat16 where the CPU has it), amplified."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--preset", default="mini")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--tokens-per-step", type=int, default=32768)
    asked = parser.parse_args()
    shutil.rmtree(asked.folder, ignore_errors=True)
    found = {number: run(asked, number) for number in asked.ranks}
    first = found[asked.ranks[0]]
    print(
        "| ranks | tokens/s | speed-up | communication | mask, s | largest difference of a loss | batches |"
    )
    print("|---|---|---|---|---|---|---|")
    faults = []
    for number, each in found.items():
        difference = max(
            abs(ours["loss"] / theirs["loss"] - 1)
            for ours, theirs in zip(each["steps"], first["steps"], strict=True)
        )
        speed = each["metrics"]["tokens_per_second"]
        print(
            f"| {number} | {speed:,.0f} | {speed / first['metrics']['tokens_per_second']:.2f} "
            f"| {each['metrics'].get('communication_share', 0):.1%} | {each['mask_seconds']:.1f} "
            f"| {difference:.1e} | {each['steps'][-1]['order_hash'][:16]} |"
        )
        if [s["order_hash"] for s in each["steps"]] != [s["order_hash"] for s in first["steps"]]:
            faults.append(f"{number} ranks: other batches")
        if difference > TOLERANCE:
            faults.append(f"{number} ranks: a loss differs by {difference:.1%}")
        if each["key"] != first["key"]:
            faults.append(f"{number} ranks: another key")
        if each["mask"] != first["mask"]:
            faults.append(f"{number} ranks: mask artifacts differ")
    for fault in faults:
        print(fault, file=sys.stderr)
    return bool(faults)


def run(asked: argparse.Namespace, num_ranks: int) -> dict[str, Any]:
    """The whole chain with so many ranks, and what it left."""
    folder = asked.folder / f"ranks-{num_ranks}"
    starts: dict[str, float] = {}
    for stage in ("tokenizer", "mask", "pretrain"):
        words = [stage, asked.corpus, "--run", str(folder), "--threads", "1", "--quiet"]
        if stage == "pretrain":
            words += ["--preset", asked.preset, "--steps", str(asked.steps)]
            words += ["--set", f"pretrain.tokens_per_step={asked.tokens_per_step}"]
        began = time.monotonic()
        launch = ["--standalone", "--nproc-per-node", str(num_ranks), "-m", "--", "mlmctl", *words]
        subprocess.run(
            [sys.executable, "-m", "torch.distributed.run", *launch],
            check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        starts[stage] = time.monotonic() - began
    manifests = {
        name: json.loads((folder / name / "manifest.json").read_text())
        for name in ("mask/blocks", "mask/policy", "pretrain")
    }
    lines = [json.loads(line) for line in (folder / "pretrain/metrics.jsonl").read_text().splitlines()]
    return {
        "metrics": manifests["pretrain"]["metrics"],
        "key": manifests["pretrain"]["key"],
        "mask": [manifests[name]["fingerprint"] for name in ("mask/blocks", "mask/policy")],
        "mask_seconds": starts["mask"],
        "steps": [line for line in lines if "loss" in line],
    }


if __name__ == "__main__":
    sys.exit(main())
