"""What pretraining on a corpus would be on this machine: model, speed as measured, time, disk, memory."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ... import hub
from ...config import Recipe, seconds
from ...errors import DataError
from ...quantities import size
from .section import Finding, Section
from .tokenizers import Measured

if TYPE_CHECKING:
    from ...engine.initial import Start
    from ...engine.runtime import Runtime
    from ...text.specials import Specials

PROBE_SECONDS = 2.0
_BYTES_A_TOKEN = 2.2
"""On disk: two bytes of id, a bit that says whether a word starts, and the lengths."""


def look(recipe: Recipe, num_tokens: int, measured: Measured, machine: dict[str, Any]) -> Section:
    """The section `plan`. The training step is timed for about two seconds, on blocks of the sample.

    DataError if the tokenizer leaves nothing of the sample: there is no step to time.
    """
    from ...engine import calibrate, model, needs, runtime
    from ...engine import plan as plans
    from ...text.units import Units

    here, block_length, mask = runtime.prepare(recipe.runtime), recipe.mask.block_length, recipe.mask
    if not measured.fit.num_tokens:
        raise DataError("data.empty", "nothing is left of the text after normalisation")
    blocks, specials = measured.fit.blocks(block_length), measured.fit.encoder.specials
    if measured.folder is None:  # the whole text will give what a sample may not
        specials = replace(specials, vocab_size=max(specials.vocab_size, recipe.tokenizer.vocab_size))
    units = Units(mask.unit, mask.span_length)
    text = calibrate.Text(blocks, num_tokens, specials, mask.rate_start, mask.rate_end, units)
    fitting = None if recipe.pretrain.init else calibrate.preset(recipe.pretrain, text, here)
    if recipe.pretrain.preset == "auto" and fitting:
        chosen = recipe.pretrain.model_copy(update={"preset": fitting.preset})
        recipe = recipe.model_copy(update={"pretrain": chosen})
    config = recipe.pretrain
    start = _start(recipe, measured, specials, here)
    draft = plans.draft(config, start.shape, block_length, here.device)
    encoder = start.make()
    num_parameters = model.num_parameters(encoder)
    needed = needs.estimate(encoder, start.shape, draft, mask.rate_start, here.num_threads)
    speed = calibrate.tokens_per_second(config, start, draft, text, here, PROBE_SECONDS)
    tokens_per_step = draft.blocks_per_step * block_length
    per_step = tokens_per_step / speed
    steps_per_epoch = max(1, round(num_tokens / tokens_per_step))
    asked = plans.steps_by_rule(config, round(num_tokens / block_length), draft.blocks_per_step)
    num_steps = asked or max(1, int(seconds(config.budget) / per_step))
    blocks_bytes = round(num_tokens * _BYTES_A_TOKEN)
    facts = {
        "preset": "" if config.init else config.preset,
        "init": config.init,
        "num_parameters": num_parameters,
        "predicted_num_tokens": num_tokens,
        "tokens_per_parameter": round(num_tokens / num_parameters, 2),
        "fitting_preset": fitting.preset if fitting else "",
        "fitting_reason": fitting.reason if fitting else "",
        "dtype": draft.dtype,
        "tokens_per_second": round(speed, 1),
        "seconds_per_epoch": round(steps_per_epoch * per_step, 1),
        "steps_per_epoch": steps_per_epoch,
        "length": plans.asked_length(config),
        "num_steps": num_steps,
        "num_epochs": round(num_steps / steps_per_epoch, 3),
        "seconds": round(num_steps * per_step, 1),
        "blocks_bytes": blocks_bytes,
        "disk_bytes": blocks_bytes + needed.disk,
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


def _rows(facts: dict[str, Any], start: Start) -> list[tuple[str, str]]:
    shape = start.shape
    name = facts["init"] or facts["preset"]
    return [
        (
            "model",
            f"{name}: {shape.num_hidden_layers} layers of {shape.hidden_size}, "
            f"{facts['num_parameters']:,} parameters",
        ),
        ("tokens a parameter", f"{facts['tokens_per_parameter']:.2f}"),
        ("fitting preset", facts["fitting_reason"] or "as it is: an encoder is continued"),
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
        message = f"another preset than {facts['preset']} fits: {facts['fitting_reason']}"
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
