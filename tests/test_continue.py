"""Continuing an encoder that somebody made: its weights, its tokenizer, a vocabulary that grows."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import WORDS, Shell, write_corpus
from pretrain_world import LENGTH, VOCAB_SIZE, Run, make_inputs
from stock import make_stock, make_tokenizer
from tokenizers import Tokenizer
from torch import Tensor
from transformers import AutoModelForMaskedLM, AutoTokenizer

from mlmctl.config import PretrainConfig
from mlmctl.engine import initial, model, plan, schedule
from mlmctl.engine.evaluate_mlm import FrozenMasks, evaluate
from mlmctl.errors import ArtifactError, InterruptedRun
from mlmctl.events import Evaluated, Note
from mlmctl.stages import pretrain
from mlmctl.storage import sha256_file
from mlmctl.text import extension
from mlmctl.text.blocks import Blocks

MASKED = ["BertForMaskedLM", "RobertaForMaskedLM", "ModernBertForMaskedLM"]
CPU = torch.device("cpu")


def continuing(**changes: Any) -> PretrainConfig:
    settings = {"init": "named elsewhere", "steps": 6, "tokens_per_step": 6 * LENGTH, "warmup_steps": 1}
    return PretrainConfig(**{**settings, **changes})


def logits(network: Any, num: int = 90) -> Tensor:
    input_ids = torch.randint(5, num, (3, 12), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found: Tensor = network(input_ids=input_ids).logits
    return found


# growing a vocabulary


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", MASKED)
def test_new_rows_are_means_and_old_ones_stay_bit_for_bit(tmp_path: Path, name: str, tied: bool) -> None:
    stock = make_stock(tmp_path, name, tie_word_embeddings=tied)
    ours, _ = model.load(tmp_path, "masked_lm")
    state = torch.get_rng_state()
    ours = initial.grow(ours, VOCAB_SIZE + 2, {VOCAB_SIZE: [7, 9, 9], VOCAB_SIZE + 1: [30]})
    assert torch.equal(torch.get_rng_state(), state)
    assert ours.config.vocab_size == VOCAB_SIZE + 2
    decoder = ours.get_output_embeddings()
    assert (decoder.weight is ours.get_input_embeddings().weight) == tied
    for grown, old in (
        (ours.get_input_embeddings().weight, stock.get_input_embeddings().weight),
        (decoder.weight, stock.get_output_embeddings().weight),
        (decoder.bias, stock.get_output_embeddings().bias),
    ):
        assert len(grown) == VOCAB_SIZE + 2
        assert torch.equal(grown[:VOCAB_SIZE], old)
        assert torch.equal(grown[VOCAB_SIZE], old[[7, 9, 9]].mean(dim=0))
        assert torch.equal(grown[VOCAB_SIZE + 1], old[30])
    before, after = logits(stock), logits(ours)
    torch.testing.assert_close(after[..., :VOCAB_SIZE], before, rtol=1e-5, atol=1e-5)
    model.save_model(ours, tmp_path)
    again = AutoModelForMaskedLM.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(logits(again), after, rtol=1e-5, atol=1e-5)


def test_new_tokens_take_the_rows_of_a_padded_vocabulary_first(tmp_path: Path) -> None:
    stock = make_stock(tmp_path, "ModernBertForMaskedLM")
    ours, _ = model.load(tmp_path, "masked_lm")
    ours = initial.grow(
        ours, VOCAB_SIZE, {90: [7, 8], 91: [7]}
    )  # the tokenizer has 90 ids, the model 96 rows
    assert ours.config.vocab_size == VOCAB_SIZE
    grown, old = (network.get_input_embeddings().weight for network in (ours, stock))
    assert torch.equal(grown[90], old[[7, 8]].mean(dim=0))
    assert torch.equal(grown[:90], old[:90])
    assert torch.equal(grown[92:], old[92:])


# the stage


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    """The world of the engine's tests, and a stock BERT with its tokenizer under `init`."""
    made = make_inputs(tmp_path / "made")
    init = tmp_path / "init"
    make_stock(init, max_position_embeddings=48)
    shutil.copyfile(made["tokenizer"] / "tokenizer.json", init / "tokenizer.json")
    return {**made, "init": init}


