"""Learns an encoder from blocks of text by predicting hidden tokens.

Reads   mask/blocks, mask/policy, tokenizer (written again, so that the result needs nothing else).
Writes  pretrain/: config.json, model.safetensors, the tokenizer's files, metrics.jsonl, plan.json.

The work folder keeps plan, metrics and the checkpoint before the decay when the result is published: a
larger `steps` or `budget` continues from there and ends like a run of that length from the start.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import PreTrainedModel

from ..config import PretrainConfig, seconds
from ..engine import calibrate, configuration, evaluate_mlm, initial, machine, model, needs, plan, runtime
from ..engine.checkpoint import Checkpoints, keep_only
from ..engine.evaluate_mlm import FrozenMasks
from ..engine.initial import Start
from ..engine.loop import Evaluation, Settings, Trained, train
from ..engine.masked_lm import MaskedLanguageWork
from ..engine.optimizer import Optimizer, muon_and_adamw
from ..events import Note, Plan
from ..storage import check_space
from ..text import vocabulary
from ..text.blocks import Blocks
from ..text.policy import Policy
from ..text.specials import Specials
from .stage import Stage

_INTERIM_TOKENS = 16_384  # of the frozen masks, at each evaluation on the way; all of them at the end
_LATE = 0.6  # share of the run after which a loss at the unigram level is told
_UNIGRAM_MARGIN = 0.1  # nats below the unigram loss that count as having learned something


def run(config: PretrainConfig, stage: Stage) -> dict[str, Any]:
    """Train to the planned number of steps and write the encoder; the metrics.

    InterruptedRun after a signal, DivergedError, ArtifactError (checkpoints), ResourceError (disk),
    UsageError (a length below the one that was begun).
    """
    started = time.monotonic()
    world = _World.open(config, stage)
    committed = plan.read(stage.work)
    first_draft = world.draft()
    encoder, optimizer = world.fresh(committed or first_draft)

    def calibrated(draft: plan.Plan) -> tuple[int, float]:
        timing = calibrate.measure(
            *world.fresh(draft), world.work(draft), world.settings(draft), world.masks, _INTERIM_TOKENS,
            limit=0.04 * seconds(config.budget),
        )  # fmt: skip
        left = seconds(config.budget) - (time.monotonic() - started)
        return plan.steps_in(left, timing, seconds(config.save_interval))

    chosen = plan.decide(config, first_draft, world.blocks.num_blocks, committed, calibrated)
    _tell_plan(world, encoder, chosen)
    if committed is not None and committed.num_steps < chosen.num_steps:
        stage.emit(Note(f"continues a run of {committed.num_steps:,} steps from before its decay"))
    plan.commit(stage.work, chosen)

    before = time.monotonic()
    trained = _train(world, encoder, optimizer, chosen)
    in_loop = time.monotonic() - before
    final = evaluate_mlm.evaluate(encoder, world.masks, world.runtime.device)
    _write(stage, encoder)
    counters = trained.counters
    return {
        **final,
        **world.masks.baselines,
        "num_parameters": model.num_parameters(encoder),
        "num_steps": counters.step,
        "num_skipped_steps": counters.num_skipped,
        "num_train_tokens": counters.num_tokens,
        "num_epochs": round(counters.step * chosen.blocks_per_step / world.blocks.num_blocks, 3),
        "tokens_per_second": round(trained.tokens_per_second or counters.num_tokens / trained.seconds, 1),
        "seconds": round(trained.seconds + time.monotonic() - started - in_loop, 3),
        "peak_memory_bytes": runtime.peak_memory(),
    }


def tidy(work: Path) -> None:
    """What a larger budget needs is kept of the work folder once the result is published."""
    committed = plan.read(work)
    if committed is not None:
        keep_only(work, committed.decay_start)


@dataclass(frozen=True)
class _World:
    """What a run is made from, opened once."""

    config: PretrainConfig
    stage: Stage
    runtime: runtime.Runtime
    start: Start
    blocks: Blocks
    masks: FrozenMasks
    policy: Policy

    @classmethod
    def open(cls, config: PretrainConfig, stage: Stage) -> _World:
        blocks_folder, policy_folder = stage.inputs["mask/blocks"], stage.inputs["mask/policy"]
        machine = runtime.prepare(stage.runtime)
        blocks = Blocks.open(blocks_folder, "train")
        return cls(
            config=config,
            stage=stage,
            runtime=machine,
            start=_start(config, stage, blocks, machine.device),
            blocks=blocks,
            masks=FrozenMasks.open(policy_folder, blocks_folder),
            policy=Policy.read(policy_folder),
        )

    @property
    def specials(self) -> Specials:
        return self.blocks.specials

    def fresh(self, chosen: plan.Plan) -> tuple[PreTrainedModel, Optimizer]:
        """A new encoder and its optimizer: the same weights at every call."""
        encoder = self.start.make()
        optimizer = muon_and_adamw(
            encoder,
            muon_learning_rate=self.config.muon_learning_rate,
            learning_rate=self.config.learning_rate,
            weight_decay=self.config.weight_decay,
            dtype=chosen.torch_dtype,
        )
        return encoder, optimizer

    def draft(self) -> plan.Plan:
        return plan.draft(self.config, self.start.shape, self.blocks.block_length, self.runtime.device)

    def work(self, chosen: plan.Plan) -> MaskedLanguageWork:
        """The masked batches; of a plan without a length (calibration) at the mean rate."""
        start, end = self.policy.rate_start, self.policy.rate_end
        mean = start + (end - start) * self.config.decay_fraction / 2

        def rate(step: int) -> float:
            return chosen.schedule.mask_rate(step, start, end) if chosen.num_steps else mean

        return MaskedLanguageWork(
            self.blocks,
            self.config.seed,
            chosen.blocks_per_step,
            chosen.blocks_per_micro_batch,
            rate,
            self.policy.units,
        )

    def is_evaluated(self, step: int) -> bool:
        """As the plan says; an encoder that is continued also before its first step."""
        return plan.is_evaluated(step) or (step == 0 and self.start.report is not None)

    def settings(self, chosen: plan.Plan) -> Settings:
        return Settings(
            stage=self.stage.name,
            num_steps=chosen.num_steps,
            seed=self.config.seed,
            max_grad_norm=self.config.max_grad_norm,
            save_interval=seconds(self.config.save_interval),
            evaluate_at=self.is_evaluated,
            save_at=chosen.decay_start or None,
            dtype=chosen.torch_dtype,
            device=self.runtime.device,
            rank=self.runtime.rank,
            world_size=self.runtime.world_size,
            num_threads=self.runtime.num_threads,
        )


def _start(config: PretrainConfig, stage: Stage, blocks: Blocks, device: torch.device) -> Start:
    """Random weights, or the encoder to continue, which is told. ArtifactError for one that does not fit."""
    init = stage.inputs.get("init")
    if init is None:
        return initial.new(config, blocks.specials, blocks.block_length, device)
    start = initial.continued(init, stage.inputs["tokenizer"], blocks.specials, config.seed, device)
    grown = f"; {start.num_new_tokens:,} new tokens" if start.num_new_tokens else ""
    stage.emit(Note(f"continues an encoder: {start.report}{grown}"))
    stage.details["init"] = start.facts
    return start


def _train(world: _World, encoder: PreTrainedModel, optimizer: Optimizer, chosen: plan.Plan) -> Trained:
    stage = world.stage
    tokenizer = Tokenizer.from_file(str(stage.inputs["tokenizer"] / "tokenizer.json"))
    told: set[str] = set()

    def evaluate(step: int) -> Evaluation:
        found = evaluate_mlm.evaluate(encoder, world.masks, world.runtime.device, _INTERIM_TOKENS)
        level = world.masks.baselines["unigram_loss"] - _UNIGRAM_MARGIN
        if step >= _LATE * chosen.num_steps and found["valid_loss"] > level and not told:
            told.add("unigram")
            message = f"the loss ({found['valid_loss']:.2f}) is still that of token frequencies"
            stage.emit(Note(f"{message}: more steps, or another learning rate", "warning"))
        sample = evaluate_mlm.filled_sentence(encoder, world.masks, tokenizer, step, world.runtime.device)
        return Evaluation({**found, "unigram_loss": world.masks.baselines["unigram_loss"]}, sample)

    checkpoints = Checkpoints(
        stage.work,
        stage.name,
        stage.emit,
        environment=stage.environment,
        num_steps=chosen.num_steps,
        trunk_steps=chosen.decay_start,
    )
    settings = world.settings(chosen)
    factor = chosen.schedule.factor
    return train(encoder, world.work(chosen), optimizer, factor, settings, checkpoints, evaluate, stage.emit)


def _tell_plan(world: _World, encoder: PreTrainedModel, chosen: plan.Plan) -> None:
    """Print the plan; ResourceError if the disk is too small for it."""
    num_parameters = model.num_parameters(encoder)
    length, facts, shape = world.blocks.block_length, world.blocks.facts, world.start.shape
    needed = needs.estimate(encoder, shape, chosen, world.policy.rate_start, world.runtime.num_threads)
    tokens = chosen.blocks_per_step * length
    epochs = chosen.num_steps * chosen.blocks_per_step / world.blocks.num_blocks
    expected = chosen.seconds_per_step and chosen.seconds_per_step * chosen.num_steps
    rows = [
        ("documents", f"{facts['num_documents']:,}" if "num_documents" in facts else ""),
        ("training text", f"{world.blocks.num_blocks * length:,} tokens in blocks of {length}"),
        (
            "model",
            f"{encoder.config.model_type}: {shape.num_hidden_layers} layers of {shape.hidden_size}, "
            f"{num_parameters:,} parameters",
        ),
        ("steps", f"{chosen.num_steps:,} of {tokens:,} tokens ({epochs:.2f} epochs), {chosen.length}"),
        ("arithmetic", f"{chosen.dtype} on {world.runtime.device.type}, {world.runtime.num_threads} threads"),
        ("time", f"about {expected / 60:.1f} minutes" if expected else ""),
        ("disk", f"{needed.disk / 2**20:,.0f} MiB at most"),
        ("memory", f"about {needed.memory / 2**20:,.0f} MiB"),
    ]
    world.stage.emit(Plan("pretrain", [row for row in rows if row[1]]))
    free = machine.available_memory() if world.runtime.device.type == "cpu" else None
    if free is not None and free < needed.memory:
        found = f"needs about {needed.memory / 2**20:,.0f} MiB of memory, {free / 2**20:,.0f} are free"
        world.stage.emit(Note(f"{found}: a smaller --preset or pretrain.tokens_per_step", "warning"))
    check_space(world.stage.work, needed.disk)


def _write(stage: Stage, encoder: PreTrainedModel) -> None:
    model.save_model(encoder, stage.out)
    tokenizer = vocabulary.fitted(stage.inputs["tokenizer"])
    tokenizer.save(stage.out, configuration.num_positions(stage.out))
    for name in ("metrics.jsonl", plan.PLAN):
        shutil.copyfile(stage.work / name, stage.out / name)
