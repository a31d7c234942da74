"""Adapt an encoder to a task: a head on top, trained with all below it on labelled data.

Reads:  an encoder folder (`pretrain`, or any other handed over under that name), labelled data
Writes: finetune/<name>/  config.json, model.safetensors, tokenizer files, task.json, metrics.jsonl,
        load_report.json, train_hashes.npy (by which evaluation finds test texts that were trained on)
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from ..config import FinetuneConfig, seconds
from ..engine import loop, model, optimizer, runtime
from ..engine.checkpoint import Checkpoints
from ..engine.probe import dtype_by_rule
from ..errors import DataError, UsageError
from ..events import Emit, Note, Plan
from ..tasks.adapted import TASKS, Adapted, write_task
from ..tasks.features import Features
from ..tasks.task import Data, Task
from ..tasks.work import WindowWork
from ..text import vocabulary
from .stage import Stage

_NUM_EVALUATIONS = 8
_HELD_OUT_FROM, _HELD_OUT_SHARE, _MOST_WATCHED = 2000, 0.05, 500
_WARMUP_SHARE = 0.1
_MAX_GRAD_NORM = 1.0
_EVALUATION_BATCH = 64
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def default_epochs(num_examples: int) -> int:
    """Epochs where none are asked for: 30 up to 100 examples, 11 for 1,000, 4 for 10,000, 3 from 20,000.

    Few labels need many rounds to move the weights at all; many labels give enough steps in few.
    """
    return int(np.clip(round(30 * (100 / max(num_examples, 1)) ** 0.44), 3, 30))


def run(config: FinetuneConfig, stage: Stage) -> dict[str, Any]:
    """Fine-tune and write the model; metrics of the training.

    DataError for labelled data that cannot be used, ArtifactError for an encoder that does not fit.
    """
    if stage.data is None:
        raise UsageError("usage.no-data", "no labelled data is named", hint="--data FILE")
    task, machine, encoder = TASKS[config.task], runtime.prepare(stage.runtime), stage.inputs["pretrain"]
    examples = _choose(task, task.read(stage.data, config, stage.emit), config)
    settings = task.settings(examples.all, config)
    network, report = _network(task, encoder, config, settings, machine.device)
    adapted = Adapted(task, settings, network, vocabulary.load(encoder), _block_length(encoder))
    features = adapted.features(examples.learned)
    _tell(report, features, adapted.block_length, stage.emit)

    work = WindowWork(features, task.loss, config.batch_size, config.seed)
    num_epochs = config.epochs or default_epochs(len(examples.learned))
    num_steps = max(1, round(num_epochs * work.steps_per_epoch))
    stage.emit(_plan(config, examples, features, network, num_epochs, num_steps))
    trained = loop.train(
        network,
        work,
        optimizer.adamw(network, learning_rate=config.learning_rate, weight_decay=config.weight_decay),
        _warm_up_and_decay(num_steps),
        loop.Settings(
            stage=stage.name,
            num_steps=num_steps,
            seed=config.seed,
            max_grad_norm=_MAX_GRAD_NORM,
            save_interval=seconds(config.save_interval),
            evaluate_at=_evenly(num_steps),
            dtype=dtype_by_rule(machine.device),
            device=machine.device,
            rank=machine.rank,
            world_size=machine.world_size,
        ),
        Checkpoints(stage.work, stage.name, stage.emit, environment=stage.environment),
        evaluate := _evaluation(adapted, examples),
        stage.emit,
    )
    network.eval()
    if examples.is_held_out:
        predictions = adapted.predict(adapted.features(examples.watched), _EVALUATION_BATCH)
        adapted = replace(adapted, settings=task.tune(examples.watched, predictions, settings))
    _write(stage, adapted, report, examples.learned, encoder)
    return {
        "num_examples": len(examples.all),
        "num_held_out": len(examples.watched) if examples.is_held_out else 0,
        "share_windowed": features.share_windowed,
        "num_steps": num_steps,
        "num_epochs": num_epochs,
        "train_loss": trained.counters.recent_loss,
        **evaluate(num_steps).metrics,
        "num_loaded_tensors": report["num_loaded"],
        "num_new_tensors": len(report["new"]),
        "seconds": trained.seconds,
        "examples_per_second": num_epochs * len(examples.learned) / max(trained.seconds, 1e-9),
        # Whatever the task has a list of (labels, tags) is counted under its own name: num_labels.
        **{f"num_{name}": len(value) for name, value in settings.items() if isinstance(value, list)},
    }


@dataclass(frozen=True)
class _Examples:
    """The examples chosen from the file, and the few whose accuracy is watched while training."""

    all: Data
    learned: Data
    watched: Data
    is_held_out: bool
    """Whether the watched ones are kept out of the learned ones (there are enough for that)."""


def _choose(task: Task, data: Data, config: FinetuneConfig) -> _Examples:
    """Leave out what cannot be learned from, take the sample asked for, hold some out."""
    data = data.take(task.trainable(data))
    if not len(data):
        raise DataError("data.empty", "holds no example to learn from: every text is empty")
    data = data.take(task.sample(data, config.max_examples or len(data), config.seed))
    if len(data) < _HELD_OUT_FROM:
        watched = np.arange(0, len(data), -(-len(data) // _MOST_WATCHED))
        return _Examples(data, data, data.take(watched), is_held_out=False)
    # The learned part is the one that has to represent the data: the only example of a rare label stays.
    num_held_out = min(_MOST_WATCHED, round(_HELD_OUT_SHARE * len(data)))
    learned = task.sample(data, len(data) - num_held_out, config.seed)
    held_out = np.setdiff1d(np.arange(len(data)), learned)
    return _Examples(data, data.take(learned), data.take(held_out), is_held_out=True)


def _network(
    task: Task, encoder: Path, config: FinetuneConfig, settings: Mapping[str, Any], device: torch.device
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """The model with its head, and the load report: what came from the encoder and what is new."""
    head = task.head(settings)
    if config.from_scratch:
        network = model.build_like(encoder, task.model_head, config.seed, device, config.dropout, **head)
        new = sorted(network.state_dict())
        return network, {"from_scratch": True, "num_loaded": 0, "new": new, "unexpected": []}
    network, loaded = model.load(encoder, task.model_head, config.seed, device, config.dropout, **head)
    return network, {
        "from_scratch": False,
        "num_loaded": loaded.num_loaded,
        "new": list(loaded.new),
        "unexpected": list(loaded.unexpected),
    }


def _block_length(encoder: Path) -> int:
    """The longest input the encoder was trained on; for one made elsewhere, that it has positions for."""
    plan = encoder / "plan.json"
    if plan.is_file():
        return int(json.loads(plan.read_bytes())["block_length"])
    return model.num_positions(encoder)


def _evaluation(adapted: Adapted, examples: _Examples) -> Callable[[int], loop.Evaluation]:
    features = adapted.features(examples.watched)
    prefix = "held_out" if examples.is_held_out else "train"

    def evaluate(step: int) -> loop.Evaluation:
        predictions = adapted.predict(features, _EVALUATION_BATCH)
        found = adapted.task.score(examples.watched, predictions, adapted.settings)
        return loop.Evaluation({f"{prefix}_{found.headline}": found.metrics[found.headline]})

    return evaluate


def _warm_up_and_decay(num_steps: int) -> Callable[[int], float]:
    """The factor on the learning rate: linear up over the first tenth, linear down to (almost) zero."""
    num_warmup = max(1, round(_WARMUP_SHARE * num_steps))

    def factor(step: int) -> float:
        if step < num_warmup:
            return (step + 1) / num_warmup
        return (num_steps - step) / (num_steps - num_warmup)

    return factor


def _evenly(num_steps: int) -> Callable[[int], bool]:
    chosen = {num_steps * n // _NUM_EVALUATIONS for n in range(1, _NUM_EVALUATIONS)}
    return chosen.__contains__


def _tell(report: Mapping[str, Any], features: Features, block_length: int, emit: Emit) -> None:
    if report["from_scratch"]:
        emit(Note("from scratch: the encoder's architecture and tokenizer, none of its weights"))
    else:
        message = f"loaded {report['num_loaded']} encoder tensors; new: {', '.join(report['new']) or 'none'}"
        emit(Note(message))
    if features.share_windowed:
        share = f"{features.share_windowed:.1%} of the texts"
        emit(Note(f"{share} are longer than {block_length} tokens and are read in several windows"))


def _plan(
    config: FinetuneConfig,
    examples: _Examples,
    features: Features,
    network: PreTrainedModel,
    num_epochs: float,
    num_steps: int,
) -> Plan:
    held_out = f", {len(examples.watched):,} held out to watch" if examples.is_held_out else ""
    return Plan(
        "finetune",
        [
            ("task", config.task),
            ("examples", f"{len(examples.all):,}{held_out}"),
            ("windows", f"{len(features.examples):,}, {features.lengths.mean():.0f} tokens on average"),
            ("model", f"{model.num_parameters(network):,} parameters"),
            ("steps", f"{num_steps:,} of {config.batch_size} windows, {num_epochs:g} epochs"),
        ],
    )


def _write(stage: Stage, adapted: Adapted, report: Mapping[str, Any], learned: Data, encoder: Path) -> None:
    """The artifact: a folder that stock transformers loads, and what evaluation needs beside it."""
    model.save_model(adapted.model, stage.out)
    for name in _TOKENIZER_FILES:
        if (encoder / name).is_file():
            shutil.copyfile(encoder / name, stage.out / name)
    write_task(stage.out, adapted.task, adapted.settings, adapted.block_length)
    content = json.dumps(report, indent=1, ensure_ascii=False).encode() + b"\n"
    (stage.out / "load_report.json").write_bytes(content)
    np.save(stage.out / "train_hashes.npy", np.unique(learned.hashes), allow_pickle=False)
    shutil.copyfile(stage.work / "metrics.jsonl", stage.out / "metrics.jsonl")
