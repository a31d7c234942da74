"""How long a run will be and what it will need, decided before anything depends on it and written down.

`plan.json` holds every choice that can change bits. With `steps` or `epochs` it follows by rule; with
a `budget` the number of steps comes from a timing, made once: every rerun reads the plan back. Before the
decay nothing depends on the number of steps. So the first timing only says where the decay begins; the
number is settled there, by the steps that were taken, and again half-way to the end, and half-way from there,
since machines become slower and faster. A larger wish later moves `num_steps` and `decay_start`, so the trunk
before the old decay stays as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from ..config import PretrainConfig, seconds
from ..errors import UsageError
from ..json_files import indented, read_json
from ..storage import write_file
from . import budget, probe, schedule
from .architectures import Shape
from .budget import Timing
from .sizes import Choice

PLAN = "plan.json"
_LEAST_TIMED = 5  # steps, to say how fast the machine is
TOKENS_PER_MICRO_BATCH = 2048
"""Activations of so many tokens stay in the cache: a quarter faster than 8,192 (measured on 2 cores)."""


@dataclass(frozen=True)
class Plan:
    """The committed choices of one run; `num_steps` is 0 until a budget has been calibrated."""

    num_steps: int
    warmup_steps: int
    decay_start: int
    blocks_per_step: int
    blocks_per_micro_batch: int
    block_length: int
    """Tokens a block: what the encoder has seen at most, and fine-tuning cuts its texts to."""
    dtype: Literal["float32", "bfloat16"]
    seconds_per_step: float | None
    """As calibrated, evaluations and checkpoints included; None where nothing was timed."""
    length: str
    """What was asked for: `steps 100`, `epochs 2.0`, `budget 10m`."""
    settle_at: int | None = None
    """On a budget, the step at which the number of steps is settled next, by the clock; None: it is final."""
    timing: Timing | None = None
    """What the number of steps was found from."""
    earlier_ends: tuple[tuple[int, int], ...] = ()
    """(step, num_steps): up to this step of the decay the run was to end there."""
    choice: Choice | None = None
    """The size that `preset auto` stands for, and why; None where the preset was named."""
    is_ours: bool = True
    """False for an encoder that goes on from one made elsewhere."""

    @property
    def schedule(self) -> schedule.Schedule:
        return schedule.Schedule(self.num_steps, self.warmup_steps, self.decay_start, self.earlier_ends)

    @property
    def torch_dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.dtype == "bfloat16" else torch.float32


def draft(config: PretrainConfig, shape: Shape, block_length: int, device: torch.device) -> Plan:
    """The choices that do not depend on the length; only on a budget is one of them timed."""
    at_once = max(1, TOKENS_PER_MICRO_BATCH // block_length)
    blocks_per_step = max(1, config.tokens_per_step // block_length)
    dtype = probe.dtype_by_rule(device)
    if config.steps is None and config.epochs is None:
        widths = shape.hidden_size, shape.intermediate_size
        dtype = probe.dtype_by_timing(device, at_once * block_length, *widths)
    return Plan(
        num_steps=0,
        warmup_steps=0,
        decay_start=0,
        blocks_per_step=blocks_per_step,
        blocks_per_micro_batch=min(at_once, blocks_per_step),
        block_length=block_length,
        dtype="bfloat16" if dtype == torch.bfloat16 else "float32",
        seconds_per_step=None,
        length="",
    )


def with_steps(plan: Plan, num_steps: int, config: PretrainConfig) -> Plan:
    """The plan for so many steps; the warmup is at most a tenth of them."""
    return replace(
        plan,
        num_steps=num_steps,
        warmup_steps=min(config.warmup_steps, num_steps // 10),
        decay_start=schedule.decay_start(num_steps, config.decay_fraction),
    )


def extended(old: Plan, new: Plan, config: PretrainConfig) -> Plan:
    """The old plan with the length of the new one: what it did before the decay stays as it was.

    UsageError if the new one is shorter.
    """
    if new.num_steps < old.num_steps:
        raise UsageError(
            "plan.shorter",
            f"{new.length} is {new.num_steps:,} steps, this run has {old.num_steps:,} ({old.length})",
            hint="ask for more, or --force pretrain starts again",
        )
    start = schedule.decay_start(new.num_steps, config.decay_fraction)
    return replace(
        old,
        num_steps=new.num_steps,
        decay_start=max(start, old.decay_start),
        earlier_ends=(),
        length=new.length,
        timing=old.timing or new.timing,
    )


def asked_length(config: PretrainConfig) -> str:
    """The length that counts: the first set of steps, epochs, budget."""
    if config.steps is not None:
        return f"steps {config.steps}"
    if config.epochs is not None:
        return f"epochs {config.epochs}"
    return f"budget {config.budget}"


def steps_by_rule(config: PretrainConfig, num_blocks: int, blocks_per_step: int) -> int | None:
    """The number of steps where it follows from the configuration; None on a budget."""
    if config.steps is not None:
        return config.steps
    if config.epochs is not None:
        return max(1, round(config.epochs * num_blocks / blocks_per_step))
    return None


def read(work: Path) -> Plan | None:
    """The committed plan of this work folder, or None. ArtifactError if it cannot be read."""
    return read_json(work / PLAN, from_json) if (work / PLAN).exists() else None


def is_ours(folder: Path) -> bool:
    """Whether all that the encoder in `folder` knows was learned by `pretrain`."""
    path = folder / PLAN
    return path.is_file() and read_json(path, lambda found: bool(found.get("is_ours", True)))


def from_json(content: Mapping[str, Any]) -> Plan:
    """The plan that `asdict` made `content` of; ValueError, TypeError or AttributeError for anything else."""
    timing, choice = content.get("timing"), content.get("choice")
    made = {
        "timing": Timing(**timing) if timing else None,
        "choice": Choice(**choice) if choice else None,
        "earlier_ends": schedule.Schedule.from_json(content).earlier_ends,
    }
    plan = Plan(**{**content, **made})
    counts = (plan.num_steps, plan.warmup_steps, plan.decay_start)
    sizes = (plan.blocks_per_step, plan.blocks_per_micro_batch, plan.block_length)
    if not all(type(number) is int and number >= 0 for number in (*counts, *(n - 1 for n in sizes))):
        raise ValueError("its numbers are not what they can be")
    return plan


def commit(work: Path, plan: Plan) -> None:
    """Write the plan so that it is whole or absent."""
    content: dict[str, Any] = asdict(plan)
    write_file(work / PLAN, indented(content))


def decide(
    config: PretrainConfig,
    draft: Plan,
    num_blocks: int,
    committed: Plan | None,
    calibrate: Callable[[Plan], tuple[Timing, float]],
) -> Plan:
    """The plan of this sitting: the committed one, a longer one that continues it, or a new one.

    `draft` holds the choices that do not depend on the length; `calibrate(draft)` is called only on a
    budget that no committed plan answers, and gives what things take and the seconds that are left.
    """
    asked = asked_length(config)
    if committed is not None and committed.length == asked:
        return committed
    new, by_rule = replace(draft, length=asked), steps_by_rule(config, num_blocks, draft.blocks_per_step)
    num_steps = by_rule
    if num_steps is None and committed is not None and committed.length.startswith("budget "):
        num_steps = _in_proportion(committed, seconds(config.budget))
    if num_steps is None:
        timing, left = calibrate(draft)
        interval = seconds(config.save_interval)
        num_steps, per_step = budget.steps_in(left, timing, interval, config.decay_fraction)
        new = replace(new, timing=timing, seconds_per_step=per_step)
    if committed is not None and num_steps == committed.num_steps:  # 60s for 1m: the same run goes on
        return replace(committed, length=asked, settle_at=None if by_rule else committed.settle_at)
    new = with_steps(new, num_steps, config)
    new = new if committed is None else extended(committed, new, config)
    is_open = by_rule is None and 0 < new.decay_start < new.num_steps
    return replace(new, settle_at=new.decay_start if is_open else None)


def settled(plan: Plan, left: float, taken: tuple[int, float], save_interval: float) -> Plan:
    """The plan with the number of steps that ends in `left` seconds, at its step `settle_at`.

    `taken`: how many steps before it were timed, none or few if others were in another sitting, and the
    seconds of one. By as much as they were faster or slower than thought the others will be, too. What is
    left of the decay becomes at most four times as long as planned, and a quarter at least: a run without
    one would be worth little.
    """
    now, timing, schedule = plan.settle_at, plan.timing, plan.schedule
    if now is None or timing is None:
        return replace(plan, settle_at=None)
    num_timed, each = taken
    is_telling = num_timed >= _LEAST_TIMED  # the first ones of a sitting are slow: memory is taken
    pace = each / timing.step_at(schedule.left(now - (num_timed + 1) // 2)) if is_telling else 1.0
    timing = timing.slower(pace)
    to_come = replace(timing, late_step=timing.step_at(schedule.left(now) / 2))
    wanted = budget.steps_after(now, left, to_come, save_interval) - now
    planned = plan.num_steps - now
    num_steps = now + min(max(wanted, -(-planned // 4)), 4 * planned)
    return replace(
        plan,
        num_steps=num_steps,
        earlier_ends=schedule.moved(now, num_steps).earlier_ends,
        settle_at=budget.settles_again(now, num_steps, to_come),
        timing=timing,
        seconds_per_step=pace * plan.seconds_per_step if plan.seconds_per_step else None,
    )


def _in_proportion(committed: Plan, budget: float) -> int | None:
    """Steps for another budget at the speed of the first; what was spent on the trunk counts."""
    if committed.seconds_per_step is None:
        return None
    extra = budget - seconds(committed.length.removeprefix("budget "))
    return max(1, committed.num_steps + round(extra / committed.seconds_per_step))
