"""Adapt an encoder to a task: a head on top, trained with all below it on labelled data.

Reads:  an encoder folder (`pretrain`, or any other handed over under that name), labelled data
Writes: finetune/<name>/  config.json, model.safetensors, tokenizer files, task.json, metrics.jsonl,
        load_report.json, train_hashes.npy (by which evaluation finds test texts that were trained on)
"""

from __future__ import annotations

import shutil
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from ..config import FinetuneConfig, seconds
from ..engine import adapting, configuration, fused, lanes, loop, model, optimizer, plan, runtime
from ..engine.checkpoint import Checkpoints
from ..engine.probe import dtype_by_rule
from ..errors import DataError, UsageError
from ..events import Emit, Note, Plan
from ..json_files import indented
from ..storage import check_space, folder_size
from ..tasks.adapted import TASKS, Adapted, write_task
from ..tasks.features import Features
from ..tasks.hiding import Hiding
from ..tasks.pretrained import block_length
from ..tasks.task import TRAIN_HASHES, Data, Settings, Task, learned_hashes
from ..tasks.work import WindowWork
from ..text import vocabulary
from ..text.npy import write_array
from .stage import Stage

_NUM_EVALUATIONS = 8
_MOST_WATCHED = 500
_WARMUP_SHARE = 0.1
_MAX_GRAD_NORM = 1.0
_EVALUATION_BATCH = 64
_NUM_STATES = 3  # in a checkpoint: weights, two moments of AdamW; with cycles the sum of weights, too
_MOST_CHECKPOINTS = 3  # the newest two, and the one being written; and then the result