def test_an_encoder_is_continued_from_where_it_is(tmp_path: Path, inputs: dict[str, Path]) -> None:
    run = Run(tmp_path / "run", inputs)
    stage = run.stage()
    found = pretrain.run(continuing(), stage)
    stock = AutoModelForMaskedLM.from_pretrained(inputs["init"]).eval()
    masks = FrozenMasks.open(inputs["mask/policy"], inputs["mask/blocks"])
    first = next(event for event in run.events if isinstance(event, Evaluated))
    assert first.step == 0
    assert first.metrics["valid_loss"] == pytest.approx(evaluate(stock, masks, CPU)["valid_loss"], abs=1e-5)
    assert found["valid_loss"] < first.metrics["valid_loss"]
    told = [event.message for event in run.events if isinstance(event, Note)]
    assert "continues an encoder: 37 encoder tensors loaded; new: none" in told
    assert stage.details["init"] == {"num_loaded": 37, "new": (), "unexpected": (), "num_new_tokens": 0}
    after = AutoModelForMaskedLM.from_pretrained(run.root / "out").eval()
    ours, _ = model.load(run.root / "out", "masked_lm")
    torch.testing.assert_close(logits(ours), logits(after), rtol=1e-5, atol=1e-5)
    assert not torch.equal(logits(after), logits(stock))
    config = json.loads((run.root / "out/config.json").read_text())
    assert config["model_type"] == "bert"
    assert config["hidden_dropout_prob"] == 0.0
    assert AutoTokenizer.from_pretrained(run.root / "out").model_max_length == 48


@pytest.mark.parametrize("is_ours", [True, False])
def test_an_encoder_says_whether_all_it_knows_was_learned_here(
    tmp_path: Path, inputs: dict[str, Path], is_ours: bool
) -> None:
    if is_ours:
        (inputs["init"] / "plan.json").write_text('{"block_length": 32}')
    run = Run(tmp_path / "run", inputs)
    pretrain.run(continuing(steps=1), run.stage())
    assert plan.is_ours(run.root / "out") == plan.is_ours(inputs["init"]) == is_ours


