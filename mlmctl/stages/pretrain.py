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
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import PreTrainedModel

from ..config import PretrainConfig, seconds
from ..engine import (
    calibrate,
    checkpoint,
    configuration,
    evaluate_mlm,
    initial,
    model,
    needs,
    plan,
    runtime,
    word_vectors,
)
from ..engine.checkpoint import Checkpoints, keep_only
from ..engine.evaluate_mlm import FrozenMasks
from ..engine.initial import Start
from ..engine.loop import Evaluation, Settings, Trained, train
from ..engine.masked_lm import MaskedLanguageWork
from ..engine.optimizer import Optimizer, muon_and_adamw
from ..engine.ranks import Ranks
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

    InterruptedRun after a signal, DivergedError, ArtifactError (checkpoints), ResourceError (disk, ranks),
    UsageError (a length below the one that was begun). No metrics on ranks but the first.
    """
    started = time.monotonic()
    world = _World.open(config, stage)
    committed = world.agreed(lambda: plan.read(stage.work))
    first_draft = world.agreed(world.draft)
    assert first_draft is not None
    encoder, optimizer = world.fresh(committed or first_draft)
    _install_word_vectors(world, encoder)

    def calibrated(draft: plan.Plan) -> tuple[int, float]:
        timing = calibrate.measure(
            *world.fresh(draft), world.work(draft), world.settings(draft), world.masks, _INTERIM_TOKENS,
            limit=0.04 * seconds(config.budget),
        )  # fmt: skip
        left = seconds(config.budget) - (time.monotonic() - started)
        steps = stage.ranks.decide(lambda: list(plan.steps_in(left, timing, seconds(config.save_interval))))
        return int(steps[0]), float(steps[1])

    chosen = plan.decide(config, first_draft, world.blocks.num_blocks, committed, calibrated)
    if stage.ranks.is_first:
        _begin(world, encoder, chosen, committed)

    before, spoken = time.monotonic(), stage.ranks.seconds
    trained = _train(world, encoder, optimizer, chosen)
    in_loop = time.monotonic() - before
    if not stage.ranks.is_first:
        return {}
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
        "seconds": round(trained.seconds + time.monotonic() - started - in_loop, 3),
        **_shares(stage.ranks, (stage.ranks.seconds - spoken) / in_loop),
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
        machine = runtime.prepare(stage.runtime, stage.ranks)
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
            ranks=self.stage.ranks,
        )
        return encoder, optimizer

    def agreed(self, decide: Callable[[], plan.Plan | None]) -> plan.Plan | None:
        """The plan that the first rank decides on: it depends on its files or its clock."""

        def plain() -> dict[str, Any] | None:
            found = decide()
            return None if found is None else asdict(found)

        decided = self.stage.ranks.decide(plain)
        return None if decided is None else plan.Plan(**decided)

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
            ranks=self.stage.ranks,
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


def _install_word_vectors(world: _World, encoder: PreTrainedModel) -> None:
    """Of an encoder that begins anew: counted by the first rank, the same bits on all."""
    config, work, ranks = world.config, world.stage.work, world.stage.ranks
    if config.embedding == "random" or config.init or ranks.decide(lambda: checkpoint.exist(work)):
        return
    if ranks.is_first:
        word_vectors.install(encoder, world.blocks, world.masks.counts, config.seed)
    ranks.copy([encoder.get_input_embeddings().weight.detach()])


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


def _begin(world: _World, encoder: PreTrainedModel, chosen: plan.Plan, committed: plan.Plan | None) -> None:
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


def _tell_plan(world: _World, encoder: PreTrainedModel, chosen: plan.Plan) -> None:
    """Print the plan; ResourceError if the disk is too small for it."""
    num_parameters, ranks = model.num_parameters(encoder), world.stage.ranks
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
        ("ranks", f"{ranks.world_size}" if not ranks.is_alone else ""),
        ("time", f"about {expected / 60:.1f} minutes" if expected else ""),
        ("disk", f"{needed.disk / 2**20:,.0f} MiB at most"),
        ("memory", f"about {needed.memory / 2**20:,.0f} MiB"),
    ]
    world.stage.emit(Plan("pretrain", [row for row in rows if row[1]]))
    check_space(world.stage.work, needed.disk)


def _write(stage: Stage, encoder: PreTrainedModel) -> None:
    model.save_model(encoder, stage.out)
    tokenizer = vocabulary.fitted(stage.inputs["tokenizer"])
    tokenizer.save(stage.out, configuration.num_positions(stage.out))
    for name in ("metrics.jsonl", plan.PLAN):
        shutil.copyfile(stage.work / name, stage.out / name)
