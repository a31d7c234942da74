"""`mlmctl export`: what is published loads everywhere, says what is true, and gives no text away."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Shell
from encoders import make_encoder
from huggingface_hub import ModelCard

from mlmctl import recipe, samples
from mlmctl.artifact import open_artifact, publish, recover_target
from mlmctl.cli import main
from mlmctl.commands import export, fill, predict, verify
from mlmctl.commands.export import lineage
from mlmctl.commands.export.subject import Subject
from mlmctl.config import RuntimeConfig
from mlmctl.errors import ArtifactError
from mlmctl.events import silent
from mlmctl.manifest import MANIFEST, Header
from mlmctl.storage import HashCache, sha256_file

IN_CORPUS, IN_TRAIN, IN_TEST = "zyzzogeton", "quuxoplasm", "vlerpnicht"
"""Rare words that no vocabulary holds whole."""
SMALL = (
    "--preset", "tiny", "--vocab-size", "400", "--block-length", "32", "--steps", "3",
    "--set", "pretrain.hidden_size=16", "--set", "pretrain.num_hidden_layers=1",
    "--set", "pretrain.num_attention_heads=2", "--set", "pretrain.intermediate_size=16",
    "--set", "pretrain.tokens_per_step=256", "--set", "mask.valid_fraction=0.1",
)  # fmt: skip
MACHINE = RuntimeConfig(threads=1)


def mlmctl(*arguments: object) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*map(str, arguments), "--threads", "1", "-q"])
    assert not caught.value.code, arguments


def marked(name: str, path: Path, word: str) -> Path:
    """A built-in labelled file with a word added to each text."""
    rows = [json.loads(line) for line in samples.path(name).read_text().splitlines()]
    for row in rows:
        row["text"] += f" {word}"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with an encoder, a model of each task, and evaluations of some."""
    folder = tmp_path_factory.mktemp("made")
    corpus = folder / "corpus.txt"
    corpus.write_text(samples.path("corpus.txt").read_text() + f"\n\nA {IN_CORPUS} is rare.\n")
    train = marked("sentiment-train.jsonl", folder / "train.jsonl", IN_TRAIN)
    test = marked("sentiment-test.jsonl", folder / "test.jsonl", IN_TEST)
    run = folder / "run"
    mlmctl("pretrain", corpus, *SMALL, "--run", run)
    mlmctl("evaluate", "--task", "mlm", "--run", run)
    few = ("--max-examples", "24", "--set", "finetune.epochs=1", "--run", run)
    mlmctl("finetune", "--data", train, *few)
    mlmctl("evaluate", "--data", test, "--run", run)
    mlmctl("finetune", "--task", "tags", *few)
    mlmctl("finetune", "--task", "qa", *few)
    return run


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


def exported(run: Path, output: Path, name: str = "pretrain", force: bool = False, **options: Any) -> str:
    """Export and return the card."""
    export.run(run, name, output, export.Options(**options), MACHINE, force, silent)
    return (output / export.CARD).read_text()


def contents(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def code(card: str) -> list[str]:
    return re.findall(r"```python\n(.+?)```", card, flags=re.S)


def run_code(blocks: list[str]) -> dict[str, Any]:
    """Run blocks of the card one after the other; the names they leave."""
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "card", "exec"), names)  # noqa: S102 (what a reader of the card would do)
    return names


