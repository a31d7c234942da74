"""A fine-tuned model as everybody meets it: opened from its folder, asked, without knowing its task.

`task.json` in the folder holds what the weights do not say: the task, the block length, the settings.
The tasks are the explicit table below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import PreTrainedModel

from ..engine import configuration
from ..engine import model as models
from ..errors import ArtifactError
from ..json_files import indented, read_json
from ..storage import write_file
from ..text import vocabulary
from .classify import Classification
from .features import Features
from .qa import QuestionAnswering
from .tags import Tagging
from .task import Settings, Task

TASKS: dict[str, Task] = {
    task.name: task
    for task in (Classification("sentiment"), Classification("classify"), Tagging(), QuestionAnswering())
}

_FILE = "task.json"


@dataclass(frozen=True)
class Adapted:
    """A model with its task, its tokenizer and all it needs to answer."""

    task: Task
    settings: Settings
    model: PreTrainedModel
    tokenizer: Tokenizer
    block_length: int

    def features(self, data: Any) -> Features:
        """The windows of the task's data."""
        specials = vocabulary.special_ids(self.tokenizer)
        return self.task.features(data, self.tokenizer, specials, self.block_length, self.settings)

    def predict(self, features: Features, batch_size: int) -> Any:
        """The task's predictions."""
        return self.task.predict(self.model, features, self.settings, batch_size)

    def answer(self, rows: Sequence[Mapping[str, str]], batch_size: int) -> list[dict[str, Any]]:
        """One answer for each row (of the columns the task asks for), in order."""
        data = self.task.unlabelled(rows)
        return self.task.answers(data, self.predict(self.features(data), batch_size), self.settings)


def write_task(folder: Path, task: Task, settings: Settings, block_length: int) -> None:
    """Write `task.json`."""
    content = {"task": task.name, "block_length": block_length, "settings": dict(settings)}
    write_file(folder / _FILE, indented(content))


def open_adapted(folder: Path, device: torch.device) -> Adapted:
    """The fine-tuned model in `folder`, in eval mode on `device`. ArtifactError if it is none."""
    if not (folder / _FILE).exists():
        raise ArtifactError(
            "artifact.no-task",
            f"has no {_FILE}: it is not a model made by finetune",
            where=str(folder),
            hint="mlmctl finetune makes one",
        )

    def made(content: dict[str, Any]) -> tuple[Task, Settings, int]:
        task, settings = TASKS[content["task"]], dict(content["settings"])
        task.head(settings)  # fails for settings that are not its own
        return task, settings, int(content["block_length"])

    task, settings, block_length = read_json(folder / _FILE, made)
    model, report = models.load(folder, task.model_head, device=device)
    if report.new:
        missing = ", ".join(report.new)
        raise ArtifactError("artifact.missing-tensor", f"has no tensors {missing}", where=str(folder))
    tokenizer = vocabulary.load(folder)
    configuration.check_vocabulary(folder, vocabulary.special_ids(tokenizer).vocab_size)
    return Adapted(task, settings, model, tokenizer, block_length)
