"""`mlmctl verify`: no changed byte of any artifact, and no changed input, goes unseen."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from commands import Shell
from encoders import make_encoder

from mlmctl.commands import verify
from mlmctl.manifest import MANIFEST
from mlmctl.pipeline import inputs


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


def states(run: Path) -> dict[str, str]:
    return {finding.name: finding.state for finding in verify.run(run)}


def test_a_whole_run_is_verified_from_corpus_to_evaluation(whole: Path, shell: Shell) -> None:
    outcome = shell("verify", "--run", whole / "run", "--json")
    assert outcome.code == 0
    found = {finding["name"]: finding for finding in outcome.json["findings"]}
    assert {finding["state"] for finding in found.values()} == {"ok"}
    for name in ("tokenizer", "mask/blocks", "mask/policy", "pretrain", "finetune/sentiment"):
        assert found[name]["num_files"] == len(
            [p for p in (whole / "run" / name).rglob("*") if p.is_file() and p.name != MANIFEST]
        )
    assert {"tokenizer < corpus", "mask/blocks < corpus", "finetune/sentiment < data"} <= found.keys()


def test_fault_20_every_file_of_every_artifact_flipped_or_cut_is_found(whole: Path, tmp_path: Path) -> None:
    run = shutil.copytree(whole / "run", tmp_path / "run")
    assert set(states(run).values()) == {"ok"}
    num_files = 0
    for manifest in sorted(run.rglob(MANIFEST)):
        if ".work" in manifest.parts:
            continue
        artifact = str(manifest.parent.relative_to(run))
        for path in [p for p in manifest.parent.rglob("*") if p.is_file() and p.stat().st_size]:
            num_files += 1
            content = path.read_bytes()
            last = len(content) - 1
            damages = [
                content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :] for at in {0, last // 2, last}
            ]
            damages += [content[:length] for length in {0, 1, last} if length < len(content)]
            for damaged in damages:
                path.write_bytes(damaged)
                findings = verify.run(run)
                assert [f.state for f in findings if f.name == artifact] == ["damaged"], (path, len(damaged))
            path.write_bytes(content)
    assert num_files > 25
    assert set(states(run).values()) == {"ok"}


def test_minimal_pairs_are_verified_as_one_file_or_several(whole: Path, tmp_path: Path, shell: Shell) -> None:
    run = shutil.copytree(whole / "run", tmp_path / "run")
    row = json.dumps({"sentence_good": "the old river", "sentence_bad": "river old the"}) + "\n"
    (tmp_path / "sets").mkdir()
    (tmp_path / "blob").write_text(row)
    (tmp_path / "sets/order.jsonl").symlink_to("../blob")
    for number, data in enumerate((tmp_path / "sets", tmp_path / "sets/order.jsonl")):
        asked = ("--task", "pairs", "--data", data, "--name", f"pairs-{number}", "--threads", "1")
        assert shell("evaluate", "--run", run, *asked).code == 0
        assert states(run)[f"evaluate/pretrain/pairs-{number} < data"] == "ok"
    (tmp_path / "blob").write_text(2 * row)
    assert states(run)["evaluate/pretrain/pairs-1 < data"] == "changed"


def test_fault_20_a_damaged_file_is_named_with_exit_5(whole: Path, tmp_path: Path, shell: Shell) -> None:
    run = shutil.copytree(whole / "run", tmp_path / "run")
    (run / "pretrain/config.json").write_text("{}")
    outcome = shell("verify", "--run", run)
    assert outcome.code == 5
    assert "config.json" in outcome.err
    assert "pretrain" in outcome.out
    outcome = shell("verify", "--run", run, "--json")
    assert (outcome.code, outcome.json["error"]["code"]) == (5, "verify.failed")
    assert any(finding["state"] == "damaged" for finding in outcome.json["findings"])


def test_fault_20_a_file_that_no_manifest_records_is_listed(whole: Path, tmp_path: Path) -> None:
    run = shutil.copytree(whole / "run", tmp_path / "run")
    (run / "pretrain/pytorch_model.bin").write_bytes(b"\x80\x04")
    found = {finding.name: finding for finding in verify.run(run)}
    assert found["pretrain"].state == "ok"
    assert found["pretrain"].unrecorded == ("pytorch_model.bin",)
    assert "pytorch_model.bin" in found["pretrain"].found


@pytest.mark.parametrize("name", ["pretrain", "mask/policy", "finetune/sentiment"])
def test_fault_20_a_manifest_that_is_gone_is_found(whole: Path, tmp_path: Path, name: str) -> None:
    run = shutil.copytree(whole / "run", tmp_path / "run")
    (run / name / MANIFEST).unlink()
    assert states(run)[name] == "damaged"


def test_a_changed_corpus_and_changed_data_break_the_chain(whole: Path) -> None:
    corpus, data = whole / "corpus.txt", whole / "train.jsonl"
    kept = corpus.read_bytes(), data.read_bytes()
    try:
        corpus.write_bytes(kept[0] + b"one more line\n")
        data.write_bytes(kept[1][:-2])
        found = states(whole / "run")
        assert found["tokenizer < corpus"] == found["finetune/sentiment < data"] == "changed"
        assert found["tokenizer"] == found["finetune/sentiment"] == "ok"
        corpus.unlink()
        assert states(whole / "run")["mask/blocks < corpus"] == "absent"
    finally:
        corpus.write_bytes(kept[0])
        data.write_bytes(kept[1])


def test_fault_22_an_artifact_made_with_another_one_is_found(whole: Path, tmp_path: Path) -> None:
    run = shutil.copytree(whole / "run", tmp_path / "run")
    other = tmp_path / "other"
    from mlmctl.cli import main

    with pytest.raises(SystemExit):
        corpus = str(whole / "corpus.txt")
        main(["tokenizer", corpus, "--run", str(other), "--vocab-size", "121", "-q"])
    shutil.rmtree(run / "tokenizer")
    shutil.copytree(other / "tokenizer", run / "tokenizer")
    found = states(run)
    assert found["tokenizer"] == "ok"
    assert found["mask/blocks < tokenizer"] == found["pretrain < tokenizer"] == "changed"


def test_an_encoder_of_the_run_is_of_the_run_however_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = make_encoder(tmp_path / "run/pretrain")
    monkeypatch.chdir(tmp_path)
    for named in (str(encoder), "run/pretrain", "run/../run/pretrain"):
        assert inputs.encoder_folder(Path("run"), named) == Path("run/pretrain")
    assert inputs.encoder_folder(Path("elsewhere"), str(encoder)) == encoder


def test_damaged_checkpoints_are_found(whole: Path, tmp_path: Path) -> None:
    run = shutil.copytree(whole / "run", tmp_path / "run")
    checkpoint = next(run.glob(".work/*/checkpoints/step-*"))
    weights = checkpoint / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    assert states(run)[str(checkpoint.relative_to(run))] == "damaged"


def test_a_folder_without_artifacts_is_a_matter_of_usage(tmp_path: Path, shell: Shell) -> None:
    outcome = shell("verify", "--run", tmp_path)
    assert (outcome.code, outcome.out) == (2, "")
    assert "nothing is there to verify" in outcome.err


def test_no_run_folder_is_a_matter_of_usage(tmp_path: Path, shell: Shell) -> None:
    outcome = shell("verify", "--run", tmp_path / "none", "--json")
    assert outcome.code == 2
    assert json.loads(outcome.out)["error"]["code"] == "usage.no-run"