def test_the_code_on_the_card_of_an_encoder_fills_as_mlmctl_does(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = exported(run, tmp_path / "my encoder")
    monkeypatch.chdir(tmp_path)
    names = run_code(code(card))
    text = "The weather was [MASK] today."
    (row,) = fill.run(Path("my encoder"), [text], 5, MACHINE)
    theirs = names["pipeline"]("fill-mask", model="my encoder", top_k=5)(text)
    assert [each["token_str"] for each in theirs] == [each["token"] for each in row["masks"][0]]
    assert names["vectors"].shape == (2, 16)
    assert torch.isfinite(names["vectors"]).all()


@pytest.mark.parametrize("name", ["sentiment", "tags", "qa"])
def test_the_code_on_the_card_of_a_model_runs_and_mlmctl_loads_the_folder_too(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    card = exported(run, tmp_path / "m", name)
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    names = run_code(code(card))
    if name == "sentiment":
        text = "A quiet little wonder of a film."
        (ours,) = predict.run(Path("m"), [text], 8, MACHINE)
        (theirs,) = names["classify"](text)
        assert (theirs["label"], theirs["score"]) == (ours["label"], pytest.approx(ours["score"], abs=1e-4))
    if name == "tags":
        (ours,) = predict.run(Path("m"), [names["text"]], 8, MACHINE)
        shown = [line.split(" ") for line in capsys.readouterr().out.splitlines()[: len(ours["words"])]]
        assert [word for word, _ in shown] == ours["words"]
        assert "O'Brien" in ours["words"]  # one word, though its pieces would be three to the pipeline
        assert [tag[2:] for _, tag in shown] == [tag[2:] for tag in ours["tags"]]  # ours are valid IOB2
    if name == "qa":
        asked = json.dumps({"question": names["question"], "context": names["passage"]})
        (ours,) = predict.run(Path("m"), [asked], 8, MACHINE)
        assert names["answer"] == (ours["answer"] or ours["alternatives"][0]["answer"])
        if "no_answer" in ours:
            assert names["no_answer"] == pytest.approx(ours["no_answer"], abs=1e-4)


@pytest.mark.parametrize("name", ["pretrain", "sentiment"])
def test_no_text_is_in_an_export_unless_it_was_asked_for(run: Path, tmp_path: Path, name: str) -> None:
    exported(run, tmp_path / "without", name)
    content = contents(tmp_path / "without")
    for word in (IN_CORPUS, IN_TRAIN, IN_TEST, "train_hashes", str(run.parent)):
        assert word.encode() not in content
    with_text = exported(run, tmp_path / "with", name, with_examples=True)
    assert ("[" in with_text.partition("## Examples")[2]) if name == "pretrain" else (IN_TEST in with_text)
    assert IN_TRAIN not in with_text
    assert str(run.parent) not in with_text


def test_the_card_holds_what_the_records_say(run: Path, tmp_path: Path) -> None:
    card = exported(run, tmp_path / "m", "sentiment")
    data = ModelCard(card).data
    assert (data.library_name, data.pipeline_tag) == ("transformers", "text-classification")
    assert (data.language, data.license) == ("en", None)
    assert "# license:" in card
    assert {"mlmctl", "modernbert"} <= set(data.tags)
    evaluation = open_artifact(run / "evaluate/sentiment/test")
    results = {each.metric_type: each.metric_value for each in data.eval_results}
    assert results["accuracy"] == round(evaluation.metrics["accuracy"], 6)
    ends = evaluation.metrics["intervals"]["accuracy"]
    assert (
        f"| accuracy | {evaluation.metrics['accuracy']:.4g} | {ends['low']:.4g} to {ends['high']:.4g} |"
        in card
    )
    metrics = open_artifact(run / "mask/blocks").metrics
    assert f"{metrics['num_train_tokens']:,} tokens) to learn from" in card
    assert "24 labelled examples" in card
    assert "are not calibrated" in card
    for name in ("tokenizer", "mask/blocks", "mask/policy", "pretrain", "finetune/sentiment"):
        assert f"| {name} | {open_artifact(run / name).fingerprint} |" in card
    assert ModelCard(exported(run, tmp_path / "n", "sentiment", license="mit")).data.license == "mit"


def test_the_recipe_on_the_card_is_the_one_it_was_made_with(run: Path, tmp_path: Path) -> None:
    card = exported(run, tmp_path / "m", "sentiment")
    (block,) = re.findall(r"```toml\n(.+?)```", card, flags=re.S)
    (tmp_path / "again.toml").write_text(block)
    read = recipe.resolve(str(tmp_path / "again.toml"), {}, (), {}).recipe
    for table, name in ((read.pretrain, "pretrain"), (read.finetune, "finetune/sentiment")):
        assert table.key_fields() == open_artifact(run / name).config
    assert (read.mask.block_length, read.tokenizer.vocab_size) == (32, 400)


def test_the_recipe_of_a_continued_encoder_names_no_shape_and_says_what_it_needs(
    run: Path, tmp_path: Path
) -> None:
    there = tmp_path / "run"
    mlmctl(
        "pretrain", run.parent / "corpus.txt", "--init", run / "pretrain", "--block-length", "32",
        "--steps", "2", "--set", "pretrain.tokens_per_step=256", "--extend-vocab", "5", "--run", there,
    )  # fmt: skip
    card = exported(there, tmp_path / "m")
    (block,) = re.findall(r"```toml\n(.+?)```", card, flags=re.S)
    (tmp_path / "again.toml").write_text(block)
    named = {"pretrain.init": "an/encoder"}
    read = recipe.resolve(str(tmp_path / "again.toml"), {}, (), named).recipe
    assert read.pretrain.key_fields() == open_artifact(there / "pretrain").config
    assert read.tokenizer.extend == 5
    for folder, role in (("pretrain", "init"), ("tokenizer", "pinned")):
        assert f"`{open_artifact(there / folder).inputs[role]}`)." in card
    assert "Without these" not in exported(run, tmp_path / "n")


def test_only_evaluations_of_this_very_model_are_on_the_card(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    assert list(Subject.open(copy, "pretrain", HashCache(None)).evaluations) == ["evaluate/pretrain/mlm"]
    assert Subject.open(copy, "tags", HashCache(None)).evaluations == {}
    assert "It was not measured" in exported(copy, tmp_path / "tags", "tags")
    few = ("--max-examples", "16", "--set", "finetune.epochs=1", "--run", copy, "--force")
    mlmctl("finetune", *few)
    assert Subject.open(copy, "sentiment", HashCache(None)).evaluations == {}


def test_the_chain_ends_where_a_link_is_gone_or_is_another(run: Path, tmp_path: Path) -> None:
    folder = run / "finetune/sentiment"
    whole = lineage.chain(folder, open_artifact(folder))
    assert list(whole) == [
        "data", "corpus", "tokenizer", "mask/blocks", "mask/policy", "pretrain", "finetune/sentiment",
    ]  # fmt: skip
    assert whole["pretrain"].made_from == ["tokenizer", "mask/blocks", "mask/policy"]
    copy = shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(copy / "mask")
    shutil.rmtree(copy / "tokenizer")
    found = lineage.chain(copy / "pretrain", open_artifact(copy / "pretrain"))
    assert list(found) == ["tokenizer", "mask/blocks", "mask/policy", "pretrain"]
    assert found["tokenizer"].fingerprint == whole["tokenizer"].fingerprint
    assert found["tokenizer"].manifest is None
    card = exported(copy, tmp_path / "m")
    assert "nothing is recorded here" in card
    shutil.copytree(make_encoder(tmp_path / "other"), copy / "pretrain", dirs_exist_ok=True)
    chain = lineage.chain(copy / "finetune/sentiment", open_artifact(copy / "finetune/sentiment"))
    assert chain["pretrain"].manifest is None


def test_a_bert_is_exported_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = samples.path("corpus.txt")
    mlmctl("pretrain", corpus, *SMALL, "--architecture", "bert", "--run", tmp_path / "run")
    card = exported(tmp_path / "run", tmp_path / "bert")
    monkeypatch.chdir(tmp_path)
    run_code(code(card))
    assert "BertForMaskedLM" in card
    assert ModelCard(card).data.tags == ["mlmctl", "bert", "masked-language-model"]


def test_verify_accepts_an_export_and_names_what_was_changed(run: Path, tmp_path: Path, shell: Shell) -> None:
    exported(run, tmp_path / "m", "sentiment")
    outcome = shell("verify", "--run", tmp_path / "m", "--json")
    assert outcome.code == 0
    (finding,) = outcome.json["findings"]
    assert (finding["state"], finding["num_files"]) == ("ok", 7)
    for name in ("README.md", "config.json"):
        with (tmp_path / "m" / name).open("a") as file:
            file.write("x")
    found = verify.run(tmp_path / "m")
    assert [
        (each.state, name in each.found)
        for each, name in zip(found, ("README.md", "config.json"), strict=True)
    ] == [
        ("damaged", True),
        ("damaged", True),
    ]


def test_an_exported_model_can_be_evaluated_and_adapted(run: Path, tmp_path: Path) -> None:
    for name in ("pretrain", "sentiment"):
        exported(run, tmp_path / name, name)
    test, there = run.parent / "test.jsonl", tmp_path / "there"
    mlmctl("evaluate", "--data", test, "--model", tmp_path / "sentiment", "--run", there)
    ours, theirs = (open_artifact(folder / "evaluate/sentiment/test").metrics for folder in (run, there))
    assert "num_trained_on" not in theirs
    assert theirs["accuracy"] == ours["accuracy"]
    few = ("--max-examples", "24", "--set", "finetune.epochs=1")
    mlmctl("finetune", "--model", tmp_path / "pretrain", *few, "--run", there)
    chain = lineage.chain(there / "finetune/sentiment", open_artifact(there / "finetune/sentiment"))
    assert chain["tokenizer"].fingerprint == open_artifact(run / "tokenizer").fingerprint


def test_the_same_again_is_fresh_and_another_one_wants_force(run: Path, tmp_path: Path, shell: Shell) -> None:
    asked = ("export", "--run", run, "--model", "sentiment", "--output", tmp_path / "m", "--json")
    first = shell(*asked).json
    assert (first["status"], first["export"], first["license"]) == ("done", "ran", None)
    assert first["files"].keys() == {
        "README.md", "config.json", "model.safetensors", "special_tokens_map.json", "task.json",
        "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    again = shell(*asked).json
    assert (again["export"], again["fingerprint"]) == ("fresh", first["fingerprint"])
    other = shell(*asked, "--license", "mit")
    assert (other.code, other.json["error"]["code"]) == (5, "artifact.exists")
    assert shell(*asked, "--license", "mit", "--force").json["license"] == "mit"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m"]
    (tmp_path / "m/README.md").write_text("mine")
    changed = shell(*asked, "--license", "mit")
    assert changed.code == 5
    assert "--force" in changed.json["error"]["hint"]
    assert (tmp_path / "m/README.md").read_text() == "mine"
    assert shell(*asked, "--license", "mit", "--force").code == 0


def test_fault_18_links_foreign_folders_and_the_run_folder_are_refused(
    run: Path, tmp_path: Path, shell: Shell
) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "file").write_text("mine")
    encoder = make_encoder(tmp_path / "encoder")
    before = sorted(tmp_path.rglob("*"))
    for output, number in (
        (foreign, 5), (tmp_path / "link", 5), (tmp_path / "file", 2), (encoder, 5), (run / "export", 2),
        (run, 2),
    ):  # fmt: skip
        for force in ((), ("--force",)):
            assert shell("export", "--run", run, "--output", output, *force).code == number, output
    assert sorted(tmp_path.rglob("*")) == before


def test_nothing_trained_is_exit_5_with_the_way_out(run: Path, tmp_path: Path, shell: Shell) -> None:
    for asked, hint in (
        (("--run", tmp_path / "none"), "mlmctl pretrain"),
        (("--run", run, "--model", "churn"), "mlmctl finetune --name churn"),
    ):
        outcome = shell("export", *asked, "--output", tmp_path / "m", "--json")
        assert outcome.code == 5
        assert hint in outcome.json["error"]["hint"]
    assert list(tmp_path.iterdir()) == []
    assert shell("export", "--run", run).code == 2
    assert shell("export", "--run", run, "--model", "../x", "--output", tmp_path / "m").code == 2


def test_fault_20_a_damaged_model_is_not_exported(run: Path, tmp_path: Path, shell: Shell) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    content = bytearray((copy / "pretrain/model.safetensors").read_bytes())
    content[-1] ^= 1
    (copy / "pretrain/model.safetensors").write_bytes(content)
    outcome = shell("export", "--run", copy, "--output", tmp_path / "m")
    assert outcome.code == 5
    assert "model.safetensors" in outcome.err
    assert not (tmp_path / "m").exists()


def test_fault_05_what_a_killed_export_left_is_put_right(tmp_path: Path) -> None:
    target, old = tmp_path / "m", tmp_path / ".tmp-m/old"
    old.parent.mkdir()
    with publish(old, Header("export", {})):
        pass
    kept = [tmp_path / name for name in (".tmp-m-other-0123abcd", ".tmp-m-12", "m-0123abcd")]
    left = tmp_path / ".tmp-m-0123abcd"
    for folder in (*kept, left):
        folder.mkdir()
    recover_target(target, old)  # killed between the two renames: the old one is back
    assert (target / MANIFEST).is_file()
    assert not old.exists()
    assert not left.exists()
    assert all(folder.is_dir() for folder in kept)
    with publish(old, Header("export", {"of": "before"})):
        pass
    recover_target(target, old)  # killed after them: the new one stays
    assert open_artifact(target).config == {}
    assert not old.exists()


def test_labels_and_names_are_no_markup(tmp_path: Path, run: Path) -> None:
    rows = [{"text": f"text {n}", "label": ["<b>|a`", "x\x1b[31m\ny"][n % 2]} for n in range(40)]
    (tmp_path / "odd.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    copy = shutil.copytree(run, tmp_path / "run")
    mlmctl(
        "finetune",
        "--data",
        tmp_path / "odd.jsonl",
        "--name",
        "odd",
        "--set",
        "finetune.epochs=1",
        "--run",
        copy,
    )
    card = exported(copy, tmp_path / "m<i>", "odd")
    assert r"&lt;b&gt;\|a\`, x \[31m y" in card
    assert "# m&lt;i&gt;" in card
    assert "\x1b" not in card


def test_the_words_over_examples_are_no_markup_and_say_what_comes_first(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    tag = "<img src=x onerror=alert(1)>"
    mlmctl("evaluate", "--task", "tags", "--name", tag, "--run", copy)
    mlmctl("evaluate", "--data", run.parent / "test.jsonl", "--name", tag, "--run", copy)
    shown = "&lt;img src=x onerror=alert(1)&gt;"
    for name, heading in (
        ("sentiment", f"Wrong on {shown}, and surest of it:"),
        ("tags", f"Most entities missed or wrong on {shown}:"),
    ):
        card = exported(copy, tmp_path / name, name, with_examples=True)
        assert heading in card
        assert "<img" not in card.partition("\n---\n")[2]  # the front matter is YAML


def test_a_fingerprint_of_pairs_is_not_called_that_of_a_file(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text('{"sentence_good": "a film", "sentence_bad": "film a"}\n')
    mlmctl("evaluate", "--task", "pairs", "--data", pairs, "--run", copy)
    fingerprint = open_artifact(copy / "evaluate/pretrain/pairs").inputs["data"]
    assert f"On pairs (fingerprint `{fingerprint}`):" in exported(copy, tmp_path / "m")
    assert f"On test (SHA-256 `{sha256_file(run.parent / 'test.jsonl')}`):" in exported(
        copy, tmp_path / "n", "sentiment"
    )


def test_a_folder_that_was_renamed_is_exported_anew(run: Path, tmp_path: Path) -> None:
    exported(run, tmp_path / "m")
    (tmp_path / "m").rename(tmp_path / "n")
    with pytest.raises(ArtifactError, match="with another name"):
        exported(run, tmp_path / "n")
    card = exported(run, tmp_path / "n", force=True)
    assert card.count('"n"') == 4
    assert '"m"' not in card


def test_an_onnx_file_goes_with_the_model_and_its_code_runs(
    run: Path, tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    asked = ("export", "--run", run, "--model", "sentiment", "--output", tmp_path / "m", "--onnx", "--json")
    found = shell(*asked).json
    assert "onnx/model.onnx" in found["files"]
    assert found["onnx"]["max_difference"] <= found["onnx"]["tolerance"]
    card = (tmp_path / "m/README.md").read_text()
    assert f"{found['onnx']['max_difference']:.1e} of the largest number" in card
    assert "onnx" in ModelCard(card).data.tags
    monkeypatch.chdir(tmp_path)
    (logits,) = run_code(code(card))["outputs"]
    assert logits.shape == (2, 2)
    assert not [f for f in verify.run(tmp_path / "m") if f.is_fault]


def test_what_a_model_read_is_what_all_before_it_read(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    few = ("--set", "finetune.epochs=1", "--run", copy)
    data = run.parent / "train.jsonl"
    other = marked("sentiment-train.jsonl", tmp_path / "other.jsonl", "more")
    again = ("--name", "second", "--data", other, "--max-examples", "16")
    mlmctl("finetune", "--model", "sentiment", *again, *few)
    card = exported(copy, tmp_path / "m", "second")
    for path, row, count in ((data, "finetune/sentiment: data", 24), (other, "data", 16)):
        assert f"| {row} | {sha256_file(path)} |" in card
        assert f"{count} examples (file of SHA-256 `{sha256_file(path)}`)" in card
    assert "16 labelled examples (before that with 24)" in card
    assert "The encoder has seen" in card
    made_from = {
        link.name: link.made_from for link in Subject.open(copy, "second", HashCache(None)).chain.values()
    }
    assert made_from["finetune/second"] == ["data", "finetune/sentiment"]
    assert made_from["finetune/sentiment"] == ["finetune/sentiment: data", "pretrain"]
    fingerprint = open_artifact(copy / "finetune/sentiment").fingerprint
    assert f"`finetune.model`: it was made from finetune/sentiment (fingerprint `{fingerprint}`)" in card

    mlmctl("finetune", "--from-scratch", "--data", data, "--max-examples", "24", *few)
    mlmctl("finetune", "--model", "sentiment-scratch", *again, *few, "--force")
    for name in ("sentiment-scratch", "second"):
        card = exported(copy, tmp_path / name, name)
        assert "It was not pretrained" in card
        assert "gave its shape and its vocabulary, and no weights" in card
        metrics = open_artifact(copy / "tokenizer").metrics
        assert f"- Corpus of the vocabulary alone: {metrics['num_documents']:,} documents" in card
        for words in ("The encoder has seen", "- Pretraining", "to learn from", "held-out text"):
            assert words not in card
        assert ModelCard(card).data.language is None
