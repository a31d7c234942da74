"""The race: validation loss against seconds, each side alone, on a clock that includes everything.

A side's clock starts when its process does: importing, compiling, calibrating, evaluating are on it. Ours is
the command `mlmctl pretrain --budget`, once for all of the time and once for an eighth of it, or once for the
minutes that are asked for; the others are the Trainer loop with its linear decay over as many steps as it was
measured to make in that time. All are evaluated on the same frozen masks, in float32.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...config import PretrainConfig, Recipe
from ...events import Emit, Note, Progress
from ...measure.masked_lm import unigram_loss
from ...text.blocks import Blocks
from ...text.masking import IGNORED
from ...text.npy import open_array
from .children import Child, end, environment, failure
from .measured import Measured
from .sides import SIDES, Job, World

LEARNING_RATES = (3e-4, 1e-3, 3e-3)
"""Tried for the Trainer's ModernBERT; BERT has the script's own."""

SHORT = 1 / 8
"""Share of the time that ours is given in a second run: a run is planned for its end, so that the loss at a
point of a long one is not what a run of that length has."""

_LENGTH = ("budget", "steps", "epochs")
_SHARED = ("tokenizer", "mask", ".spool", ".hashes.json")
_LOOK_EVERY = 0.2


@dataclass(frozen=True)
class Track:
    """What all races of one command have in common."""

    folder: Path
    """The run folder."""
    recipe: Recipe
    world: World
    scratch: Path
    output: Path
    """Gets the log of a side that fails."""
    minutes: float
    our_minutes: float | None
    """Of our only run; None: one of all the time and one of an eighth of it."""
    emit: Emit


def run(track: Track, sides: Sequence[Measured], learning_rate: float | None) -> dict[str, Any]:
    """Race the sides one after another; stock ModernBERT's learning rate is tuned first, unless given."""
    tuning: list[dict[str, Any]] = []
    raced = []
    for side in sides:
        about = SIDES[side.name]
        if not about.is_stock:
            for minutes, share in _our_runs(track):
                found = _ours(track, minutes)
                raced.append({"side": side.name, "title": about.title + share, **found})
            continue
        rate = 5e-5
        if about.architecture == "modernbert":
            if learning_rate is None:
                tuning = [_stock(track, side, each, track.minutes / 3) for each in LEARNING_RATES]
                learning_rate = min(tuning, key=lambda found: found["final_loss"])["learning_rate"]
            rate = learning_rate
        raced.append(_stock(track, side, rate, track.minutes))
    ours = [found["points"] for found in raced if found["side"] == "ours"]
    for found in raced:
        times = [seconds_to(points, found["final_loss"]) for points in ours]
        reached = min((each for each in times if each is not None), default=None)
        found["ours_seconds"] = reached and round(reached, 1)
        found["ratio"] = reached and round(found["points"][-1]["seconds"] / reached, 2)
    return {
        "minutes": track.minutes,
        "unigram_loss": _unigram_loss(track.world),
        "sides": raced,
        "tuning": [{key: found[key] for key in ("side", "learning_rate", "final_loss")} for found in tuning],
    }


def _our_runs(track: Track) -> list[tuple[float, str]]:
    """Minutes of each of our runs, and what the title says of it."""
    if track.our_minutes is not None:
        return [(track.our_minutes, f", {track.our_minutes:g} min")]
    return [(track.minutes, ""), (SHORT * track.minutes, ", an eighth of the time")]


def seconds_to(points: Sequence[dict[str, float]], loss: float) -> float | None:
    """When a curve first came down to a loss, between two points in a straight line; None if it never did."""
    before: dict[str, float] | None = None
    for point in points:
        if point["valid_loss"] <= loss:
            if before is None:
                return point["seconds"]
            share = (before["valid_loss"] - loss) / (before["valid_loss"] - point["valid_loss"])
            return before["seconds"] + share * (point["seconds"] - before["seconds"])
        before = point
    return None


def _stock(track: Track, side: Measured, learning_rate: float, minutes: float) -> dict[str, Any]:
    title = SIDES[side.name].title
    folder = track.scratch / f"race-{side.name}-{learning_rate:g}-{minutes:.3f}"
    points = []
    job = Job(
        "race",
        side.name,
        track.world,
        str(folder),
        learning_rate=learning_rate,
        seconds=60 * minutes,
        step_seconds=side.seconds_a_step(track.world.tokens_per_step),
        warm_up_seconds=side.warm_up_seconds,
        started=time.monotonic(),
    )
    track.emit(Note(f"race: {title}, learning rate {learning_rate:g}, {minutes:g} minutes"))
    with Child(job, track.output) as child:
        while True:
            answer = child.answer()
            points.append({**answer["point"], "seconds": round(answer["point"]["seconds"], 2)})
            _tell(track, title, points[-1], minutes)
            if "seconds" in answer:
                break
    return {
        "side": side.name,
        "title": title,
        "learning_rate": learning_rate,
        "minutes": minutes,
        "points": points,
        "final_loss": points[-1]["valid_loss"],
        "seconds": round(answer["seconds"], 1),
    }


