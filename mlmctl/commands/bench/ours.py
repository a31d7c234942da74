"""Our side of the comparison: the engine's loop as `mlmctl pretrain` runs it, at a fixed rate of masks."""

from __future__ import annotations

from pathlib import Path

from ...config import PretrainConfig, RuntimeConfig
from ...engine import fused, initial, model, plan, probe, runtime
from ...engine.checkpoint import Checkpoints
from ...engine.loop import Settings, train
from ...engine.masked_lm import MaskedLanguageWork
from ...engine.optimizer import muon_and_adamw
from ...events import Event, Progress, silent
from ...text.blocks import Blocks
from .channel import Channel, Pacer
from .sides import MASK_RATE, Job

_ENDLESS = 10**9


def run(job: Job, channel: Channel) -> None:
    """Child process: takes the steps it is asked for until the line is closed."""
    world = job.world
    config = PretrainConfig(**world.pretrain)
    machine = runtime.prepare(RuntimeConfig(threads=world.num_threads, device="cpu"))
    blocks = Blocks.open(Path(world.blocks), "train")
    encoder = initial.new(config, blocks.specials, world.block_length, machine.device).make()
    dtype = probe.dtype_by_rule(machine.device)
    optimizer = muon_and_adamw(
        encoder,
        muon_learning_rate=config.muon_learning_rate,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        dtype=dtype,
    )
    at_once = min(world.blocks_per_step, max(1, plan.TOKENS_PER_MICRO_BATCH // world.block_length))
    work = MaskedLanguageWork(blocks, config.seed, world.blocks_per_step, at_once, lambda step: MASK_RATE)
    settings = Settings(
        stage="bench",
        num_steps=_ENDLESS,
        seed=config.seed,
        max_grad_norm=config.max_grad_norm,
        save_interval=float("inf"),
        dtype=dtype,
        num_threads=machine.num_threads,
    )
    pacer = Pacer(channel)

    def emit(event: Event) -> None:
        if isinstance(event, Progress):  # one after each step
            pacer.step()

    pacer.begin(
        {
            "num_parameters": model.num_parameters(encoder),
            "dtype": str(dtype).removeprefix("torch."),
            "cuts_last_layer": fused.applies(encoder),
            "notes": [],
        }
    )
    checkpoints = Checkpoints(job.scratch, "bench", silent)
    train(encoder, work, optimizer, lambda step: 1.0, settings, checkpoints, emit=emit)
