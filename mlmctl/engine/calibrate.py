"""Times a few real steps on a throw-away copy: for the length of a run on a budget, and for its size."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import nn

from ..config import PretrainConfig, seconds
from ..text.blocks import Blocks
from ..text.specials import Specials
from ..text.units import Units
from . import initial, lanes, needs, plan, runtime, schedule, sizes
from .budget import Timing
from .evaluate_mlm import FrozenMasks, evaluate
from .gradients import accumulate, agree, take_step
from .initial import Start
from .masked_lm import MaskedLanguageWork
from .optimizer import Optimizer, muon_and_adamw
from .ranks import ALONE, Place
from .runtime import Runtime
from .sizes import Choice, Size
from .work import Settings, Work

_WRITE_SPEED = 150e6  # bytes a second of writing, hashing and verifying a checkpoint; slower than most disks
_PUBLISHING = 1.0  # seconds to copy, hash and sync the result
_TRIAL_SECONDS = 0.5  # of a size that may be chosen, its first step not counted


@dataclass(frozen=True)
class Text:
    """What is learned from, as far as size and speed depend on it."""

    blocks: Blocks
    """Some of it, to time steps on."""
    num_tokens: int
    """Of the whole text, as it is packed."""
    specials: Specials
    rate_start: float
    rate_end: float
    units: Units


def preset(config: PretrainConfig, text: Text, here: Runtime, place: Place = ALONE.place) -> Choice:
    """What `preset auto` is for this text, length and machine; see `sizes`. Only a budget needs a clock.

    Of several ranks one asks, and each is taken to be as fast as it is.
    """
    block_length, specials = text.blocks.block_length, text.specials
    ids = {"pad": specials.pad, "cls": specials.cls, "sep": specials.sep}
    candidates = sizes.presets(config.architecture, specials.vocab_size, block_length, ids)
    draft = plan.draft(config, candidates[0].shape, block_length, here.device)
    asked = plan.steps_by_rule(config, text.num_tokens // block_length, draft.blocks_per_step)

    def start(size: Size) -> Start:
        changes = {"preset": size.name, **asdict(size.shape)}
        return initial.new(config.model_copy(update=changes), specials, block_length, here.device)

    def tokens_in(size: Size) -> float:
        if asked is not None:
            return asked * draft.blocks_per_step * block_length
        speed = tokens_per_second(config, start(size), draft, text, here, _TRIAL_SECONDS)
        return seconds(config.budget) * place.world_size * speed

    def fits_memory(size: Size) -> bool:
        needed = needs.estimate(start(size).make(), size.shape, draft, text.rate_start, here.num_threads)
        free = runtime.free_memory(here.device)
        num_sharing = 1 if here.device.type == "cuda" else place.local_world_size
        return free is None or num_sharing * needed.memory < free

    return sizes.choose(candidates, text.num_tokens, plan.asked_length(config), tokens_in, fits_memory)


def tokens_per_second(
    config: PretrainConfig, start: Start, draft: plan.Plan, text: Text, here: Runtime, limit: float
) -> float:
    """Of steps at the mean rate of masking, by steps of one micro-batch a lane, gradients and update apart.

    So a long step of a large model need not be done as a whole.
    """
    encoder = start.make()
    optimizer = muon_and_adamw(
        encoder,
        muon_learning_rate=config.muon_learning_rate,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        dtype=draft.torch_dtype,
    )
    at_once = draft.blocks_per_micro_batch
    num_micro_batches = -(-draft.blocks_per_step // at_once)
    num_lanes = lanes.number(encoder, here.num_threads, num_micro_batches)
    rate = schedule.mean_rate(text.rate_start, text.rate_end, config.decay_fraction)
    work = MaskedLanguageWork(
        text.blocks, config.seed, num_lanes * at_once, at_once, lambda step: rate, text.units
    )
    settings = Settings(
        stage="trial",
        num_steps=0,
        seed=config.seed,
        max_grad_norm=config.max_grad_norm,
        save_interval=0,
        dtype=draft.torch_dtype,
        device=here.device,
        num_threads=here.num_threads,
    )
    steps = _steps(encoder, optimizer, work, settings, 2, limit)[1:]
    gradients = statistics.median(gradients for gradients, _ in steps)
    update = statistics.median(update for _, update in steps)
    num_tokens = draft.blocks_per_step * text.blocks.block_length
    return num_tokens / (-(-num_micro_batches // num_lanes) * gradients + update)


def measure(
    model: nn.Module,
    optimizer: Optimizer,
    work: Work,
    settings: Settings,
    masks: FrozenMasks,
    interim_tokens: int,
    limit: float,
) -> Timing:
    """What steps, an evaluation, a checkpoint and the ending take; `model` is trained and to be dropped.

    Even steps of `work` are as those before the decay, odd ones as those in it. The first step and the first
    evaluation are not counted (memory is taken, libraries warm up); one step of each kind at least is, and as
    many as fit in `limit` seconds.
    """
    steps = [sum(parts) for parts in _steps(model, optimizer, work, settings, 3, limit)]
    step, late_step = both_kinds(steps[2::2], steps[1::2])
    few = max(1, min(4096, interim_tokens, masks.num_tokens))
    evaluate(model, masks, settings.device, few)  # not counted, as the first step is not
    start = time.monotonic()
    evaluate(model, masks, settings.device, few)
    per_token = (time.monotonic() - start) / few
    size = 4 * sum(p.numel() for p in model.parameters()) + sum(
        tensor.numel() * tensor.element_size() for tensor in optimizer.state().values()
    )
    return Timing(
        step=step,
        late_step=late_step,
        evaluation=per_token * min(interim_tokens, masks.num_tokens),
        save=0.1 + size / _WRITE_SPEED,
        ending=per_token * masks.num_tokens + _PUBLISHING,
    )


def both_kinds(early: Sequence[float], late: Sequence[float]) -> tuple[float, float]:
    """Seconds a step before the decay and in it, from a few of each.

    The median says how fast the machine is. How the kinds compare, by which the length is settled later, say
    the quickest of each: other work on the machine only ever makes a step slower.
    """
    step = statistics.median(early)
    return step, step * min(late) / min(early)


def _steps(
    model: nn.Module, optimizer: Optimizer, work: Work, settings: Settings, least: int, limit: float
) -> list[tuple[float, float]]:
    """Seconds for the gradients and for the update of each step: at least so many, and as many as fit in
    `limit` seconds of the first rank.
    """
    started = time.monotonic()
    model.train()
    steps: list[tuple[float, float]] = []

    def is_time_for_more() -> bool:
        return len(steps) < least or time.monotonic() - started + sum(steps[-1]) < limit

    while settings.ranks.decide(is_time_for_more):
        start = time.monotonic()
        done = agree(model, accumulate(model, work, len(steps), settings), settings).done
        _wait_for(settings.device)
        between = time.monotonic()
        take_step(optimizer, 1e-3, done.loss if done else math.nan, settings.max_grad_norm)
        _wait_for(settings.device)
        steps.append((between - start, time.monotonic() - between))
    model.eval()
    return steps


def _wait_for(device: torch.device) -> None:
    """Until a GPU has done what it was given: only then does the clock say how long it took."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
