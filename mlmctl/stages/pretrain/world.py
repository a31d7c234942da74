"""What a pretraining run is made from: opened once, and asked for its pieces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from transformers import PreTrainedModel

from ...config import PretrainConfig, seconds
from ...engine import calibrate, checkpoint, initial, neighbours, plan, runtime, schedule, word_vectors
from ...engine.evaluate_mlm import FrozenMasks
from ...engine.initial import Start
from ...engine.loop import Settings, Trained
from ...engine.masked_lm import MaskedLanguageWork
from ...engine.optimizer import Optimizer, muon_and_adamw
from ...engine.ranks import ALONE, Place, Ranks
from ...engine.sizes import Choice
from ...events import Note
from ...text.blocks import Blocks
from ...text.policy import Policy
from ..stage import Stage


@dataclass(frozen=True)
class World:
    """Inputs, machine, and what the encoder starts from."""

    config: PretrainConfig
    """Its preset is the one that was chosen."""
    stage: Stage
    runtime: runtime.Runtime
    start: Start
    blocks: Blocks
    masks: FrozenMasks
    policy: Policy
    choice: Choice | None
    """What `preset auto` stands for, and why."""
    told: set[str] = field(default_factory=set)
    """Names of the warnings that were given, and need not be again."""

    @classmethod
    def open(cls, config: PretrainConfig, stage: Stage, committed: plan.Plan | None) -> World:
        """With `preset auto` the preset is the committed one, or is chosen now."""
        blocks_folder, policy_folder = stage.inputs["mask/blocks"], stage.inputs["mask/policy"]
        machine = runtime.prepare(stage.runtime, stage.ranks)
        blocks, policy = Blocks.open(blocks_folder, "train"), Policy.read(policy_folder)
        choice = committed.choice if committed else None
        if config.preset == "auto" and choice is None:
            choice = _chosen_by_the_first(config, blocks, policy, machine, stage.ranks)
        if choice is not None:
            config = config.model_copy(update={"preset": choice.preset})
            stage.details["preset"] = asdict(choice)
        return cls(
            config=config,
            stage=stage,
            runtime=machine,
            start=_start(config, stage, blocks, machine.device),
            blocks=blocks,
            masks=FrozenMasks.open(policy_folder, blocks_folder),
            policy=policy,
            choice=choice,
        )

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

    def initialize(self, encoder: PreTrainedModel) -> None:
        """Give an encoder that begins anew what can be counted; the first rank does, all have its bits."""
        config, work, ranks = self.config, self.stage.work, self.stage.ranks
        if config.initialization == "random" or config.init:
            return
        has_begun: bool = ranks.decide(lambda: checkpoint.exist(work))
        if has_begun:
            return
        if ranks.is_first:
            word_vectors.install(encoder, self.blocks, self.masks.counts, config.seed)
            specials = self.blocks.specials
            neighbours.install(encoder, (specials.mask, specials.cls, specials.sep), config.seed)
        ranks.copy([parameter.detach() for parameter in encoder.parameters()])

    def draft(self) -> plan.Plan:
        """The choices that do not depend on the length."""

        def drawn() -> plan.Plan:
            found = plan.draft(self.config, self.start.shape, self.blocks.block_length, self.runtime.device)
            init = self.stage.inputs.get("init")
            return replace(found, choice=self.choice, is_ours=init is None or plan.is_ours(init))

        found = agreed(self.stage.ranks, drawn)
        assert found is not None
        return found

    def settled(self, chosen: plan.Plan, left: float, sitting: Trained) -> plan.Plan:
        """The plan with the number of steps that ends in `left` seconds, written down; see `plan.settled`."""
        interval = seconds(self.config.save_interval)
        taken = sitting.num_steps, sitting.seconds_per_step
        found = agreed(self.stage.ranks, lambda: plan.settled(chosen, left, taken, interval))
        assert found is not None
        if self.stage.ranks.is_first:
            plan.commit(self.stage.work, found)
        return found

    def work(self, chosen: plan.Plan) -> MaskedLanguageWork:
        """The masked batches of a run by this plan."""
        start, end = self.policy.rate_start, self.policy.rate_end
        return self._work(chosen, lambda step: chosen.schedule.mask_rate(step, start, end))

    def trial(self, draft: plan.Plan) -> MaskedLanguageWork:
        """Batches to be timed: even steps as before the decay, odd ones as in its middle."""
        rates = self.policy.rate_start, schedule.mean_rate(self.policy.rate_start, self.policy.rate_end, 1.0)
        return self._work(draft, lambda step: rates[step % 2])

    def is_evaluated(self, step: int) -> bool:
        """As the plan says; an encoder that is continued also before its first step."""
        return schedule.is_evaluated(step) or (step == 0 and self.start.report is not None)

    def settings(self, chosen: plan.Plan) -> Settings:
        """Of the loop, up to where the number of steps is settled next, or to the end."""
        return Settings(
            stage=self.stage.name,
            num_steps=chosen.num_steps,
            until=chosen.settle_at,
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

    def _work(self, chosen: plan.Plan, rate: Callable[[int], float]) -> MaskedLanguageWork:
        sizes = chosen.blocks_per_step, chosen.blocks_per_micro_batch
        return MaskedLanguageWork(self.blocks, self.config.seed, *sizes, rate, self.policy.units)


def agreed(ranks: Ranks, decide: Callable[[], plan.Plan | None]) -> plan.Plan | None:
    """The plan that the first rank decides on: it depends on its files or its clock."""

    def plain() -> dict[str, Any] | None:
        found = decide()
        return None if found is None else asdict(found)

    decided = ranks.decide(plain)
    return None if decided is None else plan.from_json(decided)


def _chosen_by_the_first(
    config: PretrainConfig, blocks: Blocks, policy: Policy, machine: runtime.Runtime, ranks: Ranks
) -> Choice:
    def choose() -> dict[str, Any]:
        return asdict(chosen_preset(config, blocks, policy, machine, ranks.place))

    return Choice(**ranks.decide(choose))


def chosen_preset(
    config: PretrainConfig,
    blocks: Blocks,
    policy: Policy,
    machine: runtime.Runtime,
    place: Place = ALONE.place,
) -> Choice:
    """What `preset auto` is for this text, length and machine."""
    num_tokens, rates = blocks.num_blocks * blocks.block_length, (policy.rate_start, policy.rate_end)
    text = calibrate.Text(blocks, num_tokens, blocks.specials, *rates, policy.units)
    return calibrate.preset(config, text, machine, place)


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
