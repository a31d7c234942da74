"""`mlmctl demo`: an invented world, one encoder, and what a label is worth with it and without it.

Generates the world (`mlmctl.world`), pretrains a `tiny` encoder on its unlabelled text, and fine-tunes it
and the same model with random weights at a few label counts. Everything goes through the pipeline that
the five stage commands use, so an interrupted demo continues and a finished one is read back.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import world
from ..config import (
    CorpusConfig,
    EvaluateConfig,
    FinetuneConfig,
    MaskConfig,
    PretrainConfig,
    Recipe,
    RuntimeConfig,
    TokenizerConfig,
)
from ..events import Emit, Note
from ..pipeline import Node, StageReport, evaluate_node, execute, finetune_node, pretrain_nodes
from ..storage import HashCache

LABEL_COUNTS = (16, 64, 256)
SEED = 0
_START = {True: "pretrained", False: "scratch"}
_KEPT = ("valid_loss", "valid_accuracy", "unigram_loss", "num_steps", "num_train_tokens", "seconds")


def run(folder: Path, runtime: RuntimeConfig, emit: Emit) -> dict[str, Any]:
    """Run the whole demo in a run folder; the table, the metrics of pretraining, and the stages.

    `table` maps each label count to the test accuracy of `pretrained` and `scratch`.
    Raises what the pipeline raises, ArtifactError if the folder holds another project's encoder.
    """

    def nodes(cache: HashCache) -> list[Node]:
        emit(Note("writing an invented world: a corpus, labelled reviews, a test set"))
        made = world.generate(SEED, folder / "data")
        todo = pretrain_nodes(folder, recipe(runtime), "pretrain", [str(made.corpus)], cache, emit)
        for count in LABEL_COUNTS:
            for pretrained in (True, False):
                todo += _measured(folder, made, count, pretrained, cache, emit)
        return todo

    reports = execute(folder, nodes, runtime=runtime, emit=emit)
    by_name = {report.name: report for report in reports}
    learned = by_name["pretrain"].manifest.metrics
    return {
        "table": {str(count): _accuracies(by_name, count) for count in LABEL_COUNTS},
        "metrics": {name: learned[name] for name in _KEPT if name in learned},
        "stages": [
            {
                "name": report.name,
                "status": report.status,
                "seconds": round(report.seconds, 3),
                "fingerprint": report.manifest.fingerprint,
            }
            for report in reports
        ],
        "next": next_steps(folder),
    }


def recipe(runtime: RuntimeConfig) -> Recipe:
    """What the demo trains: sized for about a minute and a half of pretraining on two slow cores.

    The number of steps is fixed, not the time, so that the same machine always gets the same table.
    """
    return Recipe(
        runtime=runtime,
        corpus=CorpusConfig(unit="paragraph"),
        tokenizer=TokenizerConfig(vocab_size=896),
        mask=MaskConfig(block_length=64, num_valid_blocks=128),
        # The rates are written out: at twice Muon's rate this world's words are not told apart.
        pretrain=PretrainConfig(
            preset="tiny",
            steps=1_000,
            tokens_per_step=1_024,
            muon_learning_rate=0.02,
            learning_rate=3e-3,
        ),
    )


def rows(result: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The table as text: labels, accuracy pretrained, accuracy from scratch."""
    return [
        (count, f"{cell['pretrained']:.3f}", f"{cell['scratch']:.3f}")
        for count, cell in result["table"].items()
    ]


def explanation(result: Mapping[str, Any]) -> list[str]:
    """What the table shows and what it does not, in plain sentences, and commands to go on with."""
    return [
        "Test accuracy on reviews of an invented world; 0.5 is guessing. Four reviews of five judge with "
        "invented words that occur in no labelled example, so a model from scratch can only guess at "
        "them, however many labels it gets; the fifth uses words it has seen. The pretrained model met "
        "all the words in unlabelled text, where praise keeps company with praise; the labels only told "
        "it which group is which. The world was built so that this can be seen within minutes: the "
        "mechanism is the one that works on real text, the size of the gap is not. (data/words.json in the "
        "run folder says which word is which; no stage reads it.)",
        "Next:",
        *(f"  {command}" for command in result["next"]),
    ]


def next_steps(folder: Path) -> list[str]:
    """Commands worth trying after the demo, for this run folder."""
    here = shlex.quote(str(folder))
    return [
        f"echo 'The soup was wonderfully [MASK].' | mlmctl fill --run {here}",
        f"head -n 3 {here}/data/test.jsonl | mlmctl predict --run {here} --model {_name(64, True)}",
        f"mlmctl status --run {here}",
        "mlmctl pretrain your-text.txt --run mine --budget 10m",
    ]


def _measured(
    folder: Path, made: world.World, count: int, pretrained: bool, cache: HashCache, emit: Emit
) -> list[Node]:
    """Two nodes: a fine-tune on `count` labels, and its evaluation on the test set."""
    name = _name(count, pretrained)
    adapt = FinetuneConfig(
        task="sentiment",
        name=name,
        data=str(made.train),
        from_scratch=not pretrained,
        max_examples=count,
    )
    measure = EvaluateConfig(task="sentiment", data=str(made.test), model=str(folder / "finetune" / name))
    return [
        finetune_node(folder, adapt, cache, emit),
        evaluate_node(folder, measure, cache, emit),
    ]


def _name(count: int, pretrained: bool) -> str:
    return f"{_START[pretrained]}-{count}"


def _accuracies(by_name: Mapping[str, StageReport], count: int) -> dict[str, float]:
    return {
        start: by_name[f"evaluate/{_name(count, pretrained)}/test"].manifest.metrics["accuracy"]
        for pretrained, start in _START.items()
    }
