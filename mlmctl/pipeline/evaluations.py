"""The stage `evaluate` as nodes: one kind for each thing that can be measured, each keyed by what it uses."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path
from typing import Any

from .. import hub
from ..config import EvaluateConfig, Recipe
from ..errors import UsageError
from ..events import Emit
from ..manifest import MANIFEST
from ..stages.stage import Stage
from ..storage import HashCache
from . import inputs
from .nodes import Metrics, Node, finetune_name, folder_name

_CONTENT = 2
"""In every key, since the result of the same model and data changes with it: 2 has the intervals."""


def evaluate_node(
    run: Path, config: EvaluateConfig, cache: HashCache, emit: Emit, may_read: bool = True
) -> Node:
    """`evaluate/<model>/<data>`: metrics, predictions and errors of a model on test data.

    Unless `may_read`, for a plan, nothing remote is read: see `Node.unread`.
    """
    match config.task:
        case "mlm":
            return _on_masks(run, config, may_read)
        case "pairs":
            return _on_pairs(run, config, cache, may_read)
        case _:
            return _on_examples(run, config, cache, emit, may_read)


def measured(run: Path, recipe: Recipe, said: Container[str]) -> EvaluateConfig:
    """What a recipe measures: where it does not say otherwise, the model that it makes.

    `said` are the keys of the recipe that were given (`table.key`). UsageError if it would be measured by
    another task than it is made for.
    """
    config, made = recipe.evaluate, recipe.finetune
    if "evaluate.task" not in said:
        config = config.model_copy(update={"task": made.task})
    if config.model or config.task in ("mlm", "pairs"):
        return config
    if config.task != made.task:
        found = f"is {config.task!r}, and the model is made for {made.task!r}"
        raise UsageError("usage.task", found, where="evaluate.task", hint="evaluate.model names another")
    return config.model_copy(update={"model": str(run / "finetune" / finetune_name(made))})


def _on_masks(run: Path, config: EvaluateConfig, may_read: bool) -> Node:
    encoder = inputs.encoder_folder(run, config.model, may_read)
    masks = {name: run / name for name in ("mask/blocks", "mask/policy")}
    return Node(
        name=_name(run, encoder, config.name or "mlm"),
        run=lambda stage: _measure(config, stage),
        config=_only(config, "task"),
        reads={"pretrain": encoder, **masks},
        unread=inputs.unread_model(config.model, may_read),
    )


def _on_pairs(run: Path, config: EvaluateConfig, cache: HashCache, may_read: bool) -> Node:
    encoder = inputs.encoder_folder(run, config.model, may_read)
    data = inputs.pairs(config.data, cache)
    return Node(
        name=_name(run, encoder, config.name or _stem(data.path)),
        run=lambda stage: _measure(config, stage),
        config=_only(config, "task", "method", "max_examples"),
        reads={"pretrain": encoder},
        given={"data": data.fingerprint},
        data=data.path,
        unread=inputs.unread_model(config.model, may_read),
        details=data.origin,
    )


def _on_examples(run: Path, config: EvaluateConfig, cache: HashCache, emit: Emit, may_read: bool) -> Node:
    folder = inputs.model_folder(run, config.model or config.task, may_read)
    data = inputs.labelled(run, "evaluate", config.task, config.data, cache, emit, may_read)
    return Node(
        name=_name(run, folder, config.name or data.stem),
        run=lambda stage: _measure(config, stage),
        config=_only(config, *(config.key_fields().keys() - {"method"})),
        reads={"model": folder},
        given={"data": data.fingerprint},
        data=data.path,
        unread=[*inputs.unread_model(config.model, may_read), *data.unread],
        details=data.origin,
    )


def _measure(config: EvaluateConfig, stage: Stage) -> Metrics:
    from ..stages import evaluate

    return evaluate.run(config, stage)


def _name(run: Path, model: Path, data: str) -> str:
    return f"evaluate/{folder_name(_called(run, model))}/{folder_name(data)}"


def _called(run: Path, model: Path) -> str:
    """A model of this run goes by its name here, one from elsewhere by a name that no model here has.

    Or its results would replace those of the model of this run, and pass as them.
    """
    own = {path.resolve(): path.name for path in (run / "pretrain", *run.glob("finetune/*"))}
    whole = model.resolve()
    if model.parent == run / "finetune" or whole in own:  # the first may be yet to come
        return own.get(whole, model.name)
    called = hub.called(whole)
    if whole.parent.name == "finetune" and (whole / MANIFEST).exists():
        called = f"{whole.parents[1].name}--{called}"
    called = called.lstrip(".-") or whole.name  # a run may be hidden, or have no name
    while called in own.values():
        called = f"elsewhere--{called}"
    return called


def _stem(data: Path) -> str:
    return data.resolve().name.split(".")[0]


def _only(config: EvaluateConfig, *names: str) -> dict[str, Any]:
    """The fields of the key that this kind of measurement looks at."""
    return {"content": _CONTENT} | {
        name: value for name, value in config.key_fields().items() if name in names
    }
