"""The points of a label-efficiency curve: which there are, and how one is measured and kept.

A point is a start (pretrained, from scratch, ...), a number of labels and a seed. It is measured by the two
stages that the command line uses, in a scratch run folder, and kept as one small file: a curve that was
interrupted goes on with the point it was at, and a point that is there is not measured again.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ...config import EvaluateConfig, FinetuneConfig, RuntimeConfig
from ...events import silent
from ...json_files import indented
from ...manifest import digest
from ...pipeline import evaluate_node, execute, finetune_node, inputs
from ...storage import HashCache, write_file
from . import tfidf

HEADLINES = {"sentiment": "accuracy", "classify": "accuracy", "tags": "f1", "qa": "f1"}
"""The score of each task that the curve shows."""

DATA = ("train", "test")
"""What their fingerprints are called, beside the names of the starts."""

_FEWEST, _GROWTH = 8, 4
_SEEDS = ((1_000, 5), (10_000, 3))  # up to so many labels, so many seeds; above, one
_QUICK_MOST, _QUICK_GROWTH, _QUICK_SEEDS = 2_048, 16, 2


@dataclass(frozen=True)
class Start:
    """What a model is made from before it sees a label."""

    name: str
    encoder: Path | None
    """None: no encoder at all but a bag of words."""
    from_scratch: bool = False


@dataclass(frozen=True)
class Point:
    """One training of one start."""

    start: Start
    labels: int
    seed: int

    @property
    def shown(self) -> str:
        return f"{self.start.name}, {self.labels:,} labels, seed {self.seed}"


def label_counts(num_examples: int, quick: bool = False) -> list[int]:
    """8, 32, 128, ... and all there are; with `quick` 8, 128, 2048 at most."""
    growth = _QUICK_GROWTH if quick else _GROWTH
    most = min(num_examples, _QUICK_MOST) if quick else num_examples
    counts, count = [], _FEWEST
    while count < most:
        counts.append(count)
        count *= growth
    if len(counts) > 1 and most < 1.5 * counts[-1]:
        counts.pop()  # all there are is hardly more
    return [*counts, most]


def num_seeds(count: int, quick: bool = False) -> int:
    """How often a number of labels is measured: few labels scatter, many cost time."""
    seeds = next((seeds for most, seeds in _SEEDS if count <= most), 1)
    return min(seeds, _QUICK_SEEDS) if quick else seeds


_AS_TRAINING = ("task", "text_column", "label_column", "tokens_column", "tags_column", "on_bad")


def judging(
    config: FinetuneConfig, test: Path, said: Mapping[str, Any] = MappingProxyType({})
) -> EvaluateConfig:
    """How test data is read: as the training data is, but for what was `said` of `[evaluate]`."""
    same = {name: getattr(config, name) for name in _AS_TRAINING}
    other = {name: value for name, value in said.items() if name in _AS_TRAINING and name != "task"}
    return EvaluateConfig(**same | other, data=str(test))


def all_points(starts: Sequence[Start], counts: Sequence[int], quick: bool = False) -> list[Point]:
    """All points, cheap ones first, so that an early look shows something of every start."""
    return [
        Point(start, count, seed)
        for count in counts
        for seed in range(num_seeds(count, quick))
        for start in starts
    ]


@dataclass(frozen=True)
class Measurer:
    """Measures points into a folder of results."""

    folder: Path
    task: str
    fingerprints: dict[str, str]
    """Of training data, test data and, by its name, every encoder."""
    config: FinetuneConfig
    """What all points have in common."""
    judged: EvaluateConfig
    """How the test data is read."""
    runtime: RuntimeConfig
    scratch: str = "scratch"
    """Name of the run folder in `folder` in which points are measured, one after the other."""

    @classmethod
    def open(
        cls,
        folder: Path,
        starts: Sequence[Start],
        config: FinetuneConfig,
        judged: EvaluateConfig,
        runtime: RuntimeConfig,
    ) -> Measurer:
        """Hash what the points depend on: data and encoders (verified where they are ours)."""
        cache = HashCache(None)
        files = zip(DATA, (config.data, judged.data), strict=True)
        prints = {name: cache.sha256(Path(file)) for name, file in files}
        prints |= {start.name: inputs.model(start.encoder, cache) for start in starts if start.encoder}
        return cls(folder, config.task, prints, config, judged, runtime)

    def measure(self, point: Point) -> dict[str, Any]:
        """The result of a point, {start, labels, seed, score, seconds}: read if it is there, else made."""
        path = self._path(point)
        try:
            kept: dict[str, Any] = json.loads(path.read_bytes())
            return kept
        except (OSError, ValueError):
            pass
        began = time.monotonic()
        score = self._by_words(point) if point.start.encoder is None else self._by_stages(point)
        result = {
            "start": point.start.name,
            "labels": point.labels,
            "seed": point.seed,
            "score": score,
            "seconds": round(time.monotonic() - began, 3),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, indented(result))
        return result

    def _path(self, point: Point) -> Path:
        config = self._finetune(point).key_fields()
        known = {name: self.fingerprints.get(name) for name in (*DATA, point.start.name)}
        words = [point.start.name, tfidf.VERSION] if point.start.encoder is None else ""
        key = digest([words, config, known, *self._read_otherwise])
        return self.folder / "points" / f"{point.start.name}-{point.labels}-{point.seed}-{key[:12]}.json"

    @property
    def _read_otherwise(self) -> list[dict[str, Any]]:
        """How test data is read, where it is not as the training data."""
        named = {name: getattr(self.judged, name) for name in _AS_TRAINING}
        return [named] if any(getattr(self.config, name) != value for name, value in named.items()) else []

    def _finetune(self, point: Point) -> FinetuneConfig:
        asked = {
            "name": "model",
            "model": str(point.start.encoder or ""),
            "from_scratch": point.start.from_scratch,
            "max_examples": point.labels,
            "seed": point.seed,
        }
        return self.config.model_copy(update=asked)

    def _by_stages(self, point: Point) -> float:
        scratch = self.folder / self.scratch
        adapt = self._finetune(point)
        judge = self.judged.model_copy(update={"model": str(scratch / "finetune/model")})

        def nodes(cache: HashCache) -> list[Any]:
            return [
                finetune_node(scratch, adapt, cache, silent),
                evaluate_node(scratch, judge, cache, silent),
            ]

        force = ("finetune",) if self._is_of_another(scratch, point) else ()
        *_, report = execute(scratch, nodes, runtime=self.runtime, emit=silent, force=force)
        score = float(report.manifest.metrics[HEADLINES[self.task]])
        shutil.rmtree(scratch)
        return score

    def _is_of_another(self, scratch: Path, point: Point) -> bool:
        """Whether the scratch folder holds the begun work of another point; it is marked with this one."""
        mark = scratch / "point"
        known = mark.read_text() if mark.exists() else ""
        scratch.mkdir(parents=True, exist_ok=True)
        write_file(mark, self._path(point).name.encode())
        return known not in ("", self._path(point).name)

    def _by_words(self, point: Point) -> float:
        config = self._finetune(point)
        return tfidf.accuracy(config, self.judged)
