"""The stages that are divided between ranks: how the first hands one over, and how the others help."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..config import CorpusConfig, FinetuneConfig, MaskConfig, PretrainConfig, RuntimeConfig, Table
from ..stages.stage import Stage
from ..text.corpus import Source
from .team import Team


def handed_over(stage: Stage, tables: Sequence[Table]) -> dict[str, Any]:
    """All that another process needs for its share of a stage: plain JSON."""
    previous = stage.previous() if stage.name == "mask/blocks" else None
    return {
        "stage": stage.name,
        "inputs": {name: str(path) for name, path in stage.inputs.items()},
        "out": str(stage.out),
        "work": str(stage.work),
        "runtime": stage.runtime.model_dump(mode="json"),
        "sources": [asdict(source) | {"path": str(source.path)} for source in stage.sources],
        "data": str(stage.data) if stage.data else None,
        "previous": str(previous) if previous else None,
        "environment": dict(stage.environment),
        # what is set alone: beside `init` a shape is refused, though it be the default
        "tables": [table.model_dump(mode="json", exclude_unset=True) for table in tables],
    }


def help_with(name: str, content: Mapping[str, Any], team: Team) -> None:
    """Do this rank's share of what was handed over. Raises what the stage raises."""
    stage = Stage(
        name=content["stage"],
        inputs={key: Path(path) for key, path in content["inputs"].items()},
        out=Path(content["out"]),
        work=Path(content["work"]),
        runtime=RuntimeConfig(**content["runtime"]),
        ranks=team.ranks,
        is_dismissed=team.is_dismissed,
        sources=[Source(**{**source, "path": Path(source["path"])}) for source in content["sources"]],
        data=Path(content["data"]) if content["data"] else None,
        previous=lambda: Path(content["previous"]) if content["previous"] else None,
        environment=content["environment"],
    )
    _SHARES[name](content["tables"], stage)


def _pretrain(tables: Sequence[Mapping[str, Any]], stage: Stage) -> None:
    from ..stages import pretrain

    pretrain.run(PretrainConfig(**tables[0]), stage)


def _finetune(tables: Sequence[Mapping[str, Any]], stage: Stage) -> None:
    from ..stages import finetune

    finetune.run(FinetuneConfig(**tables[0]), stage)


def _blocks(tables: Sequence[Mapping[str, Any]], stage: Stage) -> None:
    from ..stages import mask

    mask.help_with_blocks(CorpusConfig(**tables[1]), bool(MaskConfig(**tables[0]).near_duplicates), stage)


_SHARES: dict[str, Callable[[Sequence[Mapping[str, Any]], Stage], None]] = {
    "finetune": _finetune,
    "mask": _blocks,
    "pretrain": _pretrain,
}
