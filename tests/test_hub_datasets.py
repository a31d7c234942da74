"""Data sets of a hub: streamed into JSON Lines once, labels by name, nothing run, errors in one line."""

from __future__ import annotations

import datetime
import json
import sys
from pathlib import Path
from typing import Any

import datasets
import pytest

from mlmctl.config import CorpusConfig, FinetuneConfig
from mlmctl.errors import DataError, MlmctlError, UsageError
from mlmctl.events import Event, Progress, silent
from mlmctl.pipeline import inputs
from mlmctl.storage import HashCache
from mlmctl.tasks import labelled
from mlmctl.text import hub_datasets
from mlmctl.text.corpus import resolve, unread
from mlmctl.text.documents import Documents
from mlmctl.text.spool import Spool

NAME = "hf://datasets/owner/films"
ROWS = [
    {"text": "good\nfilm", "label": 1, "tags": [0, 1], "when": datetime.date(2020, 1, 2), "score": 0.5},
    {"text": "bad film", "label": 0, "tags": [], "when": datetime.date(2020, 1, 3), "score": float("nan")},
    {"text": "no idea", "label": -1, "tags": None, "when": None, "score": None},
]
FEATURES = datasets.Features(
    {
        "text": datasets.Value("string"),
        "label": datasets.ClassLabel(names=["neg", "pos"]),
        "tags": datasets.List(datasets.ClassLabel(names=["O", "B-X"])),
        "when": datasets.Value("date32"),
        "score": datasets.Value("float32"),
    }
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What `load_dataset` was asked for; it answers with ROWS."""
    calls: list[tuple[Any, ...]] = []

    def load_dataset(path: str, config: str | None, *, split: str, streaming: bool) -> Any:
        calls.append((path, config, split, streaming))
        return datasets.IterableDataset.from_generator(lambda: iter(ROWS), features=FEATURES)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return calls


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_corpus_is_one_column(asked: list[Any], tmp_path: Path) -> None:
    assert unread([NAME], tmp_path) == [NAME]
    [source] = resolve([NAME], tmp_path, silent)
    assert (source.name, source.format) == (f"{NAME} (train)", "jsonl")
    assert lines(source.path) == [{"text": row["text"]} for row in ROWS]
    assert list(Documents([source], CorpusConfig(), silent, "x")) == ["good\nfilm", "bad film", "no idea"]
    assert asked == [("owner/films", None, "train", True)]
    assert resolve([NAME], tmp_path, silent) == [source]
    assert unread([NAME], tmp_path) == []
    assert len(asked) == 1
    assert unread([NAME], tmp_path, "body") == [NAME]


def test_configurations_and_splits(asked: list[Any], tmp_path: Path) -> None:
    resolve([f"{NAME}/en.2020?split=validation"], tmp_path, silent)
    resolve([f"{NAME}?split=test"], tmp_path, silent)
    assert asked == [
        ("owner/films", "en.2020", "validation", True),
        ("owner/films", None, "test", True),
    ]


def test_labels_have_their_names_and_what_json_has_not_is_left_out(asked: list[Any], tmp_path: Path) -> None:
    told: list[Event] = []
    [kept] = hub_datasets.read(NAME, Spool(tmp_path), told.append, "train")
    assert lines(kept.path) == [
        {"text": "good\nfilm", "label": "pos", "tags": ["O", "B-X"], "score": 0.5},
        {"text": "bad film", "label": "neg", "tags": [], "score": None},
        {"text": "no idea", "label": None, "tags": None, "when": None, "score": None},
    ]


def test_numbers_that_are_none_are_null_at_any_depth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"text": "a", "scores": [0.5, float("nan")], "more": {"deep": [{"least": float("-inf")}]}}
    rows = datasets.IterableDataset.from_generator(lambda: iter([row]))
    monkeypatch.setattr(datasets, "load_dataset", lambda *arguments, **named: rows)
    [kept] = hub_datasets.read(NAME, Spool(tmp_path), silent, "train")
    assert lines(kept.path) == [{"text": "a", "scores": [0.5, None], "more": {"deep": [{"least": None}]}}]


def test_labelled_data_is_read_once_and_named(
    asked: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROWS", ROWS[:2])
    run, cache = tmp_path / "run", HashCache(None)
    for stage, split in (("finetune", "train"), ("evaluate", "test")):
        data = inputs.labelled(run, stage, "sentiment", NAME, cache, silent)
        assert asked[-1] == ("owner/films", None, split, True)
        assert (data.stem, data.remote) == ("films", NAME)
        assert labelled.read(data.path, FinetuneConfig(), silent).names == ("neg", "pos")
    assert inputs.labelled(run, "finetune", "sentiment", NAME, cache, silent).fingerprint == data.fingerprint
    assert len(asked) == 2


def test_fault_36_a_missing_column_lists_those_found(asked: list[Any], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column 'body'; the columns found are: text, label, tags"):
        resolve([NAME], tmp_path, silent, "body")
    assert not list(tmp_path.glob("*.jsonl"))


def test_progress_is_told(asked: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_datasets, "CHUNK", 20)
    told: list[Event] = []
    hub_datasets.read(NAME, Spool(tmp_path), told.append, "train", ["text"])
    assert len([event for event in told if isinstance(event, Progress)]) == 3


@pytest.mark.parametrize(
    ("raised", "code", "exit_code"),
    [
        (
            datasets.exceptions.DatasetNotFoundError("Dataset 'owner/films'\ndoesn't exist"),
            "usage.no-such-path",
            2,
        ),
        (ValueError("Bad split: train. Available splits: ['test']"), "usage.no-such-path", 2),
        (ConnectionError("Couldn't reach the Hub"), "resource.hub", 6),
        (RuntimeError(""), "resource.hub", 6),
    ],
)
def test_what_the_library_raises_is_told_in_one_line(
    raised: Exception, code: str, exit_code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **named: object) -> None:
        raise raised

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(MlmctlError) as caught:
        resolve([NAME], tmp_path, silent)
    assert (caught.value.code, caught.value.exit_code) == (code, exit_code)
    assert "\n" not in str(caught.value)
    assert " ".join(str(raised).split()) in caught.value.message


def test_a_local_folder_is_never_taken_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "films").mkdir(parents=True)
    with pytest.raises(UsageError, match="there is a local 'owner/films'"):
        resolve([NAME], tmp_path, silent)


def test_without_the_library_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UsageError, match=r"pip install 'mlmctl\[datasets\]'"):
        resolve([NAME], tmp_path, silent)


def test_the_library_itself_streams_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real `load_dataset`, on a local folder in place of the hub."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    folder = tmp_path / "films"
    folder.mkdir()
    for split in ("train", "test"):
        rows = [{"text": f"{split} {n}", "label": n % 2} for n in range(50)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    real = datasets.load_dataset
    monkeypatch.setattr(datasets, "load_dataset", lambda path, *a, **named: real(str(folder), *a, **named))
    [source] = resolve([f"{NAME}?split=test"], tmp_path / "spool", silent)
    assert lines(source.path) == [{"text": f"test {n}"} for n in range(50)]
    with pytest.raises(UsageError, match="split"):
        resolve([f"{NAME}?split=dev"], tmp_path / "spool", silent)
