"""`mlmctl bench`: our training loop beside the Hugging Face Trainer's, on this text and this machine.

Every side is a process of its own that has prepared and warmed up. They take turns, one burst of steps at
a time while all others are blocked, so that whatever the machine does meanwhile happens to all of them.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ... import extras
from ...config import Recipe
from ...engine import machine
from ...engine.architectures import ARCHITECTURES
from ...errors import DataError, UsageError
from ...events import Emit, Note, Plan, Progress
from ...json_files import indented
from ...storage import write_file
from ...text.blocks import Blocks
from . import measured, plot, race
from .children import Child
from .measured import Measured, Shares
from .rows import write_rows
from .sides import MASK_RATE, SIDES, Job, World

_NUM_WARM_UP_STEPS = 2
_LEAST_STEPS = 2
_TIME_LIMIT = 7.5 * 60
"""Seconds for everything but a race: bursts become shorter where the machine is slow."""


@dataclass(frozen=True)
class Options:
    """What is measured, and how often."""

    sides: tuple[str, ...] = tuple(SIDES)
    tokens_per_step: int = 8192
    repetitions: int = 5
    burst_seconds: float = 6.0
    race_minutes: float | None = None
    our_race_minutes: float | None = None
    """Of our only run in the race; None: as long as the others, and again an eighth of it."""
    learning_rate: float | None = None
    """Of the Trainer's ModernBERT in the race; None: the best of three."""