def run(config: FinetuneConfig, stage: Stage) -> dict[str, Any]:
    """Fine-tune and write the model; metrics of the training.

    DataError for labelled data that cannot be used, ArtifactError for an encoder that does not fit.
    """
    if stage.data is None:
        raise UsageError("usage.no-data", "no labelled data is named", hint="--data FILE")
    task, machine, encoder = (
        TASKS[config.task],
        runtime.prepare(stage.runtime, stage.ranks),
        stage.inputs["pretrain"],
    )
    examples = _choose(task, task.read(stage.data, config, stage.emit), config)
    settings = task.settings(examples.all, config)
    network, report = _network(task, encoder, config, settings, len(examples.learned), machine.device)
    fused.install(network)
    tokenizer = vocabulary.fitted(encoder)
    specials = vocabulary.special_ids(tokenizer.tokenizer)
    configuration.check_vocabulary(encoder, specials.vocab_size)
    adapted = Adapted(task, settings, network, tokenizer.tokenizer, _window_length(encoder, config))
    features = adapted.features(examples.learned)
    _tell(report, features, adapted.block_length, stage.emit)

    watch = _Watch(adapted, examples)
    batch_size = config.batch_size or task.batch_size
    # Of the first rank's: how a batch is cut must be the same for all that share it.
    num_lanes = stage.ranks.decide(lambda: lanes.most(network, machine.num_threads)) * stage.ranks.world_size
    mask_rate = task.mask_rate(len(examples.learned)) if config.mask_rate is None else config.mask_rate
    hiding = Hiding(mask_rate, specials) if mask_rate else None
    work = WindowWork(features, task.loss, batch_size, config.seed, num_lanes, hiding)
    num_epochs = config.epochs or task.epochs(len(examples.learned))
    learning_rate = config.learning_rate or task.learning_rate
    num_steps = max(1, round(num_epochs * work.steps_per_epoch))
    ends = _cycle_ends(num_steps, config.cycles or task.cycles(len(examples.learned), num_epochs))
    stage.emit(_plan(config, examples, features, network, batch_size, num_epochs, num_steps))
    if stage.ranks.is_first:
        num_kept = _NUM_STATES + (len(ends) > 1)
        needed = 4 * model.num_parameters(network) * (_MOST_CHECKPOINTS * num_kept + 1)
        check_space(stage.work, needed, held=folder_size(stage.work))
    adamw = optimizer.adamw(network, learning_rate=learning_rate, weight_decay=config.weight_decay)
    trained = loop.train(
        network,
        work,
        adamw,
        _warm_up_and_decay(ends),
        loop.Settings(
            stage=stage.name,
            num_steps=num_steps,
            seed=config.seed,
            max_grad_norm=_MAX_GRAD_NORM,
            save_interval=seconds(config.save_interval),
            evaluate_at=_evenly(num_steps),
            average_at=ends.__contains__ if len(ends) > 1 else lambda step: False,
            dtype=dtype_by_rule(machine.device),
            device=machine.device,
            ranks=stage.ranks,
            num_threads=machine.num_threads,
        ),
        Checkpoints(stage.work, stage.name, stage.emit, environment=stage.environment),
        watch.evaluate,
        stage.emit,
    )
    if not stage.ranks.is_first:
        return {}
    adamw.average.apply()
    adapted, watched = watch.tuned()
    _write(stage, adapted, tokenizer, report, examples.learned)
    return {
        "num_examples": len(examples.all),
        "num_held_out": len(examples.watched) if examples.is_held_out else 0,
        "share_windowed": features.share_windowed,
        **features.facts,
        "num_steps": num_steps,
        "num_epochs": num_epochs,
        "num_cycles": len(ends),
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "mask_rate": mask_rate,
        "train_loss": trained.counters.recent_loss,
        **watched,
        "num_loaded_tensors": report["num_loaded"],
        "num_new_tensors": len(report["new"]),
        "num_shrunk_tensors": len(report["shrunk"]),
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
    held_out = task.hold_out(data, config.seed)
    if not len(held_out):
        watched = np.arange(0, len(data), -(-len(data) // _MOST_WATCHED))
        return _Examples(data, data, data.take(watched), is_held_out=False)
    learned = np.setdiff1d(np.arange(len(data)), held_out)
    return _Examples(data, data.take(learned), data.take(held_out), is_held_out=True)


def _network(
    task: Task,
    encoder: Path,
    config: FinetuneConfig,
    settings: Mapping[str, Any],
    num_examples: int,
    device: torch.device,
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """The model with its head, and the load report: what came from the encoder and what is new."""
    head = task.head(settings)
    if config.from_scratch:
        network = model.build_like(encoder, task.model_head, config.seed, device, config.dropout, **head)
        report: dict[str, Any] = {"num_loaded": 0, "new": sorted(network.state_dict()), "unexpected": []}
    else:
        network, loaded = model.load(encoder, task.model_head, config.seed, device, config.dropout, **head)
        new, unexpected = list(loaded.new), list(loaded.unexpected)
        report = {"num_loaded": loaded.num_loaded, "new": new, "unexpected": unexpected}
    if task.zero_output:
        adapting.zero_output(network, report["new"])
    shrink_to = config.shrink_to
    if shrink_to is None:  # the layers of encoders made elsewhere know more than ours, and stay
        shrink_to = task.shrink_to(num_examples) if plan.is_ours(encoder) else 0.0
    report["shrunk"] = adapting.shrink_layers(network, shrink_to) if shrink_to else {}
    return network, {"from_scratch": config.from_scratch, **report}


def _window_length(encoder: Path, config: FinetuneConfig) -> int:
    """The longest input: what is asked for, or what the encoder was trained on."""
    if config.window_length is None:
        return block_length(encoder)
    most = configuration.num_positions(encoder)
    if config.window_length > most:
        message = f"{config.window_length} tokens are more than the {most} the encoder has positions for"
        raise UsageError("usage.window-length", message, where="finetune.window_length")
    return config.window_length


class _Watch:
    """How the model in training does on the watched examples."""

    def __init__(self, adapted: Adapted, examples: _Examples) -> None:
        self._adapted = adapted
        self._examples = examples
        self._features = adapted.features(examples.watched)

    def evaluate(self, step: int) -> loop.Evaluation:
        return loop.Evaluation(self._metrics(self._predict(), self._adapted.settings))

    def tuned(self) -> tuple[Adapted, dict[str, float]]:
        """The trained model with what only held-out examples can decide, and its metrics."""
        adapted, predictions = self._adapted, self._predict()
        if not self._examples.is_held_out:
            return adapted, self._metrics(predictions, adapted.settings)
        tuned = adapted.task.tune(adapted.model, self._examples.watched, predictions, adapted.settings)
        metrics = self._metrics(predictions, tuned.settings) | tuned.metrics
        return replace(adapted, settings=tuned.settings), metrics

    def _predict(self) -> Any:
        return self._adapted.predict(self._features, _EVALUATION_BATCH)

    def _metrics(self, predictions: Any, settings: Settings) -> dict[str, float]:
        found = self._adapted.task.score(self._examples.watched, predictions, settings)
        prefix = "held_out" if self._examples.is_held_out else "train"
        return {f"{prefix}_{found.headline}": found.metrics[found.headline]}


def _cycle_ends(num_steps: int, num_cycles: int) -> list[int]:
    """Finished steps at the end of each cycle: as many as there are steps for, of equal length."""
    num_cycles = min(num_cycles, num_steps)
    return [num_steps * n // num_cycles for n in range(1, num_cycles + 1)]


def _warm_up_and_decay(ends: Sequence[int]) -> Callable[[int], float]:
    """The factor on the learning rate: linear up over the first tenth (of a first cycle at most half), then
    in each cycle linear down to (almost) zero.
    """
    num_warmup = max(1, min(round(_WARMUP_SHARE * ends[-1]), ends[0] // 2))

    def factor(step: int) -> float:
        if step < num_warmup:
            return (step + 1) / num_warmup
        number = bisect_right(ends, step)
        start = ends[number - 1] if number else num_warmup
        return (ends[number] - step) / (ends[number] - start)

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
    if shrunk := report["shrunk"]:
        factor = sum(shrunk.values()) / len(shrunk)
        emit(Note(f"{len(shrunk)} matrices of its layers begin at {factor:.2f} of their size, on average"))
    if features.share_windowed:
        share = f"{features.share_windowed:.1%} of the texts"
        emit(Note(f"{share} are longer than {block_length} tokens and are read in several windows"))


def _plan(
    config: FinetuneConfig,
    examples: _Examples,
    features: Features,
    network: PreTrainedModel,
    batch_size: int,
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
            ("steps", f"{num_steps:,} of {batch_size} windows, {num_epochs:g} epochs"),
        ],
    )


def _write(
    stage: Stage,
    adapted: Adapted,
    tokenizer: vocabulary.Fitted,
    report: Mapping[str, Any],
    learned: Data,
) -> None:
    """The artifact: a folder that stock transformers loads, and what evaluation needs beside it."""
    model.save_model(adapted.model, stage.out)
    tokenizer.save(stage.out, configuration.num_positions(stage.out))
    write_task(stage.out, adapted.task, adapted.settings, adapted.block_length)
    (stage.out / "load_report.json").write_bytes(indented(report))
    start = stage.inputs["pretrain"]
    before = None if report["from_scratch"] else learned_hashes(start)
    if before is not None:
        write_array(stage.out / TRAIN_HASHES, np.union1d(learned.hashes, before))
    elif report["from_scratch"] or not (start / "task.json").is_file():  # else nobody knows
        write_array(stage.out / TRAIN_HASHES, np.unique(learned.hashes))
    shutil.copyfile(stage.work / "metrics.jsonl", stage.out / "metrics.jsonl")
