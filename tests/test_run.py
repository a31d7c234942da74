"""`mlmctl run`: five stages in one call, the last about what the others have made."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from commands import SMALL, Shell


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


@pytest.fixture
def asked(whole: Path, tmp_path: Path) -> list[Any]:
    """The command that finds everything of the run folder made."""
    run = shutil.copytree(whole / "run", tmp_path / "run")
    data = [f"finetune.data={whole / 'train.jsonl'}", f"evaluate.data={whole / 'test.jsonl'}"]
    settings = [word for each in (*data, "finetune.epochs=1") for word in ("--set", each)]
    return ["run", whole / "corpus.txt", "--run", run, "--steps", "2", *SMALL, "--threads", "1", *settings]


def test_what_was_made_is_what_is_measured(asked: list[Any], shell: Shell) -> None:
    first = shell(*asked, "--json").json
    assert {stage["status"] for stage in first["stages"]} == {"fresh"}
    second = shell(*asked, "--set", "finetune.from_scratch=true", "--json").json
    assert [stage["name"] for stage in second["stages"][-2:]] == [
        "finetune/sentiment-scratch",
        "evaluate/sentiment-scratch/test",
    ]
    assert [stage["status"] for stage in second["stages"][-2:]] == ["ran", "ran"]
    named = shell(*asked, "--set", "finetune.name=v2", "--json").json
    assert named["stages"][-1]["name"] == "evaluate/v2/test"
    other = shell(*asked, "--set", "finetune.name=v2", "--set", "evaluate.model=sentiment", "--json").json
    assert other["stages"][-1]["name"] == "evaluate/sentiment/test"


def test_the_task_of_the_model_is_that_of_its_evaluation(asked: list[Any], shell: Shell) -> None:
    planned = shell(*asked, "--set", "finetune.task=classify", "--dry-run", "--json").json
    assert planned["stages"][-1]["name"] == "evaluate/classify/test"
    on_masks = shell(*asked, "--set", "evaluate.task=mlm", "--dry-run", "--json").json
    assert on_masks["stages"][-1]["name"] == "evaluate/pretrain/mlm"
    refused = shell(*asked, "--set", "evaluate.task=tags", "--dry-run")
    assert refused.code == 2
    assert "is 'tags', and the model is made for 'sentiment'" in refused.err


def test_epochs_are_those_of_pretraining(asked: list[Any], shell: Shell) -> None:
    place = asked.index("--steps")
    asked[place : place + 2] = ["--epochs", "3"]
    refused = shell(*asked, "--dry-run")
    assert refused.code == 5
    assert "finetune/sentiment" in refused.err
    assert "--force finetune" in refused.err
    planned = shell(*asked, "--force", "finetune", "--dry-run")
    assert (planned.code, "epochs: None -> 3" in planned.out) == (0, True), planned.err
    values = shell("recipe", "show", "--resolved", "--epochs", "3", "--json").json["values"]
    assert [row["value"] for row in values if row["key"] == "pretrain.epochs"] == [3]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["run", "--force"], "run has several stages"),
        (["mask", "--force=maks"], "'maks' is no stage"),
        (["run", "--max-drop", "accuracy=nan"], "is not METRIC=VALUE"),
    ],
)
def test_what_would_have_no_effect_is_refused(
    words: list[str], found: str, asked: list[Any], shell: Shell
) -> None:
    refused = shell(*words, "--run", asked[asked.index("--run") + 1], "--dry-run")
    assert refused.code == 2
    assert found in refused.err
