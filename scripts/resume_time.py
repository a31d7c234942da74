"""How long a killed run takes from its start to its first new step, and that no data is read again for it.

    python scripts/resume_time.py CORPUS FOLDER [--presets mini,small] [--steps 60,600]

For each preset and each number of steps a run is killed (SIGKILL) once it has a checkpoint beyond that step,
and started again: the seconds until `metrics.jsonl` has a line that was not there, beside those that Python
and the libraries take to be imported. Were data replayed, a later step would take longer.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from pathlib import Path

_EVERY = 0.005
_SAVED = "pretrain.save_interval=2s"


def begin(arguments: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "mlmctl", *arguments], stdout=subprocess.DEVNULL)


def checkpoint(run: Path) -> int:
    """The step of the newest checkpoint, 0 if there is none."""
    names = [path.name for path in run.glob(".work/pretrain-*/checkpoints/step-*")]
    return max((int(name.removeprefix("step-")) for name in names), default=0)


def last_step(run: Path) -> int:
    """The step of the last whole line of the log."""
    for log in run.glob(".work/pretrain-*/metrics.jsonl"):
        lines = [line for line in log.read_bytes().split(b"\n")[:-1] if b'"loss"' in line]
        return int(lines[-1].split(b'"step": ')[1].split(b",")[0]) if lines else 0
    return 0


def measure(corpus: str, run: Path, preset: str, step: int) -> tuple[int, float]:
    """(the step that was continued from, seconds from the start of the command to its first new step)."""
    command = [
        "pretrain",
        corpus,
        "--run",
        str(run),
        "--preset",
        preset,
        "--steps",
        "100000",
        "-q",
        "--set",
        _SAVED,
    ]
    first = begin(command)
    while checkpoint(run) < step:
        time.sleep(_EVERY)
        if first.poll() is not None:
            raise SystemExit("the run ended before it could be killed")
    first.send_signal(signal.SIGKILL)
    first.wait()
    at = checkpoint(run)
    start = time.monotonic()
    second = begin(command)
    seen_cut = False
    while True:
        step_now = last_step(run)
        seen_cut = seen_cut or step_now <= at  # the log is cut back to the checkpoint first
        if seen_cut and step_now > at:
            break
        time.sleep(_EVERY)
    seconds = time.monotonic() - start
    second.send_signal(signal.SIGKILL)
    second.wait()
    return at, seconds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("corpus")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--presets", default="mini,small")
    parser.add_argument("--steps", default="20,200")
    given = parser.parse_args()
    start = time.monotonic()
    subprocess.run([sys.executable, "-c", "import mlmctl.stages.pretrain"], check=True)
    print(f"imports alone: {time.monotonic() - start:.1f} s")
    for preset in given.presets.split(","):
        for step in map(int, given.steps.split(",")):
            at, seconds = measure(given.corpus, given.folder / f"{preset}-{step}", preset, step)
            print(f"{preset}: {seconds:.1f} s from the start to the step after {at:,}")


if __name__ == "__main__":
    main()
