"""The stages as nodes: what each is keyed by, which artifacts it reads, which function makes it.

Importing this file imports no stage: a node's function does so when it is called, so that a run in
which everything is fresh never waits for torch.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import extras, hub
from ..config import FinetuneConfig, MaskConfig, PretrainConfig, Recipe, RuntimeConfig, Table
from ..errors import UsageError
from ..events import Emit
from ..stages.stage import Stage
from ..storage import HashCache
from . import inputs

Metrics = dict[str, Any]

POLICY_FIELDS = {"rate_start", "rate_end", "unit", "span_length", "num_valid_blocks", "seed"}
"""Fields of the table `mask` that blocks do not depend on."""
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
    outlook: Callable[[Path | None, RuntimeConfig], str] | None = None
    """(work that is continued, runtime) -> what a plan can tell of it once all that it reads is there."""
    corpus: inputs.Corpus | None = None
    data: Path | None = None
    tables: Sequence[Table] = ()
    """What the others need to know where ranks divide the stage; none: the first does it alone."""
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
        return self.trunk_of(self.config)

    def trunk_of(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The same of another configuration of this node."""
        return {name: value for name, value in config.items() if name not in self.extendable}


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
    unread = inputs.unread_model(recipe.pretrain.init, may_read)
    init = hub.folder(recipe.pretrain.init, may_read) if recipe.pretrain.init and not unread else None
    if init is not None:
        inputs.check_positions(init, recipe.mask.block_length)
        if not recipe.tokenizer.path:
            tokenizer = recipe.tokenizer.model_copy(update={"path": str(init)})
            recipe = recipe.model_copy(update={"tokenizer": tokenizer})
    paths = corpus_paths or recipe.corpus.paths
    corpus = inputs.corpus(run, recipe.corpus.model_copy(update={"paths": paths}), cache, emit, may_read)
    corpus = replace(corpus, unread=[*unread, *corpus.unread])
    nodes = [_tokenizer(recipe, corpus)]
    if until != "tokenizer":
        nodes += [_blocks(run, recipe, corpus), _policy(run, recipe.mask)]
    if until == "pretrain":
        nodes.append(replace(_pretrain(run, recipe.pretrain, init), unread=unread))
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
        reads={"pretrain": inputs.encoder_folder(run, config.model, may_read)},
        given={"data": data.fingerprint},
        replaceable=False,
        data=data.path,
        tables=[config],
        unread=[*inputs.unread_model(config.model, may_read), *data.unread],
        details=data.origin,
    )


def finetune_name(config: FinetuneConfig) -> str:
    """The folder of a fine-tune: `--name`, or the task, marked if it starts from random weights."""
    return folder_name(config.name or (f"{config.task}-scratch" if config.from_scratch else config.task))


def folder_name(name: str) -> str:
    """A name that stays inside the folder it is given in; UsageError for any other."""
    if name in {"", ".", ".."} or "/" in name or name.startswith(".") or not name.isprintable():
        raise UsageError("usage.name", f"{name!r} cannot be the name of a folder here", where="--name")
    return name


def _tokenizer(recipe: Recipe, corpus: inputs.Corpus) -> Node:
    def make(stage: Stage) -> Metrics:
        from ..stages import tokenizer

        return tokenizer.run(recipe.tokenizer, recipe.corpus, stage)

    if recipe.tokenizer.extend and not recipe.tokenizer.path and not recipe.pretrain.init:
        message = "there is no tokenizer to extend"
        raise UsageError("usage.extend", message, where="--extend-vocab", hint="--tokenizer DIR names one")
    if recipe.tokenizer.path:
        pinned = inputs.tokenizer(Path(recipe.tokenizer.path))
        if not recipe.tokenizer.extend:
            config, given = {"pinned": True}, {"pinned": pinned}
            return Node("tokenizer", make, config, reads={}, given=given, needs_torch=False)
        return Node(
            "tokenizer",
            make,
            config={"pinned": True, "extend": recipe.tokenizer.extend, **recipe.corpus.key_fields()},
            reads={},
            given={"pinned": pinned, "corpus": corpus.fingerprint},
            needs_torch=False,
            corpus=corpus,
            unread=corpus.unread,
            details=_corpus_details(corpus),
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

    if recipe.mask.near_duplicates:  # said before a tokenizer is trained
        extras.check("rensa", "near", "near-duplicates")
    shape = {name: value for name, value in recipe.mask.key_fields().items() if name not in POLICY_FIELDS}
    return Node(
        "mask/blocks",
        make,
        config={**shape, **recipe.corpus.key_fields()},
        reads={"tokenizer": run / "tokenizer"},
        given={"corpus": corpus.fingerprint},
        needs_torch=False,
        corpus=corpus,
        tables=[recipe.mask, recipe.corpus],
        unread=corpus.unread,
        details=_corpus_details(corpus),
    )


def _policy(run: Path, config: MaskConfig) -> Node:
    def make(stage: Stage) -> Metrics:
        from ..stages import mask

        return mask.run_policy(config, stage)

    fields = {name: value for name, value in config.key_fields().items() if name in POLICY_FIELDS}
    return Node(
        "mask/policy",
        make,
        config=fields,
        reads={"tokenizer": run / "tokenizer", "mask/blocks": run / "mask/blocks"},
        needs_torch=False,
    )


def _pretrain(run: Path, config: PretrainConfig, init: Path | None) -> Node:
    def make(stage: Stage) -> Metrics:
        from ..stages import pretrain

        return pretrain.run(config, stage)

    def tidy(work: Path) -> None:
        from ..stages import pretrain

        pretrain.tidy(work)

    def outlook(work: Path | None, runtime: RuntimeConfig) -> str:
        from ..stages import pretrain

        return pretrain.outlook(config, reads, work, runtime)

    reads = {name: run / name for name in ("tokenizer", "mask/blocks", "mask/policy")}
    return Node(
        "pretrain",
        make,
        config=config.key_fields(),
        reads=reads if init is None else {**reads, "init": init},
        replaceable=False,
        extendable=_LENGTH_FIELDS,
        tables=[config],
        tidy=tidy,
        outlook=outlook if config.preset == "auto" else None,
    )


def _corpus_details(corpus: inputs.Corpus) -> dict[str, Any]:
    return {"corpus": list(corpus.paths), "built_in_data": corpus.built_in}