def _ours(track: Track, minutes: float) -> dict[str, Any]:
    """`mlmctl pretrain --budget` in a run folder of its own with the same tokenizer and masks."""
    folder = track.scratch / f"race-ours-{minutes:.3f}"
    run = folder / "run"
    run.mkdir(parents=True)
    for name in _SHARED:
        _link(track.folder / name, run / name)
    command = [
        sys.executable, "-m", "mlmctl", "pretrain", "--run", str(run), "--json", "--quiet",
        "--budget", f"{max(1.0, 60 * minutes):.1f}s", "--threads", str(track.world.num_threads),
        "--device", "cpu",
    ]  # fmt: skip
    for setting in _settings(track.recipe.pretrain):
        command += ["--set", setting]
    track.emit(Note(f"race: {SIDES['ours'].title}, {minutes:g} minutes"))
    log, answer = folder / "log", folder / "answer"
    started = time.monotonic()
    with answer.open("wb") as out, log.open("wb") as err:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=environment(folder, track.world.num_threads),
            start_new_session=True,
        )
        try:
            before = _until_training(process, run, started)
            process.wait()
        finally:
            end(process)
    seconds = time.monotonic() - started
    if process.returncode:
        raise failure("ours", None, process.returncode, log, track.output)
    final = json.loads(answer.read_bytes())["metrics"]["valid_loss"]
    points = _points(run / "pretrain" / "metrics.jsonl", before, final)
    _tell(track, SIDES["ours"].title, points[-1], minutes)
    return {
        "learning_rate": None,
        "minutes": minutes,
        "points": points,
        "final_loss": final,
        "seconds": round(seconds, 1),
    }


def _settings(config: PretrainConfig) -> list[str]:
    """What of the table is not the default, for `--set`; the length is the race's."""
    default, given = PretrainConfig().model_dump(mode="json"), config.model_dump(mode="json")
    changed = {name: value for name, value in given.items() if value != default[name] and name not in _LENGTH}
    return [f"pretrain.{name}={value}" for name, value in changed.items()]


def _until_training(process: subprocess.Popen[bytes], run: Path, started: float) -> float:
    """Seconds until the loop began, which is when it opens its metrics."""
    while process.poll() is None and not list(run.glob(".work/pretrain-*/metrics.jsonl")):
        time.sleep(_LOOK_EVERY)
    return time.monotonic() - started


def _points(metrics: Path, before: float, final_loss: float) -> list[dict[str, float]]:
    """The curve in a `metrics.jsonl`: the loss of an evaluation at the time its step was done."""
    points, seconds, step = [], 0.0, 0
    for line in metrics.read_text(encoding="utf-8").splitlines():
        found = json.loads(line)
        if "seconds" in found:
            seconds, step = found["seconds"], found["step"]
        elif found["step"] == step:
            points.append(_point(before + seconds, step, found["valid_loss"]))
    if points and points[-1]["step"] == step:
        points.pop()  # the same weights, on fewer masks
    return [*points, _point(before + seconds, step, final_loss)]


def _point(seconds: float, step: int, valid_loss: float) -> dict[str, float]:
    return {"seconds": round(seconds, 2), "step": step, "valid_loss": valid_loss}


def _link(source: Path, target: Path) -> None:
    """A second name for a file or for all files of a folder; a copy where the file system has no links."""

    def linked(one: str, other: str) -> None:
        try:
            os.link(one, other)
        except OSError:
            shutil.copy2(one, other)

    if source.is_dir():
        shutil.copytree(source, target, copy_function=linked)
    elif source.is_file():
        shutil.copy2(source, target)  # this one is written to


def _unigram_loss(world: World) -> float:
    labels = open_array(Path(world.policy) / "valid.labels.npy", np.dtype(np.int32))
    counts = Blocks.open(Path(world.blocks), "valid").unigrams(Path(world.blocks))
    return unigram_loss(labels[labels != IGNORED], counts)


def _tell(track: Track, title: str, point: dict[str, float], minutes: float) -> None:
    detail = f"{title}: loss {point['valid_loss']:.3f}"
    track.emit(Progress("race", round(point["seconds"]), round(60 * minutes), "seconds", detail))


COLUMNS = ("side", "loop", "learning rate", "loss", "after", "ours needs", "ratio")


def rows(race: dict[str, Any]) -> list[tuple[str, ...]]:
    """The table of a race; see `COLUMNS`."""
    return [
        (
            found["side"],
            found["title"],
            f"{found['learning_rate']:g}" if found["learning_rate"] else "",
            f"{found['final_loss']:.3f}",
            f"{found['points'][-1]['seconds']:.0f} s",
            "" if found["ours_seconds"] is None else f"{found['ours_seconds']:.0f} s",
            "" if found["ratio"] is None else f"{found['ratio']:.2f}",
        )
        for found in race["sides"]
    ]
