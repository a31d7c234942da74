"""Learns an encoder from blocks of text by predicting hidden tokens.

Reads   mask/blocks, mask/policy, tokenizer (written again, so that the result needs nothing else).
Writes  pretrain/: config.json, model.safetensors, the tokenizer's files, metrics.jsonl, plan.json.

The work folder keeps plan, metrics and the checkpoint before the decay when the result is published: a
larger `steps` or `budget` continues from there and ends like a run of that length from the start.

With several ranks all train; the first alone decides, evaluates and writes.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedModel

from ...config import PretrainConfig, RuntimeConfig, seconds
from ...engine import calibrate, configuration, evaluate_mlm, machine, model, needs, plan, runtime
from ...engine.budget import Timing
from ...engine.checkpoint import Checkpoints, keep_only
from ...engine.loop import Evaluation, Trained, train
from ...engine.optimizer import Optimizer
from ...engine.ranks import Ranks
from ...events import Note, Plan
from ...signals import stop
from ...storage import check_space, folder_size
from ...text import vocabulary
from ...text.blocks import Blocks
from ...text.policy import Policy
from ..stage import Stage
from .world import World, agreed, chosen_preset

_INTERIM_TOKENS = 16_384  # of the frozen masks, at each evaluation on the way; all of them at the end
_LATE = 0.6  # share of the run after which a loss at the unigram level is told
_UNIGRAM_MARGIN = 0.1  # nats below the unigram loss that count as having learned something
_CALIBRATION = 0.04  # share of a budget that a timing may take, and the most seconds
_MOST_CALIBRATION = 10.0


def run(config: PretrainConfig, stage: Stage) -> dict[str, Any]:
    """Train to the planned number of steps and write the encoder; the metrics.

    InterruptedRun after a signal, DivergedError, ArtifactError (checkpoints), ResourceError (disk, ranks),
    UsageError (a length below the one that was begun). No metrics on ranks but the first.
    """
    ranks = stage.ranks
    committed = agreed(ranks, lambda: plan.read(stage.work))
    world = World.open(config, stage, committed)
    first_draft = world.draft()
    encoder, optimizer = world.fresh(committed or first_draft)
    world.initialize(encoder)
    budget = seconds(config.budget)

    def calibrated(draft: plan.Plan) -> tuple[Timing, float]:
        timing = calibrate.measure(
            *world.fresh(draft), world.trial(draft), world.settings(draft), world.masks, _INTERIM_TOKENS,
            limit=min(_CALIBRATION * budget, _MOST_CALIBRATION),
        )  # fmt: skip
        left = ranks.decide(lambda: budget - (time.monotonic() - stage.started))
        return Timing(**ranks.decide(lambda: asdict(timing))), left

    chosen = plan.decide(config, first_draft, world.blocks.num_blocks, committed, calibrated)
    if ranks.is_first:
        _begin(world, encoder, chosen, committed)

    outside, spoken = time.monotonic() - stage.started, ranks.seconds
    with stop.deferred():  # a signal between two sittings is found by the next, where all ranks learn of it
        trained = sitting = _train(world, encoder, optimizer, chosen)
        while chosen.settle_at is not None:
            chosen = world.settled(chosen, budget - outside - trained.seconds, sitting)
            stage.emit(Note(f"step {sitting.counters.step:,}: by the clock {chosen.num_steps:,} in all"))
            sitting = _train(world, encoder, optimizer, chosen, goes_on=True)
            trained = sitting.after(trained)
    if not ranks.is_first:
        return {}
    before = time.monotonic()
    final = evaluate_mlm.evaluate(encoder, world.masks, world.runtime.device)
    _write(stage, encoder)
    counters = trained.counters
    stage.details["order_hash"] = counters.order_hash
    return {
        **final,
        **world.masks.baselines,
        "num_parameters": model.num_parameters(encoder),
        "num_steps": counters.step,
        "num_skipped_steps": counters.num_skipped,
        "num_train_tokens": counters.num_tokens,
        "num_epochs": round(counters.step * chosen.blocks_per_step / world.blocks.num_blocks, 3),
        "tokens_per_second": round(trained.tokens_per_second or counters.num_tokens / trained.seconds, 1),
        "seconds": round(outside + trained.seconds + time.monotonic() - before, 3),
        **_shares(ranks, (ranks.seconds - spoken) / max(trained.seconds - trained.earlier, 1e-9)),
        "peak_memory_bytes": runtime.peak_memory(),
    }


def outlook(
    config: PretrainConfig, inputs: Mapping[str, Path], work: Path | None, resources: RuntimeConfig
) -> str:
    """What can be said of a run before it: the preset that `auto` stands for, or stood for in `work`."""
    committed = plan.read(work) if work else None
    choice = committed.choice if committed else None
    if choice is None:
        blocks, policy = Blocks.open(inputs["mask/blocks"], "train"), Policy.read(inputs["mask/policy"])
        choice = chosen_preset(config, blocks, policy, runtime.prepare(resources))
    return choice.reason


def tidy(work: Path) -> None:
    """What a larger budget needs is kept of the work folder once the result is published."""
    committed = plan.read(work)
    if committed is not None:
        keep_only(work, committed.decay_start)


def _train(
    world: World, encoder: PreTrainedModel, optimizer: Optimizer, chosen: plan.Plan, goes_on: bool = False
) -> Trained:
    stage = world.stage
    tokenizer = Tokenizer.from_file(str(stage.inputs["tokenizer"] / "tokenizer.json"))

    def evaluate(step: int) -> Evaluation:
        found = evaluate_mlm.evaluate(encoder, world.masks, world.runtime.device, _INTERIM_TOKENS)
        level = world.masks.baselines["unigram_loss"] - _UNIGRAM_MARGIN
        if step >= _LATE * chosen.num_steps and found["valid_loss"] > level and not world.told:
            world.told.add("unigram")
            message = f"the loss ({found['valid_loss']:.2f}) is still that of token frequencies"
            stage.emit(Note(f"{message}: more steps, or another learning rate", "warning"))
        sample = evaluate_mlm.filled_sentence(encoder, world.masks, tokenizer, step, world.runtime.device)
        return Evaluation({**found, "unigram_loss": world.masks.baselines["unigram_loss"]}, sample)

    checkpoints = Checkpoints(
        stage.work,
        stage.name,
        stage.emit,
        environment=stage.environment,
        schedule=chosen.schedule,
    )
    settings = replace(world.settings(chosen), goes_on=goes_on)
    factor = chosen.schedule.factor
    return train(encoder, world.work(chosen), optimizer, factor, settings, checkpoints, evaluate, stage.emit)


def _begin(world: World, encoder: PreTrainedModel, chosen: plan.Plan, committed: plan.Plan | None) -> None:
    """Tell the plan and write it down. ResourceError if the disk is too small for it."""
    _tell_plan(world, encoder, chosen)
    stage = world.stage
    num_ranks, step = stage.ranks.world_size, world.work(chosen).num_micro_batches(0)
    if num_ranks > step:
        idle = (
            f"a step has {step} micro-batches, so {num_ranks - step} of {num_ranks} ranks have nothing to do"
        )
        stage.emit(Note(f"{idle}: more pretrain.tokens_per_step, or fewer ranks", "warning"))
    if committed is not None and committed.num_steps < chosen.num_steps:
        stage.emit(Note(f"continues a run of {committed.num_steps:,} steps from before its decay"))
    plan.commit(stage.work, chosen)


def _shares(ranks: Ranks, communication: float) -> dict[str, float]:
    """With several ranks: how many, and the share of its time in which the first spoke or waited."""
    if ranks.is_alone:
        return {}
    return {"num_ranks": ranks.world_size, "communication_share": round(communication, 4)}


def _tell_plan(world: World, encoder: PreTrainedModel, chosen: plan.Plan) -> None:
    """Print the plan; ResourceError if the disk is too small for it."""
    num_parameters, ranks = model.num_parameters(encoder), world.stage.ranks
    length, facts, shape = world.blocks.block_length, world.blocks.facts, world.start.shape
    needed = needs.estimate(encoder, shape, chosen, world.policy.rate_start, world.runtime.num_threads)
    tokens = chosen.blocks_per_step * length
    epochs = chosen.num_steps * chosen.blocks_per_step / world.blocks.num_blocks
    expected = chosen.seconds_per_step and chosen.seconds_per_step * chosen.num_steps
    rows = [
        ("preset", chosen.choice.reason if chosen.choice else ""),
        ("documents", f"{facts['num_documents']:,}" if "num_documents" in facts else ""),
        ("training text", f"{world.blocks.num_blocks * length:,} tokens in blocks of {length}"),
        (
            "model",
            f"{encoder.config.model_type}: {shape.num_hidden_layers} layers of {shape.hidden_size}, "
            f"{num_parameters:,} parameters",
        ),
        ("steps", f"{chosen.num_steps:,} of {tokens:,} tokens ({epochs:.2f} epochs), {chosen.length}"),
        ("arithmetic", f"{chosen.dtype} on {world.runtime.device.type}, {world.runtime.num_threads} threads"),
        ("ranks", f"{ranks.world_size}" if not ranks.is_alone else ""),
        ("time", f"about {expected / 60:.1f} minutes" if expected else ""),
        ("disk", f"{needed.disk / 2**20:,.0f} MiB at most"),
        ("memory", f"about {needed.memory / 2**20:,.0f} MiB"),
    ]
    world.stage.emit(Plan("pretrain", [row for row in rows if row[1]]))
    free = machine.available_memory() if world.runtime.device.type == "cpu" else None
    memory = needed.memory * ranks.place.local_world_size
    if free is not None and free < memory:
        found = f"needs about {memory / 2**20:,.0f} MiB of memory, {free / 2**20:,.0f} are free"
        world.stage.emit(Note(f"{found}: a smaller --preset or pretrain.tokens_per_step", "warning"))
    check_space(world.stage.work, needed.disk, held=folder_size(world.stage.work))


def _write(stage: Stage, encoder: PreTrainedModel) -> None:
    model.save_model(encoder, stage.out)
    tokenizer = vocabulary.fitted(stage.inputs["tokenizer"])
    tokenizer.save(stage.out, configuration.num_positions(stage.out))
    for name in ("metrics.jsonl", plan.PLAN):
        shutil.copyfile(stage.work / name, stage.out / name)
