"""The other sides: the Hugging Face Trainer loop as its example `run_mlm.py` sets it up.

Arguments that are not named here have the defaults of `TrainingArguments`, as in the script. Left out is
what would only cost the other side time: checkpoints, and reports to anything that is installed.
"""

from __future__ import annotations

import sysconfig
import time
from pathlib import Path
from typing import Any

import torch
import transformers
from datasets import Dataset
from transformers import (
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from ...engine import evaluate_mlm
from ...engine.architectures import ARCHITECTURES
from ...engine.evaluate_mlm import FrozenMasks
from ...engine.model import num_parameters
from ...engine.plan import TOKENS_PER_MICRO_BATCH
from .channel import Channel, Pacer
from .sides import MASK_RATE, SIDES, Job

_ENDLESS = 10**9
_INTERIM_TOKENS = 16_384  # of the frozen masks, as `mlmctl pretrain` takes them; all at the end
_NUM_EVALUATIONS = 15
_CPU = torch.device("cpu")


def run(job: Job, channel: Channel) -> None:
    """Child process: takes the steps it is asked for until the line is closed."""
    torch.set_num_threads(job.world.num_threads)
    model, notes = build(job)
    facts = {
        "num_parameters": num_parameters(model),
        "dtype": "bfloat16" if SIDES[job.side].bf16 else "float32",
        "is_sparse": getattr(model.config, "sparse_prediction", False),
        # On a CPU the fused kernel knows no dropout, which BERT has.
        "has_fused_attention": SIDES[job.side].architecture == "modernbert"
        and model.config._attn_implementation == "sdpa",
        "notes": notes,
    }
    trainer(job, model, _ENDLESS, _Paced(Pacer(channel), facts)).train()


def race(job: Job, channel: Channel) -> None:
    """Child process: trains for so many seconds, decay and evaluations included; answers with its curve.

    Each answer but the last is a point, `{"seconds", "step", "valid_loss"}`; seconds since the start.
    """
    torch.set_num_threads(job.world.num_threads)
    model, _ = build(job)
    masks = FrozenMasks.open(Path(job.world.policy), Path(job.world.blocks))
    before = time.monotonic()
    few = min(4096, masks.num_tokens)
    evaluate_mlm.evaluate(model.eval(), masks, _CPU, few)
    per_token = (time.monotonic() - before) / few
    interim = _NUM_EVALUATIONS * min(_INTERIM_TOKENS, masks.num_tokens)
    elapsed = time.monotonic() - job.started
    left = job.seconds - elapsed - job.warm_up_seconds - per_token * (interim + masks.num_tokens)
    num_steps = max(1, int(left / job.step_seconds))
    timed = _Timed(job, model, masks, channel)
    trainer(job, model, num_steps, timed).train()
    reached = time.monotonic() - job.started
    final = evaluate_mlm.evaluate(model.eval(), masks, _CPU)
    channel.send(
        {
            "point": {"seconds": reached, "step": num_steps, "valid_loss": final["valid_loss"]},
            "seconds": time.monotonic() - job.started,
        }
    )


def build(job: Job) -> tuple[PreTrainedModel, list[str]]:
    """A side's stock model with stock weights and dropout, and what is to be said about it."""
    side, world, notes = SIDES[job.side], job.world, []
    family = ARCHITECTURES[side.architecture]
    fields = family.configure(world.shape_of(side.architecture), world.block_length, world.special_ids)
    config = family.config({**fields, "vocab_size": world.vocab_size})
    if side.everything:
        config._attn_implementation = "eager"
        if hasattr(config, "sparse_prediction"):
            config.sparse_prediction = True
        else:
            notes.append(f"transformers {transformers.__version__} has no sparse prediction")
        if not has_compiler():
            notes.append("not compiled: no C++ compiler, or no headers of Python")
    transformers.set_seed(42)
    return family.model_class("masked_lm")(config), notes


def has_compiler() -> bool:
    """Whether `torch.compile` finds what it needs on a CPU: a C++ compiler and the headers of Python."""
    from torch._inductor.cpp_builder import get_cpp_compiler

    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        return False
    try:
        return bool(get_cpp_compiler())
    except Exception:  # of several kinds, by version
        return False


def trainer(job: Job, model: PreTrainedModel, num_steps: int, callback: TrainerCallback) -> Trainer:
    """The Trainer of a side over the blocks of its world."""
    side, world = SIDES[job.side], job.world
    at_once = world.blocks_per_step
    if side.everything:  # the largest batch that stays in the cache and divides the step
        most = max(1, TOKENS_PER_MICRO_BATCH // world.block_length)
        at_once = max(n for n in range(1, min(most, at_once) + 1) if at_once % n == 0)
    arguments = TrainingArguments(
        output_dir=str(job.scratch / "trainer"),
        max_steps=num_steps,
        per_device_train_batch_size=at_once,
        gradient_accumulation_steps=world.blocks_per_step // at_once,
        learning_rate=job.learning_rate,
        bf16=side.bf16,
        torch_compile=side.everything and has_compiler(),
        use_cpu=True,
        dataloader_pin_memory=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    tokenizer = AutoTokenizer.from_pretrained(world.tokenizer)
    rows = Dataset.from_file(world.rows)
    return Trainer(
        model=model,
        args=arguments,
        # Whole steps only, so that every step has as many tokens.
        train_dataset=rows.select(range(len(rows) // world.blocks_per_step * world.blocks_per_step)),
        data_collator=DataCollatorForLanguageModeling(tokenizer=tokenizer, mlm_probability=MASK_RATE),
        callbacks=[callback],
    )


class _Paced(TrainerCallback):  # type: ignore[misc]
    """Blocks the Trainer between bursts of steps."""

    def __init__(self, pacer: Pacer, facts: dict[str, Any]) -> None:
        self._pacer = pacer
        self._facts = facts

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._pacer.begin(self._facts)

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self._pacer.step()


class _Timed(TrainerCallback):  # type: ignore[misc]
    """Evaluates at even distances of time and answers with the points."""

    def __init__(self, job: Job, model: PreTrainedModel, masks: FrozenMasks, channel: Channel) -> None:
        self._job, self._model, self._masks, self._channel = job, model, masks, channel
        self._next = job.seconds / _NUM_EVALUATIONS

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        reached = time.monotonic() - self._job.started
        if reached < self._next or state.global_step == state.max_steps:
            return
        found = evaluate_mlm.evaluate(self._model.eval(), self._masks, _CPU, _INTERIM_TOKENS)
        self._model.train()
        point = {"seconds": reached, "step": state.global_step, "valid_loss": found["valid_loss"]}
        self._channel.send({"point": point})
        while self._next <= time.monotonic() - self._job.started:
            self._next += self._job.seconds / _NUM_EVALUATIONS
