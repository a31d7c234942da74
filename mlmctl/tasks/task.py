"""What a task is: the few things that fine-tuning and evaluation have to ask, and nothing more.

The stages know examples, windows, a loss and a report; what a label, an answer or a tag is, only the
task knows. A new task is one file with these methods and one line in `adapted.TASKS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from ..config import EvaluateConfig, FinetuneConfig
from ..engine.architectures import Head
from ..events import Emit, Note
from ..text.npy import open_array
from ..text.specials import Specials
from .features import Features

TRAIN_HASHES = "train_hashes.npy"
_HELD_OUT_FROM, _HELD_OUT_SHARE, _MOST_HELD_OUT = 2000, 0.05, 500

Settings = Mapping[str, Any]
"""What a model must be told beside its weights, as plain JSON: written by finetune, read by all others."""


class Data(Protocol):
    """Examples of a task in the order of their file."""

    @property
    def hashes(self) -> NDArray[np.uint64]:
        """A hash of each example's text [num_examples], by which the same text is found elsewhere."""
        ...

    def __len__(self) -> int: ...

    def take(self, numbers: NDArray[np.int64]) -> Data:
        """The examples of these numbers, in this order."""
        ...


@dataclass(frozen=True)
class Tuned:
    """What held-out examples have decided about a trained model."""

    settings: dict[str, Any]
    metrics: dict[str, float] = field(default_factory=dict)
    """What is told of it, beside how the model does on them."""


@dataclass(frozen=True)
class Report:
    """The result of an evaluation: plain JSON values, the same bytes every time."""

    metrics: dict[str, Any]
    """Numbers, or tables of numbers; metrics common to all tasks are added by the stage."""
    headline: str
    """The name of the metric that sums the result up."""
    predictions: Sequence[Mapping[str, Any]] = field(default_factory=list)
    """One object an example, in the order of the data."""
    errors: Sequence[Mapping[str, Any]] = field(default_factory=list)
    """The worst mistakes, worst first."""
    files: Mapping[str, Any] = field(default_factory=dict)
    """Further files of the result, by name, as JSON values: what a field has its own format for."""


class Task(Protocol):
    """One task; the methods hold no state. `Any` stands for the task's own kind of `Data` or predictions."""

    name: str
    model_head: Head
    asks: tuple[str, ...]
    """The columns, all strings, that a row without an answer has; plain lines will do where it is `text`."""
    learning_rate: float
    """Of AdamW, where none is asked for."""
    batch_size: int
    """Windows a step, where none are asked for."""
    zero_output: bool
    """Whether a new output layer begins at zero, and not at random."""

    def read(
        self,
        path: Path,
        config: FinetuneConfig | EvaluateConfig,
        emit: Emit,
        settings: Settings | None = None,
    ) -> Any:
        """The examples of a file. With `settings` (of a model), what the model cannot know is an error.

        DataError names the row of whatever cannot be used.
        """
        ...

    def trainable(self, data: Any) -> NDArray[np.int64]:
        """Numbers of the examples that can be learned from (a blank text cannot)."""
        ...

    def sample(self, data: Any, num_examples: int, seed: int) -> NDArray[np.int64]:
        """Numbers (ascending) of a seeded sample that represents the data. DataError if it cannot."""
        ...

    def epochs(self, num_examples: int) -> float:
        """Passes over the data, where none are asked for."""
        ...

    def mask_rate(self, num_examples: int) -> float:
        """Share of the tokens masked in training, where none is asked for."""
        ...

    def shrink_to(self, num_examples: int) -> float:
        """How large the matrices of an encoder of ours are at most when it begins (decision 0034)."""
        ...

    def cycles(self, num_examples: int, num_epochs: float) -> int:
        """How often the learning rate falls to zero; of several, the weights at their ends are averaged."""
        ...

    def hold_out(self, data: Any, seed: int) -> NDArray[np.int64]:
        """Numbers (ascending) of the examples kept out of training, to watch it and to tune on; none where
        there are too few to spare any.
        """
        ...

    def unlabelled(self, rows: Sequence[Mapping[str, str]]) -> Any:
        """Data without answers, for `predict`, from rows that hold at least the columns `asks`."""
        ...

    def settings(self, data: Any, config: FinetuneConfig) -> dict[str, Any]:
        """What a model trained on this data must remember."""
        ...

    def head(self, settings: Settings) -> dict[str, Any]:
        """The fields of the model's configuration that make its head."""
        ...

    def features(
        self, data: Any, tokenizer: Tokenizer, specials: Specials, block_length: int, settings: Settings
    ) -> Features:
        """The windows of all examples, with their targets."""
        ...

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """The sum of the weighted losses of a batch: a float32 scalar."""
        ...

    def predict(self, model: nn.Module, features: Features, settings: Settings, batch_size: int) -> Any:
        """Predictions for all examples; the model is in eval mode and no gradients are asked for."""
        ...

    def tune(self, model: nn.Module, data: Any, predictions: Any, settings: Settings) -> Tuned:
        """What only held-out examples can decide: a setting such as a threshold, or how sure the model is,
        for which its head is changed in place (and no answer becomes another).
        """
        ...

    def answers(self, data: Any, predictions: Any, settings: Settings) -> list[dict[str, Any]]:
        """One object for each example, as `mlmctl predict` prints it: strings, numbers and lists of them
        are columns of its plain output, nested objects are shown with `--json` only.
        """
        ...

    def score(self, data: Any, predictions: Any, settings: Settings) -> Report:
        """Compare predictions with what the data says."""
        ...


def usual_epochs(num_examples: int) -> float:
    """Epochs for most tasks: 30 up to 100 examples, 11 for 1,000, 4 for 10,000, 3 from 20,000.

    Few labels need many rounds to move the weights at all; many labels give enough steps in few.
    """
    return float(np.clip(round(30 * (100 / max(num_examples, 1)) ** 0.44), 3, 30))


USUAL_SHRINK_TO = 2.0
"""What most tasks shrink matrices to, in units of `initializer_range`."""


def hold_out_rest(task: Task, data: Data, seed: int) -> NDArray[np.int64]:
    """Held out is what a sample leaves: what is learned represents the data (a rare label stays in it)."""
    learned = task.sample(data, len(data) - num_held_out(len(data)), seed)
    return np.setdiff1d(np.arange(len(data)), learned)


def learned_hashes(folder: Path) -> NDArray[np.uint64] | None:
    """Hashes of the labelled texts that the model in `folder` has learned from, if it says so."""
    path = folder / TRAIN_HASHES
    return open_array(path, np.dtype(np.uint64)) if path.is_file() else None


def num_trained_on(data: Data, trained_on: NDArray[np.uint64], emit: Emit) -> int:
    """How many test examples have a text that was trained on: told as a warning, for they flatter."""
    count = int(np.isin(data.hashes, trained_on).sum())
    if count:
        message = f"{count:,} of {len(data):,} test texts were in the training data: the result flatters"
        emit(Note(message, level="warning"))
    return count


def num_held_out(num_examples: int, at_least: int = _HELD_OUT_FROM, share: float = _HELD_OUT_SHARE) -> int:
    """How many examples are held out: a share of them, at most 500; none of fewer than `at_least`."""
    return min(_MOST_HELD_OUT, round(share * num_examples)) if num_examples >= at_least else 0
