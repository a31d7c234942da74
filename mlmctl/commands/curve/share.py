"""The points of a curve divided over ranks: each measures its share, all into one folder of results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...config import EvaluateConfig, FinetuneConfig, RuntimeConfig
from ...engine.machine import num_threads
from ...engine.ranks import Ranks
from ...events import Emit, Progress
from ...pipeline.team import Team
from .points import Measurer, Point, Start

JOB = "curve"


def measure(team: Team, measurer: Measurer, points: Sequence[Point], emit: Emit) -> None:
    """Have all points measured; returns when all ranks have done their shares."""
    team.begin(
        JOB,
        {
            "folder": str(measurer.folder),
            "task": measurer.task,
            "fingerprints": measurer.fingerprints,
            "config": measurer.config.model_dump(mode="json"),
            "judged": measurer.judged.model_dump(mode="json"),
            "runtime": measurer.runtime.model_dump(mode="json"),
            "points": [
                [
                    each.start.name,
                    str(each.start.encoder or ""),
                    each.start.from_scratch,
                    each.labels,
                    each.seed,
                ]
                for each in points
            ],
        },
    )
    _measure(measurer, points, team.ranks, emit)
    team.wait()


def help_with(content: Mapping[str, Any], ranks: Ranks) -> None:
    """Measure this rank's share of what the first one began."""
    measurer = Measurer(
        folder=Path(content["folder"]),
        task=content["task"],
        fingerprints=content["fingerprints"],
        config=FinetuneConfig(**content["config"]),
        judged=EvaluateConfig(**content["judged"]),
        runtime=RuntimeConfig(**content["runtime"]),
    )
    points = [
        Point(Start(name, Path(encoder) if encoder else None, from_scratch), labels, seed)
        for name, encoder, from_scratch, labels, seed in content["points"]
    ]
    _measure(measurer, points, ranks, lambda event: None)


def _measure(measurer: Measurer, points: Sequence[Point], ranks: Ranks, emit: Emit) -> None:
    threads = num_threads(measurer.runtime, ranks.place.local_world_size)
    ours = replace(
        measurer,
        runtime=measurer.runtime.model_copy(update={"threads": threads}),
        scratch=f"scratch-{ranks.rank}" if ranks.rank else measurer.scratch,
    )
    share = deal(points, ranks.rank, ranks.world_size)
    for number, point in enumerate(share):
        emit(Progress("curve", number * ranks.world_size, len(points), "points", point.shown))
        ours.measure(point)


def deal(points: Sequence[Point], rank: int, world_size: int) -> list[Point]:
    """The share of a rank: of each start every n-th point, so that costly starts fall to all alike."""
    starts = list(dict.fromkeys(point.start.name for point in points))
    return [
        point
        for place, name in enumerate(starts)
        for number, point in enumerate(p for p in points if p.start.name == name)
        if (number + place) % world_size == rank
    ]