def parse_sides(text: str) -> tuple[str, ...]:
    """`ours,a,b` as names, in their order and once each. UsageError for an unknown one."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in SIDES:
            known = ", ".join(SIDES)
            raise UsageError(
                "usage.side", f"there is no side {name!r}", where="--sides", hint=f"known: {known}"
            )
    if not names:
        raise UsageError("usage.side", "no side is named", where="--sides")
    return names


def check(recipe: Recipe, options: Options) -> None:
    """UsageError, before anything is done, if a package is missing or the recipe cannot be compared."""
    if options.our_race_minutes is not None and options.race_minutes is None:
        raise UsageError("usage.bench", "there is no race", where="--race-ours", hint="--race MINUTES")
    extras.check("matplotlib", "bench", "plots")
    if any(SIDES[name].is_stock for name in options.sides):
        for package in ("accelerate", "datasets"):
            extras.check(package, "bench", "the sides of the Trainer")
    config = recipe.pretrain
    for name, value in (("init", config.init), ("architecture", config.architecture)):
        if value not in ("", "modernbert"):
            found = "only the training of a new modernbert can be compared"
            raise UsageError("usage.bench", found, where=f"pretrain.{name}")
    if config.preset == "auto":
        raise UsageError("usage.bench", "all sides have the size that is named", where="pretrain.preset")


def run(folder: Path, recipe: Recipe, options: Options, output: Path, emit: Emit) -> dict[str, Any]:
    """Measure on the tokenizer and masks of a run folder; write `bench.json` and the plots; the JSON object.

    DataError if the text is too short for a step; MlmctlError if a side fails, in the words of its library.
    """
    started = time.monotonic()
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mlmctl-bench-") as temporary:
        scratch = Path(temporary)
        world = _world(folder, recipe, options, scratch)
        shares = Shares.of(Blocks.open(Path(world.blocks), "train"))
        with ExitStack() as stack:
            limit_job = Job("limit", "limit", world, str(scratch / "limit"))
            limit = stack.enter_context(Child(limit_job, output))
            limit.answer()
            limits = [limit.ask({"measure": True})]
            sides = _measure(stack, options, world, scratch, output, started, emit)
            limits.append(limit.ask({"measure": True}))
        best = max(value for found in limits for value in found.values())
        ours = next((side for side in sides if side.name == "ours"), None)
        result: dict[str, Any] = {
            "machine": machine.facts(recipe.runtime) | _versions("accelerate", "datasets"),
            "settings": {
                **asdict(options),
                "mask_rate": MASK_RATE,
                "masked_share": round(shares.masked, 5),
                **{name: getattr(world, name) for name in _TOLD},
            },
            "limits": {name: [round(found[name]) for found in limits] for name in limits[0]},
            "sides": [measured.to_json(side, ours, world, shares, best) for side in sides],
            "seconds": round(time.monotonic() - started, 1),
        }
        if options.race_minutes is not None:
            minutes = options.race_minutes, options.our_race_minutes
            track = race.Track(folder, recipe, world, scratch, output, *minutes, emit)
            result["race"] = race.run(track, sides, options.learning_rate)
    _write(result, output)
    emit(Note(f"written to {output}/"))
    return result


def _versions(*packages: str) -> dict[str, str]:
    found = {}
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


_TOLD = ("shape", "vocab_size", "block_length", "tokens_per_step", "num_threads")


def _world(folder: Path, recipe: Recipe, options: Options, scratch: Path) -> World:
    blocks = Blocks.open(folder / "mask" / "blocks", "train")
    length = blocks.block_length
    blocks_per_step = max(1, options.tokens_per_step // length)
    if blocks.num_blocks < blocks_per_step:
        found = f"{blocks.num_blocks:,} blocks of {length} tokens are fewer than a step has"
        raise DataError("data.too-short", found, hint="more text, or a smaller --tokens-per-step")
    config = recipe.pretrain
    preset = asdict(ARCHITECTURES[config.architecture].presets[config.preset])
    shape = {name: getattr(config, name) or value for name, value in preset.items()}
    specials = blocks.specials
    rows = scratch / "rows.arrow"
    if any(SIDES[name].is_stock for name in options.sides):
        write_rows(blocks, rows)
    return World(
        tokenizer=str(folder / "tokenizer"),
        blocks=str(folder / "mask" / "blocks"),
        policy=str(folder / "mask" / "policy"),
        rows=str(rows),
        shape=shape,
        special_ids={"pad": specials.pad, "cls": specials.cls, "sep": specials.sep},
        vocab_size=specials.vocab_size,
        block_length=length,
        tokens_per_step=blocks_per_step * length,
        num_threads=machine.num_threads(recipe.runtime),
        pretrain=config.model_dump(mode="json", exclude_unset=True),
    )


def _measure(
    stack: ExitStack,
    options: Options,
    world: World,
    scratch: Path,
    output: Path,
    started: float,
    emit: Emit,
) -> list[Measured]:
    """Warm every side up, then go round them, in turn from the first and from the last."""
    children: list[tuple[Child, Measured]] = []
    for name in options.sides:
        emit(Progress("bench", len(children), len(options.sides), "sides", f"{SIDES[name].title} warms up"))
        job = Job("stock" if SIDES[name].is_stock else "ours", name, world, str(scratch / name))
        child = stack.enter_context(Child(job, output))
        children.append((child, _warm_up(child)))
        _tell_notes(children[-1][1], emit)
    num_bursts = options.repetitions * len(children)
    left = _TIME_LIMIT - (time.monotonic() - started)
    burst = min(options.burst_seconds, left / num_bursts)
    plan = []
    for _, side in children:
        side.num_steps = max(_LEAST_STEPS, round(burst / side.step_seconds))
        plan.append((SIDES[side.name].title, f"{side.num_steps:,} steps a burst"))
    emit(Plan(f"bench: {options.repetitions} rounds, steps of {world.tokens_per_step:,} tokens", plan))
    done = 0
    for repetition in range(options.repetitions):
        for child, side in children if repetition % 2 == 0 else reversed(children):
            answer = child.ask({"num_steps": side.num_steps})
            side.tokens_per_second.append(side.num_steps * world.tokens_per_step / answer["seconds"])
            side.peak_memory_bytes = answer["peak_memory_bytes"]
            done += 1
            detail = f"{SIDES[side.name].title}: {side.tokens_per_second[-1]:,.0f} tokens/s"
            emit(Progress("bench", done, num_bursts, "bursts", detail))
    return [side for _, side in children]


def _warm_up(child: Child) -> Measured:
    facts = child.answer()
    first = child.ask({"num_steps": _NUM_WARM_UP_STEPS})["seconds"]
    then = child.ask({"num_steps": _NUM_WARM_UP_STEPS})["seconds"]
    return Measured(child.job.side, facts, max(0.0, first - then), then / _NUM_WARM_UP_STEPS)


def _tell_notes(side: Measured, emit: Emit) -> None:
    for note in side.facts["notes"]:
        emit(Note(f"{SIDES[side.name].title}: {note}", "warning"))


def _write(result: dict[str, Any], output: Path) -> None:
    write_file(output / "bench.json", indented(result))
    plot.speeds(result["sides"], output / "bench.svg")
    if "race" in result:
        plot.curves(result["race"], output / "race.svg")


def facts(result: dict[str, Any]) -> Sequence[tuple[str, str]]:
    """The machine and the settings as lines under the table."""
    about, settings = result["machine"], result["settings"]
    shape = settings["shape"]
    limits = (
        f"{name} {' and '.join(f'{value / 1e9:,.0f}' for value in values)} GFLOP/s"
        for name, values in result["limits"].items()
    )
    return [
        ("limit of matrix products, before and after", "; ".join(limits)),
        (
            "model",
            f"{shape['num_hidden_layers']} layers of {shape['hidden_size']}, "
            f"vocabulary of {settings['vocab_size']:,}",
        ),
        (
            "steps",
            f"{settings['tokens_per_step']:,} tokens in blocks of {settings['block_length']}, "
            f"{MASK_RATE:.0%} masked",
        ),
        ("machine", f"{about['cpu']}, {about['num_threads']} threads"),
        ("versions", ", ".join(f"{name} {about[name]}" for name in _VERSIONS if name in about)),
    ]


_VERSIONS = ("python", "mlmctl", "torch", "transformers", "accelerate", "datasets", "tokenizers")
