"""What pretraining on a corpus would be on this machine: model, speed as measured, time, disk, memory."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ... import hub
from ...config import Recipe, seconds
from ...quantities import size
from .section import Finding, Section
from .tokenizers import Measured

if TYPE_CHECKING:
    from ...engine.initial import Start
    from ...engine.runtime import Runtime
    from ...text.blocks import Blocks
    from ...text.specials import Specials

PROBE_SECONDS = 2.0
_BYTES_A_TOKEN = 2.2
"""On disk: two bytes of id, a bit that says whether a word starts, and the lengths."""
_TOKENS_PER_PARAMETER, _EPOCHS = 20, 16
"""A model is fed 20 tokens a parameter (Hoffmann et al. 2022), and a text repeated more than 16 times gives
hardly anything new (Muennighoff et al. 2023): so it fits a text of 1.25 tokens a parameter or more."""


def look(recipe: Recipe, num_tokens: int, measured: Measured, machine: dict[str, Any]) -> Section:
    """The section `plan`. The training step is timed for about two seconds, on blocks of the sample."""
    from ...engine import model, needs, runtime
    from ...engine import plan as plans

    here, config, block_length = runtime.prepare(recipe.runtime), recipe.pretrain, recipe.mask.block_length
    blocks, specials = measured.fit.blocks(block_length), measured.fit.encoder.specials
    if measured.folder is None:  # the whole text will give what a sample may not
        specials = replace(specials, vocab_size=max(specials.vocab_size, recipe.tokenizer.vocab_size))
    start = _start(recipe, measured, specials, here)
    draft = plans.draft(config, start.shape, block_length, here.device)
    encoder = start.make()
    num_parameters = model.num_parameters(encoder)
    needed = needs.estimate(encoder, start.shape, draft, recipe.mask.rate_start, here.num_threads)
    per_step = _seconds_per_step(recipe, start, draft, blocks, here)
    tokens_per_step = draft.blocks_per_step * block_length
    speed = tokens_per_step / per_step
    steps_per_epoch = max(1, round(num_tokens / tokens_per_step))
    asked = plans.steps_by_rule(config, round(num_tokens / block_length), draft.blocks_per_step)
    num_steps = asked or max(1, int(seconds(config.budget) / per_step))
    blocks_bytes = round(num_tokens * _BYTES_A_TOKEN)
    fitting = "" if config.init else _fitting(recipe, num_tokens, specials)
    facts = {
        "preset": "" if config.init else config.preset,
        "init": config.init,
        "num_parameters": num_parameters,
        "predicted_num_tokens": num_tokens,
        "tokens_per_parameter": round(num_tokens / num_parameters, 2),
        "fitting_preset": fitting,
        "dtype": draft.dtype,
        "tokens_per_second": round(speed, 1),
        "seconds_per_epoch": round(steps_per_epoch * per_step, 1),
        "steps_per_epoch": steps_per_epoch,
        "length": plans.asked_length(config),
        "num_steps": num_steps,
        "num_epochs": round(num_steps / steps_per_epoch, 3),
        "seconds": round(num_steps * per_step, 1),
        "blocks_bytes": blocks_bytes,
        "disk_bytes": 2 * blocks_bytes + needed.disk,  # parts and blocks are there together while masking
        "memory_bytes": needed.memory,
    }
    return Section("plan", facts, _rows(facts, start), _findings(facts, machine))


def _start(recipe: Recipe, measured: Measured, specials: Specials, here: Runtime) -> Start:
    from ...engine import initial

    if recipe.pretrain.init:
        folder = hub.folder(recipe.pretrain.init)
        return initial.continued(
            folder, measured.folder or folder, specials, recipe.pretrain.seed, here.device
        )
    return initial.new(recipe.pretrain, specials, recipe.mask.block_length, here.device)


def _seconds_per_step(recipe: Recipe, start: Start, draft: Any, blocks: Blocks, here: Runtime) -> float:
    """Timed on steps of one micro-batch a lane, gradients and update apart."""
    from ...engine import calibrate, lanes, loop
    from ...engine.masked_lm import MaskedLanguageWork
    from ...engine.optimizer import muon_and_adamw
    from ...text.units import Units

    config, mask = recipe.pretrain, recipe.mask
    encoder = start.make()
    optimizer = muon_and_adamw(
        encoder,
        muon_learning_rate=config.muon_learning_rate,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        dtype=draft.torch_dtype,
    )
    num_micro_batches = -(-draft.blocks_per_step // draft.blocks_per_micro_batch)
    num_lanes = lanes.number(encoder, here.num_threads, num_micro_batches)
    mean_rate = mask.rate_start + (mask.rate_end - mask.rate_start) * config.decay_fraction / 2
    units = Units(mask.unit, mask.span_length)
    at_once = draft.blocks_per_micro_batch
    work = MaskedLanguageWork(
        blocks, config.seed, num_lanes * at_once, at_once, lambda step: mean_rate, units
    )
    settings = loop.Settings(
        stage="doctor",
        num_steps=0,
        seed=config.seed,
        max_grad_norm=config.max_grad_norm,
        save_interval=0,
        dtype=draft.torch_dtype,
        device=here.device,
        num_threads=here.num_threads,
    )
    num_rounds = -(-num_micro_batches // num_lanes)
    return calibrate.seconds_per_step(encoder, optimizer, work, settings, num_rounds, PROBE_SECONDS)


def _fitting(recipe: Recipe, num_tokens: int, specials: Specials) -> str:
    """The largest preset for which there are 20 tokens a parameter in 16 epochs, else the smallest."""
    from ...engine import model
    from ...engine.architectures import ARCHITECTURES

    presets = ARCHITECTURES[recipe.pretrain.architecture].presets
    ids = {"pad": specials.pad, "cls": specials.cls, "sep": specials.sep}
    sizes = {
        name: model.num_parameters(
            model.shell(
                recipe.pretrain.architecture, shape, specials.vocab_size, recipe.mask.block_length, ids
            )
        )
        for name, shape in presets.items()
    }
    fits = [name for name in presets if num_tokens * _EPOCHS >= _TOKENS_PER_PARAMETER * sizes[name]]
    return max(fits or presets, key=lambda name: sizes[name] if fits else -sizes[name])


def _rows(facts: dict[str, Any], start: Start) -> list[tuple[str, str]]:
    shape = start.shape
    name = facts["init"] or facts["preset"]
    fitting = f"; the preset that fits the text: {facts['fitting_preset']}" if facts["fitting_preset"] else ""
    return [
        (
            "model",
            f"{name}: {shape.num_hidden_layers} layers of {shape.hidden_size}, "
            f"{facts['num_parameters']:,} parameters",
        ),
        ("tokens a parameter", f"{facts['tokens_per_parameter']:.2f}{fitting}"),
        (
            "speed",
            f"{facts['tokens_per_second']:,.0f} tokens a second ({facts['dtype']}): a step, timed now",
        ),
        (
            "time",
            f"{_duration(facts['seconds_per_epoch'])} an epoch; {facts['length']}: about "
            f"{facts['num_steps']:,} steps, {facts['num_epochs']:.2f} epochs, {_duration(facts['seconds'])}",
        ),
        ("disk, memory", f"{size(facts['disk_bytes'])} at most, about {size(facts['memory_bytes'])}"),
    ]


def _findings(facts: dict[str, Any], machine: dict[str, Any]) -> list[Finding]:
    findings = []
    fitting = facts["fitting_preset"]
    if fitting and fitting != facts["preset"]:
        message = (
            f"{facts['preset']} has {facts['tokens_per_parameter']:.2f} tokens of text a parameter; "
            f"{fitting} fits better (20 of them in at most 16 epochs)"
        )
        findings.append(Finding("doctor.preset", "info", 1, message, hint=f"--preset {fitting}"))
    for name, needed, free, hint in (
        ("disk", facts["disk_bytes"], machine["free_disk_bytes"], "--run DIR on a larger disk"),
        ("memory", facts["memory_bytes"], machine["available_memory_bytes"], "a smaller --preset"),
    ):
        if free is not None and needed > free:
            message = f"too little {name}: {size(needed)} needed, {size(free)} free"
            findings.append(Finding(f"doctor.{name}", "warning", needed - free, message, hint=hint))
    return findings


def _duration(seconds: float) -> str:
    for length, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} seconds"