def test_a_continued_run_that_is_stopped_ends_in_the_same_bits(
    tmp_path: Path, inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = Run(tmp_path / "whole", inputs), Run(tmp_path / "broken", inputs)
    pretrain.run(continuing(), whole.stage())
    evaluations = iter([False, True])

    def stopped(*arguments: Any, **named: Any) -> dict[str, float]:
        if next(evaluations):
            raise InterruptedRun(15)
        return {"valid_loss": 1.0, "valid_accuracy": 0.0}

    with monkeypatch.context() as patch:
        patch.setattr(schedule, "is_evaluated", lambda step: step == 3)
        patch.setattr(pretrain.evaluate_mlm, "evaluate", stopped)
        with pytest.raises(InterruptedRun):
            pretrain.run(continuing(), broken.stage("out0"))
    pretrain.run(continuing(), broken.stage())
    weights = [sha256_file(run.root / "out/model.safetensors") for run in (whole, broken)]
    assert weights[0] == weights[1]


def test_fault_22_a_tokenizer_that_is_not_the_encoders_is_refused_by_content(
    tmp_path: Path, inputs: dict[str, Path]
) -> None:
    path = inputs["init"] / "tokenizer.json"
    parts = json.loads(path.read_text())
    parts["truncation"] = {"max_length": 8, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    path.write_text(json.dumps(parts))  # the same tokenizer, however it is laid out and cuts
    pretrain.run(continuing(steps=1), Run(tmp_path / "a", inputs).stage())
    vocabulary = parts["model"]["vocab"]
    first, second = list(vocabulary)[10:12]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    path.write_text(json.dumps(parts))
    with pytest.raises(ArtifactError, match=r"neither the tokenizer of the encoder .*--tokenizer") as error:
        pretrain.run(continuing(steps=1), Run(tmp_path / "b", inputs).stage())
    assert error.value.exit_code == 5


def extend(tokenizer: Path, base: Path, pieces: dict[str, list[int]], num_base: int) -> None:
    """Add tokens to a tokenizer folder as an extension of the one in `base`."""
    grown = Tokenizer.from_file(str(base / "tokenizer.json"))
    parts = json.loads(grown.to_str())
    for token in pieces:
        parts["model"]["vocab"][f"new{token}"] = int(token)
    (tokenizer / "tokenizer.json").write_text(json.dumps(parts))
    record = {"base_sha256": extension.content_hash(base), "num_base": num_base, "pieces": pieces}
    (tokenizer / "extension.json").write_text(json.dumps(record))


def test_an_extended_vocabulary_grows_the_encoder(tmp_path: Path, inputs: dict[str, Path]) -> None:
    make_stock(inputs["init"], vocab_size=90)
    blocks = Blocks.open(inputs["mask/blocks"], "train")
    pieces = {str(new): [5 + new % 7, 40] for new in range(90, VOCAB_SIZE)}
    base = json.loads((inputs["init"] / "tokenizer.json").read_text())
    base["model"]["vocab"] = {word: i for word, i in base["model"]["vocab"].items() if i < 90}
    (inputs["init"] / "tokenizer.json").write_text(json.dumps(base))
    with pytest.raises(ArtifactError, match="neither"):
        initial.continued(inputs["init"], inputs["tokenizer"], blocks.specials, 0, CPU)
    extend(inputs["tokenizer"], inputs["init"], pieces, 90)
    start = initial.continued(inputs["init"], inputs["tokenizer"], blocks.specials, 0, CPU)
    encoder = start.make()
    old = AutoModelForMaskedLM.from_pretrained(inputs["init"]).get_input_embeddings().weight
    grown = encoder.get_input_embeddings().weight
    assert grown.shape == (VOCAB_SIZE, 32)
    assert torch.equal(grown[91], old[[5 + 91 % 7, 40]].mean(dim=0))
    run = Run(tmp_path / "run", inputs)
    stage = run.stage()
    pretrain.run(continuing(), stage)
    assert stage.details["init"]["num_new_tokens"] == 6
    assert json.loads((run.root / "out/config.json").read_text())["vocab_size"] == VOCAB_SIZE
    assert any("6 new tokens" in event.message for event in run.events if isinstance(event, Note))


@pytest.mark.parametrize("name", [extension.FILE, "tokenizer.json"])
def test_fault_48_a_record_of_an_extension_without_end_is_refused(name: str, inputs: dict[str, Path]) -> None:
    path = inputs["tokenizer"] / name
    path.touch()
    os.truncate(path, 2**36)  # a hole
    with pytest.raises(ArtifactError, match=name):
        extension.between(inputs["init"], inputs["tokenizer"])


@pytest.mark.parametrize(
    "record",
    [
        {},
        [],
        {"base_sha256": "", "num_base": 90, "pieces": {"91": []}},
        {"base_sha256": "", "num_base": 90, "pieces": {"91": [95]}},
        {"base_sha256": "", "num_base": 90, "pieces": {"8": [7]}},
        {"base_sha256": "", "num_base": 90, "pieces": {"91": [-1]}},
    ],
)
def test_a_record_of_an_extension_that_is_not_sound_is_refused(
    inputs: dict[str, Path], record: object
) -> None:
    (inputs["tokenizer"] / "extension.json").write_text(json.dumps(record))
    with pytest.raises(ArtifactError, match="is no record of an extension"):
        extension.between(inputs["init"], inputs["tokenizer"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocab_size": 95}, "rows for 95 tokens, the tokenizer has ids up to 95"),
        ({"pad_token_id": 1}, "pads"),
    ],
)
def test_rows_that_do_not_belong_to_the_tokenizer_are_refused(
    inputs: dict[str, Path], changes: dict[str, int], message: str
) -> None:
    make_stock(inputs["init"], **changes)
    specials = Blocks.open(inputs["mask/blocks"], "train").specials
    with pytest.raises(ArtifactError, match=message):
        initial.continued(inputs["init"], inputs["tokenizer"], specials, 0, CPU)


def test_continuing_is_gentle_unless_it_is_told_otherwise() -> None:
    fresh, gentle = PretrainConfig(), PretrainConfig(init="x")
    assert gentle.learning_rate < fresh.learning_rate
    assert gentle.muon_learning_rate < fresh.muon_learning_rate
    assert PretrainConfig(init="x", learning_rate=0.5).learning_rate == 0.5
    assert "init" not in gentle.key_fields()


# the command


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    folder = tmp_path / "bert"
    make_stock(folder, max_position_embeddings=40)
    make_tokenizer(folder, WORDS)
    return folder


def test_init_brings_its_tokenizer_and_a_changed_one_is_refused(
    tmp_path: Path, bert: Path, shell: Shell
) -> None:
    corpus, run = write_corpus(tmp_path / "corpus.txt"), tmp_path / "run"
    asked = ("pretrain", corpus, "--run", run, "--threads", "1", "--steps", "2", "--block-length", "32")
    made = shell(*asked, "--init", bert)
    assert made.code == 0, made.err
    ours, theirs = (
        Tokenizer.from_file(str(folder / "tokenizer.json")) for folder in (run / "pretrain", bert)
    )
    assert ours.get_vocab() == theirs.get_vocab()
    manifest = json.loads((run / "pretrain/manifest.json").read_text())
    assert "init" in manifest["inputs"]
    assert "init" not in manifest["config"]
    again = shell(*asked, "--init", bert, "--json")
    assert [stage["status"] for stage in again.json["stages"]] == ["fresh"] * 4
    # Where it lies does not matter, what is in it does.
    shutil.copytree(bert, tmp_path / "copy")
    assert shell(*asked, "--init", tmp_path / "copy").code == 0
    make_stock(bert, max_position_embeddings=40, hidden_size=16)
    for changed in (shell(*asked, "--init", bert), shell(*asked)):
        assert changed.code == 5
        assert "input init changed" in changed.err
    # An encoder that was made here, in another run folder, is continued like any other.
    onward = shell(*asked[:2], "--run", tmp_path / "next", *asked[4:], "--init", run / "pretrain")
    assert onward.code == 0, onward.err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--preset", "tiny"), 2, "preset cannot be chosen with init"),
        (("--architecture", "bert"), 2, "architecture cannot be chosen with init"),
        (("--set", "pretrain.hidden_size=16"), 2, "hidden_size cannot be chosen with init"),
        (("--vocab-size", "100"), 2, "tokenizer.vocab_size cannot be chosen with pretrain.init"),
        (("--block-length", "64"), 2, "takes 40 tokens at once, the blocks have 64 (--block-length 40)"),
    ],
)
def test_what_the_encoder_decides_cannot_be_chosen(
    tmp_path: Path, bert: Path, shell: Shell, arguments: tuple[str, ...], code: int, says: str
) -> None:
    corpus = write_corpus(tmp_path / "corpus.txt")
    refused = shell("pretrain", corpus, "--run", tmp_path / "run", "--init", bert, *arguments)
    assert (refused.code, says in refused.err) == (code, True), refused.err
    assert not (tmp_path / "run/tokenizer").exists()


def test_a_folder_without_a_fast_tokenizer_says_what_to_do(tmp_path: Path, bert: Path, shell: Shell) -> None:
    (bert / "tokenizer.json").rename(bert / "vocab.txt")
    corpus = write_corpus(tmp_path / "corpus.txt")
    refused = shell("pretrain", corpus, "--run", tmp_path / "run", "--init", bert, "--block-length", "32")
    assert refused.code == 2
    assert "save_pretrained(...) of transformers writes one" in refused.err
