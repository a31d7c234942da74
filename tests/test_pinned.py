"""`--tokenizer DIR`: a tokenizer made elsewhere, through the pipeline."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import SMALL, Shell, write_corpus
from test_imported import modernbert, roberta
from transformers import pipeline

UNSIZED = (*SMALL[:2], *SMALL[4:])
"""Without a vocabulary size, which a tokenizer made elsewhere has."""


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLMCTL_RUN", raising=False)
    write_corpus(tmp_path / "c.txt", 60)
    return Shell(capsys)


def statuses(shell: Shell, *arguments: str) -> list[str]:
    outcome = shell("mask", *arguments, "--json")
    assert outcome.code == 0, outcome.err
    return [stage["status"] for stage in outcome.json["stages"]]


def test_robertas_names_from_corpus_to_filled_word(shell: Shell, tmp_path: Path) -> None:
    roberta(tmp_path)
    made = shell("pretrain", "c.txt", "--tokenizer", ".", "--steps", "2", *UNSIZED, "--json")
    assert made.code == 0, made.err
    assert "one </s> is put between the texts of a pair" in made.err
    taken = (tmp_path / "run/tokenizer/base/tokenizer.json").read_bytes()
    assert taken == (tmp_path / "tokenizer.json").read_bytes()
    assert "[MASK←" in shell("mask", "--preview", "1").out
    (mine,) = shell("fill", "the [MASK] sings", "--json").json["masks"]
    (theirs,) = shell("fill", "the <mask> sings", "--json").json["masks"]
    assert mine == theirs
    stock = pipeline("fill-mask", model="run/pretrain")("the <mask> sings", top_k=1)
    assert stock[0]["score"] == pytest.approx(mine[0]["probability"], abs=2e-3)


def test_what_had_to_be_changed_is_told_and_pins_itself(shell: Shell, tmp_path: Path) -> None:
    modernbert(tmp_path)
    made = shell("mask", "c.txt", "--tokenizer", ".", "--block-length", "32")
    assert "no longer cuts or pads" in made.err
    run = tmp_path / "run/tokenizer"
    assert json.loads((run / "tokenizer.json").read_text())["truncation"] is None
    assert (run / "base/tokenizer.json").read_bytes() == (tmp_path / "tokenizer.json").read_bytes()
    assert statuses(shell) == ["fresh", "fresh", "fresh"]
    before = {path: path.read_bytes() for path in run.rglob("*.json") if path.name != "manifest.json"}
    again = ("--force", "tokenizer", "--tokenizer", "run/tokenizer/base", "--block-length", "32")
    assert statuses(shell, *again) == ["ran", "fresh", "fresh"]
    assert {path: path.read_bytes() for path in before} == before


def test_how_the_corpus_is_read_is_remembered_without_a_tokenizer_of_its_own(
    shell: Shell, tmp_path: Path
) -> None:
    modernbert(tmp_path)
    asked = ("c.txt", "--tokenizer", ".", "--block-length", "32", "--unit", "line")
    assert statuses(shell, *asked) == ["ran", "ran", "ran"]
    assert statuses(shell) == ["fresh", "fresh", "fresh"]


def test_a_pinned_tokenizer_is_not_chosen_by_its_size(shell: Shell, tmp_path: Path) -> None:
    modernbert(tmp_path)
    refused = shell("mask", "c.txt", "--tokenizer", ".", "--vocab-size", "100")
    assert refused.code == 2
    assert "tokenizer.vocab_size cannot be chosen with tokenizer.path" in refused.err
    statuses(shell, "c.txt", "--tokenizer", ".", "--block-length", "32")
    another = shell("tokenizer", "c.txt", "--vocab-size", "80", "--json").json  # one of its own again
    assert (another["stages"][0]["status"], another["metrics"]["vocab_size"]) == ("ran", 80)


def test_a_corpus_behind_a_link_is_found_again_by_its_own_name(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "c.txt").rename(tmp_path / "blob")
    (tmp_path / "c.txt").symlink_to("blob")
    assert statuses(shell, "c.txt", "--vocab-size", "100", "--block-length", "32") == ["ran", "ran", "ran"]
    assert statuses(shell) == ["fresh", "fresh", "fresh"]
    assert shell("verify").code == 0


def test_fault_20_a_damaged_pinned_tokenizer_is_not_taken_for_another(shell: Shell, tmp_path: Path) -> None:
    roberta(tmp_path)
    shell("mask", "c.txt", "--tokenizer", ".", "--block-length", "32")
    path = tmp_path / "run/tokenizer/tokenizer.json"
    path.write_bytes(path.read_bytes().replace(b"film", b"fiml", 1))
    refused = shell("mask")
    assert refused.code == 5
    assert "tokenizer.json: its SHA-256" in refused.err


def test_fault_22_another_tokenizer_of_equal_size_is_another(shell: Shell, tmp_path: Path) -> None:
    roberta(tmp_path)
    trained = ("pretrain", "c.txt", "--tokenizer", ".", "--steps", "2", *UNSIZED)
    assert shell(*trained).code == 0
    path = tmp_path / "tokenizer.json"
    path.write_text(path.read_text().replace('"add_prefix_space": false', '"add_prefix_space": true'))
    refused = shell(*trained)
    assert refused.code == 5
    assert "pretrain: was made with another configuration or input" in refused.err


def test_a_file_that_is_added_is_tokenized_alone(shell: Shell, tmp_path: Path) -> None:
    shell("tokenizer", "c.txt", "--vocab-size", "100", "--run", "first")
    pinned = ("--tokenizer", "first/tokenizer", "--block-length", "32")
    (tmp_path / "many").mkdir()
    for n in range(4):
        paragraphs = [f"{n} {i} the old bird sings over stone {i}" for i in range(2500 + n)]
        (tmp_path / f"many/{n}.txt").write_text("\n\n".join(paragraphs))
        if n == 3:
            (tmp_path / "many/3.txt").rename(tmp_path / "many/0-between.txt")
        outcome = shell("mask", "many", *pinned)
        assert outcome.code == 0, outcome.err
        if n:
            assert f"{2500 + n:,} of {sum(range(2500, 2501 + n)):,} documents were tokenized" in outcome.err
    assert statuses(shell, "many", *pinned, "--threads", "1") == ["fresh", "fresh", "fresh"]
    before = {path: path.read_bytes() for path in (tmp_path / "run/mask/blocks").glob("*.npy")}
    forced = shell("mask", "many", *pinned, "--force", "mask")
    assert "were tokenized" not in forced.err  # nothing was taken from what is there
    assert {path: path.read_bytes() for path in before} == before
