"""The five stages as nodes: what each is keyed by, which artifacts it reads, which function makes it.

Importing this file imports no stage: a node's function does so when it is called, so that a run in
which everything is fresh never waits for torch.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..config import EvaluateConfig, FinetuneConfig, MaskConfig, Recipe
from ..errors import UsageError
from ..events import Emit
from ..stages.stage import Stage
from ..storage import HashCache
from ..text import remote
from . import inputs

Metrics = dict[str, Any]

_POLICY_FIELDS = {"rate_start", "rate_end", "unit", "span_length", "num_valid_blocks", "seed"}
_LENGTH_FIELDS = ("steps", "epochs", "budget")


@dataclass(frozen=True)
class Node:
    """One artifact to be made: everything the pipeline has to know about it."""

    name: str
    """Its folder below the run folder."""
    run: Callable[[Stage], Metrics]
    config: Mapping[str, Any]
    """What is in its key."""
    reads: Mapping[str, Path]
    """Artifact or model folders it reads, by the name it knows them under."""
    given: Mapping[str, str] = field(default_factory=dict)
    """Fingerprints of what it reads that is no folder: corpus, data, a pinned tokenizer."""
    replaceable: bool = True
    """Whether a changed key just makes it again; a trained model is only replaced by `--force`."""
    extendable: tuple[str, ...] = ()
    """Configuration fields that may grow: the work so far is then continued, not refused."""
    needs_torch: bool = True
    """Whether the stage computes with torch; importing it takes seconds."""
    tidy: Callable[[Path], object] = shutil.rmtree
    """What is done to the work folder once the result is published."""
    corpus: inputs.Corpus | None = None
    data: Path | None = None
    unread: Sequence[str] = ()
    """What it is made from and has not been read, so that nothing else can be said of it; only in a plan."""
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def stage(self) -> str:
        """The stage it belongs to: `mask` for `mask/blocks`."""
        return self.name.split("/")[0]

    @property
    def trunk(self) -> dict[str, Any]:
        """The configuration without the fields that may grow: what the work folder is keyed by."""
        return {name: value for name, value in self.config.items() if name not in self.extendable}


def pretrain_nodes(
    run: Path,
    recipe: Recipe,
    until: str,
    corpus_paths: list[str],
    cache: HashCache,
    emit: Emit,
    may_read: bool = True,
) -> list[Node]:
    """The nodes from the corpus up to stage `until`: `tokenizer`, `mask` or `pretrain`.

    Unless `may_read`, for a plan, nothing remote is read: see `Node.unread`.
    """
    paths = corpus_paths or recipe.corpus.paths
    corpus = inputs.corpus(run, recipe.corpus.model_copy(update={"paths": paths}), cache, emit, may_read)
    nodes = [_tokenizer(recipe, corpus)]
    if until != "tokenizer":
        nodes += [_blocks(run, recipe, corpus), _policy(run, recipe.mask)]
    if until == "pretrain":
        nodes.append(_pretrain(run, recipe))
    return nodes


def finetune_node(
    run: Path, config: FinetuneConfig, cache: HashCache, emit: Emit, may_read: bool = True
) -> Node:
    """`finetune/<name>`: an encoder adapted to a task."""
    data = inputs.labelled(run, "finetune", config.task, config.data, cache, emit, may_read)

    def make(stage: Stage) -> Metrics:
        from ..stages import finetune

        return finetune.run(config, stage)

    return Node(
        name=f"finetune/{finetune_name(config)}",
        run=make,
        config=config.key_fields(),
        reads={"pretrain": Path(config.model) if config.model else run / "pretrain"},
        given={"data": data.fingerprint},
        replaceable=False,
        data=data.path,
        unread=data.unread,
        details=_origin(data),
    )


def evaluate_node(
    run: Path, config: EvaluateConfig, cache: HashCache, emit: Emit, may_read: bool = True
) -> Node:
    """`evaluate/<model>/<data>`: metrics, predictions and errors of a model on test data."""

    def make(stage: Stage) -> Metrics:
        from ..stages import evaluate

        return evaluate.run(config, stage)

    if config.task == "mlm":
        encoder = Path(config.model) if config.model else run / "pretrain"
        return Node(
            name=f"evaluate/{encoder.name}/mlm",
            run=make,
            config=config.key_fields(),
            reads={
                "pretrain": encoder,
                "mask/blocks": run / "mask/blocks",
                "mask/policy": run / "mask/policy",
            },
        )
    folder = model_folder(run, config.model or config.task)
    data = inputs.labelled(run, "evaluate", config.task, config.data, cache, emit, may_read)
    return Node(
        name=f"evaluate/{folder.name}/{config.name or data.stem}",
        run=make,
        config=config.key_fields(),
        reads={"model": folder},
        given={"data": data.fingerprint},
        data=data.path,
        unread=data.unread,
        details=_origin(data),
    )


def finetune_name(config: FinetuneConfig) -> str:
    """The folder of a fine-tune: `--name`, or the task, marked if it starts from random weights."""
    name = config.name or (f"{config.task}-scratch" if config.from_scratch else config.task)
    if name in {".", ".."} or "/" in name or name.startswith(".") or not name.isprintable():
        raise UsageError("usage.name", f"{name!r} cannot be the name of a folder here", where="--name")
    return name


def model_folder(run: Path, named: str) -> Path:
    """A fine-tuned model: a name in the run folder, or a folder anywhere."""
    inside = run / "finetune" / named
    return inside if "/" not in named and (inside.exists() or not Path(named).is_dir()) else Path(named)


def _tokenizer(recipe: Recipe, corpus: inputs.Corpus) -> Node:
    def make(stage: Stage) -> Metrics:
        from ..stages import tokenizer

        return tokenizer.run(recipe.tokenizer, recipe.corpus, stage)

    if recipe.tokenizer.path:
        return Node(
            "tokenizer",
            make,
            config={"pinned": True},
            reads={},
            given={"pinned": inputs.tokenizer(Path(recipe.tokenizer.path))},
            needs_torch=False,
        )
    return Node(
        "tokenizer",
        make,
        config={**recipe.tokenizer.key_fields(), **recipe.corpus.key_fields()},
        reads={},
        given={"corpus": corpus.fingerprint},
        needs_torch=False,
        corpus=corpus,
        unread=corpus.unread,
        details=_corpus_details(corpus),
    )


def _blocks(run: Path, recipe: Recipe, corpus: inputs.Corpus) -> Node:
    def make(stage: Stage) -> Metrics:
        from ..stages import mask

        return mask.run_blocks(recipe.mask, recipe.corpus, stage)

    shape = {name: value for name, value in recipe.mask.key_fields().items() if name not in _POLICY_FIELDS}
    return Node(
        "mask/blocks",
        make,
        config={**shape, **recipe.corpus.key_fields()},
        reads={"tokenizer": run / "tokenizer"},
        given={"corpus": corpus.fingerprint},
        needs_torch=False,
        corpus=corpus,
        unread=corpus.unread,
        details=_corpus_details(corpus),
    )


def _policy(run: Path, config: MaskConfig) -> Node:
    def make(stage: Stage) -> Metrics:
        from ..stages import mask

        return mask.run_policy(config, stage)

    fields = {name: value for name, value in config.key_fields().items() if name in _POLICY_FIELDS}
    return Node(
        "mask/policy",
        make,
        config=fields,
        reads={"tokenizer": run / "tokenizer", "mask/blocks": run / "mask/blocks"},
        needs_torch=False,
    )


def _pretrain(run: Path, recipe: Recipe) -> Node:
    def make(stage: Stage) -> Metrics:
        from ..stages import pretrain

        return pretrain.run(recipe.pretrain, stage)

    def tidy(work: Path) -> None:
        from ..stages import pretrain

        pretrain.tidy(work)

    names = ("tokenizer", "mask/blocks", "mask/policy")
    return Node(
        "pretrain",
        make,
        config=recipe.pretrain.key_fields(),
        reads={name: run / name for name in names},
        replaceable=False,
        extendable=_LENGTH_FIELDS,
        tidy=tidy,
    )


def _corpus_details(corpus: inputs.Corpus) -> dict[str, Any]:
    return {"corpus": list(corpus.paths), "built_in_data": corpus.built_in}


def _origin(data: inputs.Labelled) -> dict[str, Any]:
    where = remote.public(data.remote) if data.remote else str(data.path.resolve())
    return {"data": where, "built_in_data": data.built_in}
