"""Model folders that were made elsewhere: read where they are sound, refused before they can do harm."""

from __future__ import annotations

import json
import os
import pickle
import socket
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from commands import Shell
from encoders import BAD, GOOD, OTHER, make_data, make_encoder
from huggingface_hub import errors
from safetensors.torch import load_file, save_file
from stock import make_stock, make_tokenizer
from torch import Tensor
from transformers import AutoTokenizer, pipeline

from mlmctl import hub
from mlmctl.config import EvaluateConfig
from mlmctl.engine import configuration, model, weights
from mlmctl.errors import ArtifactError, InterruptedRun, MlmctlError, ResourceError, UsageError
from mlmctl.events import silent
from mlmctl.pipeline import evaluate_node
from mlmctl.storage import HashCache
from mlmctl.tasks.adapted import open_adapted

MASKED = ["BertForMaskedLM", "RobertaForMaskedLM", "ModernBertForMaskedLM"]


def logits(network: Any) -> Tensor:
    """Of a padded batch, at the tokens that are no padding."""
    input_ids = torch.randint(5, 90, (3, 12), generator=torch.Generator().manual_seed(0))
    input_ids[1, 8:] = 0
    attention_mask = (input_ids != 0).long()
    with torch.no_grad():
        found: Tensor = network(input_ids=input_ids, attention_mask=attention_mask).logits
    return found[attention_mask.bool()]


def edit(folder: Path, **fields: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def write_raw(path: Path, header: bytes, num_bytes: int = 0, length: int | None = None) -> None:
    """A safetensors file with this header and so many bytes (a hole) of tensors."""
    path.write_bytes((len(header) if length is None else length).to_bytes(8, "little") + header)
    os.truncate(path, path.stat().st_size + num_bytes)


# what is read


@pytest.mark.parametrize("name", MASKED)
def test_a_stock_checkpoint_is_read_to_the_same_logits(tmp_path: Path, name: str) -> None:
    stock = make_stock(tmp_path, name)
    ours, report = model.load(tmp_path, "masked_lm")
    torch.testing.assert_close(logits(ours), logits(stock), rtol=1e-5, atol=1e-5)
    assert (report.new, report.unexpected) == ((), ())


def test_further_heads_are_told_and_a_missing_head_is_new(tmp_path: Path) -> None:
    stock = make_stock(tmp_path / "a", "BertForPreTraining")
    ours, report = model.load(tmp_path / "a", "masked_lm")
    assert report.unexpected == (
        "bert.pooler.dense.bias",
        "bert.pooler.dense.weight",
        "cls.seq_relationship.bias",
        "cls.seq_relationship.weight",
    )
    assert report.new == ()
    wanted = stock.cls.predictions(stock.bert(torch.tensor([[2, 7, 3]])).last_hidden_state)
    torch.testing.assert_close(ours(torch.tensor([[2, 7, 3]])).logits, wanted, rtol=1e-5, atol=1e-5)
    bare = make_stock(tmp_path / "b", "BertModel")
    ours, report = model.load(tmp_path / "b", "masked_lm")
    assert report.new[0] == "cls.predictions.bias"
    assert all(name.startswith("cls.predictions.") for name in report.new)
    hidden = [network(torch.tensor([[2, 7, 3]])).last_hidden_state for network in (ours.bert, bare)]
    torch.testing.assert_close(*hidden, rtol=1e-5, atol=1e-5)


def test_names_of_early_checkpoints_and_of_tied_tensors_are_understood(tmp_path: Path) -> None:
    stock = make_stock(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    early = {
        n.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): t
        for n, t in tensors.items()
    }
    early["cls.predictions.decoder.weight"] = early.pop("bert.embeddings.word_embeddings.weight")
    early["bert.embeddings.position_ids"] = torch.arange(512)[None]
    save_file(early, tmp_path / "model.safetensors")
    ours, report = model.load(tmp_path, "masked_lm")
    assert (report.new, report.unexpected) == ((), ("bert.embeddings.position_ids",))
    torch.testing.assert_close(logits(ours), logits(stock), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_read_as_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    stock = make_stock(tmp_path).to(dtype)
    stock.save_pretrained(tmp_path)
    ours, _ = model.load(tmp_path, "masked_lm")
    assert {parameter.dtype for parameter in ours.parameters()} == {torch.float32}
    torch.testing.assert_close(logits(ours), logits(stock.float()), rtol=1e-5, atol=1e-5)


def test_weights_in_several_files_are_read_by_their_index(tmp_path: Path) -> None:
    stock = make_stock(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    stock.save_pretrained(tmp_path, max_shard_size="20KB")
    names = [path.name for path in weights.files(tmp_path)]
    assert names[0] == "model.safetensors.index.json"
    assert len(names) > 2
    ours, _ = model.load(tmp_path, "masked_lm")
    torch.testing.assert_close(logits(ours), logits(stock), rtol=1e-5, atol=1e-5)
    (tmp_path / names[1]).unlink()
    with pytest.raises(ArtifactError, match=f"{names[1]}: does not exist"):
        model.load(tmp_path, "masked_lm")


def test_what_a_configuration_says_of_training_and_of_code_is_not_taken_over(tmp_path: Path) -> None:
    make_stock(tmp_path, hidden_dropout_prob=0.4, layer_norm_eps=1e-3)
    edit(tmp_path, quantization_config={"quant_method": "x"}, _attn_implementation="x", dtype="float16")
    config = configuration.read(tmp_path, 0.25)
    assert (config.hidden_dropout_prob, config.layer_norm_eps) == (0.25, 1e-3)
    assert not hasattr(config, "quantization_config")
    assert configuration.num_positions(tmp_path) == 512
    make_stock(tmp_path / "r", "RobertaForMaskedLM", pad_token_id=1, max_position_embeddings=66)
    assert configuration.num_positions(tmp_path / "r") == 64


def test_a_stock_folder_is_adapted_and_asked_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = GOOD + BAD + OTHER
    make_stock(tmp_path / "bert", max_position_embeddings=48)
    make_tokenizer(tmp_path / "bert", words)
    data = make_data(tmp_path / "data.jsonl", 40, lengths=(3, 30))
    shell = Shell(capsys)
    arguments = ("--data", data, "--epochs", "1", "--run", tmp_path / "run", "--threads", "1")
    made = shell("finetune", "--model", tmp_path / "bert", *arguments)
    assert made.code == 0, made.err
    assert "new: bert.pooler.dense.bias" in made.err
    folder = tmp_path / "run/finetune/sentiment"
    assert AutoTokenizer.from_pretrained(folder).model_max_length == 48
    asked = "the film was a great plot and superb cast"
    (answer,) = open_adapted(folder, torch.device("cpu")).answer([{"text": asked}], 1)
    (stocks,) = pipeline("text-classification", model=str(folder))([asked])
    assert stocks["label"] == answer["label"]
    assert stocks["score"] == pytest.approx(answer["score"], abs=1e-4)
    filled = shell("fill", "the [MASK] was great", "--model", tmp_path / "bert", "--json")
    assert filled.code == 0, filled.err
    again = shell("finetune", "--model", tmp_path / "bert", *arguments)
    assert "nothing changed" in again.err or "fresh" in again.err
    edit(tmp_path / "bert", initializer_range=0.5)
    changed = shell("finetune", "--model", tmp_path / "bert", *arguments)
    assert changed.code == 5
    assert "input pretrain changed" in changed.err
    missing = shell("finetune", "--model", "owner/name", *arguments)
    assert missing.code == 2
    assert "hf:owner/name for a model on the hub" in missing.err


# what is refused


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"auto_map": {"AutoModel": "evil.Model"}}, "asks for code of its own .*stock architectures"),
        ({"model_type": "gpt2"}, "is a 'gpt2' model; known are modernbert, bert, roberta"),
        ({"model_type": ["bert"]}, "known are"),
        ({"position_embedding_type": "relative_key"}, "'relative_key', not 'absolute'"),
        ({"is_decoder": True}, "is_decoder is True"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000"),
        ({"hidden_size": None}, "hidden_size is None"),
        ({"hidden_size": 30}, "encoder tensor bert.embeddings.LayerNorm.bias has another shape"),
        ({"num_attention_heads": 3}, "no model can be built: .*multiple"),
        ({"hidden_act": "os.system"}, "no model can be built: .*os.system"),
        ({"layer_norm_eps": "small"}, "is not a configuration: .*expected float"),
    ],
)
def test_fault_52_a_configuration_that_is_not_of_a_stock_model_is_refused(
    tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    make_stock(tmp_path)
    edit(tmp_path, **fields)
    with pytest.raises(ArtifactError, match=message):
        model.load(tmp_path, "masked_lm")


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"[" * 10**5, b" " * (16 * 2**20 + 1)])
def test_a_configuration_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    make_stock(tmp_path)
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ArtifactError, match="is not a configuration"):
        model.load(tmp_path, "masked_lm")


TENSOR = '"dtype":"F32","shape":[%d],"data_offsets":[%d,%d]'


@pytest.mark.parametrize(
    ("header", "num_bytes", "length"),
    [
        (b"{}", 0, 2**40),  # a header larger than the file
        (b"{}" + b" " * (16 * 2**20), 0, None),  # a header that is only large
        (b"{", 0, None),
        (b"", 0, 0),
        (f'{{"a":{{{TENSOR % (2, 0, 8)}}},"b":{{{TENSOR % (2, 4, 12)}}}}}'.encode(), 12, None),  # overlap
        (f'{{"a":{{{TENSOR % (2, 0, 8)}}},"b":{{{TENSOR % (2, 16, 24)}}}}}'.encode(), 24, None),  # a gap
        (f'{{"a":{{{TENSOR % (2**60, 0, 8)}}}}}'.encode(), 8, None),  # a shape larger than its bytes
        (b'{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}', 8, None),
        (b'{"a":{"dtype":"F99","shape":[2],"data_offsets":[0,8]}}', 8, None),
    ],
)
def test_fault_48_a_header_that_is_not_sound_is_refused(
    tmp_path: Path, header: bytes, num_bytes: int, length: int | None
) -> None:
    make_stock(tmp_path)
    write_raw(tmp_path / "model.safetensors", header, num_bytes, length)
    with pytest.raises(ArtifactError, match=r"model\.safetensors: cannot be read"):
        model.load(tmp_path, "masked_lm")


def test_fault_48_an_absurd_shape_is_refused_before_memory_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_stock(tmp_path)
    shape, num_bytes = 2**36, 4 * 2**36
    entry = TENSOR % (shape, 0, num_bytes)
    name = "bert.embeddings.LayerNorm.weight"
    write_raw(tmp_path / "model.safetensors", f'{{"{name}":{{{entry}}}}}'.encode(), num_bytes)
    built = []
    monkeypatch.setattr(model.nn.Module, "to", lambda self, device: built.append(device) or self)
    with pytest.raises(ArtifactError, match="encoder tensor"):
        model.load(tmp_path, "masked_lm")
    assert {device.type for device in built} == {"meta"}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_fault_25_a_weight_of_a_stranger_that_is_not_finite_is_refused(tmp_path: Path, value: float) -> None:
    make_stock(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    name = "bert.encoder.layer.1.output.dense.weight"
    tensors[name][3, 4] = value
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ArtifactError, match=f"{name} holds NaN or infinity") as error:
        model.load(tmp_path, "masked_lm")
    assert error.value.exit_code == 5


def test_a_tokenizer_with_more_ids_than_the_model_has_rows_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_stock(tmp_path / "model", vocab_size=16)
    make_tokenizer(tmp_path / "model", GOOD + BAD + OTHER)
    data, shell = make_data(tmp_path / "train.jsonl", 20), Shell(capsys)
    given = ("--model", tmp_path / "model", "--json")
    for words in (("finetune", "--data", data, "--run", tmp_path / "run"), ("fill", "the [MASK] was great")):
        outcome = shell(*words, *given)
        assert (outcome.code, outcome.json["error"]["code"]) == (5, "model.vocabulary")


def test_quantized_weights_are_refused(tmp_path: Path) -> None:
    make_stock(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    name = "bert.encoder.layer.1.output.dense.weight"
    tensors[name] = tensors[name].to(torch.int8)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ArtifactError, match="holds I8 numbers"):
        model.load(tmp_path, "masked_lm")


@pytest.mark.parametrize("named", ["../model.safetensors", "/etc/x.safetensors", "model.bin", 3])
def test_fault_50_an_index_of_weights_that_leads_elsewhere_is_refused(tmp_path: Path, named: object) -> None:
    make_stock(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "other.safetensors")
    index = {"weight_map": {"a": named}} if named != 3 else {"weight_map": [named]}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ArtifactError, match=r"index\.json"):
        model.load(tmp_path, "masked_lm")


def test_fault_47_a_pickle_is_never_opened(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.mkdir, (str(tmp_path / "exploded"),)

    folder = tmp_path / "model"
    make_stock(folder)
    content = pickle.dumps(Bomb())
    for name in ("pytorch_model.bin", "model.pt", "optimizer.pkl", "x.ckpt", "training_args.bin"):
        (folder / name).write_bytes(content)
    model.load(folder, "masked_lm")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"only in .*never opened.*save_pretrained"):
        model.load(folder, "masked_lm")
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ArtifactError, match="cannot be read"):
        model.load(folder, "masked_lm")
    assert not (tmp_path / "exploded").exists()


# remote names


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", ["bert-base-uncased", "google-bert/bert-base-uncased", "./a/b", "/tmp/no/x"])
def test_fault_55_a_name_that_is_no_folder_is_not_looked_up(name: str) -> None:
    with pytest.raises(UsageError, match=r"does not exist .*hf:") as error:
        hub.folder(name)
    assert error.value.exit_code == 2
    assert ("hf:google-bert/bert-base-uncased" in str(error.value)) == name.startswith("google")


def test_a_remote_model_is_fetched_without_code_and_pickles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def download(name: str, allow_patterns: list[str]) -> str:
        asked.update(name=name, patterns=allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert hub.folder("hf:owner/name") == tmp_path
    assert asked["name"] == "owner/name"
    assert {"plan.json", "task.json"} <= set(asked["patterns"])  # or a published model is read as another
    from fnmatch import fnmatch

    published = ["config.json", "model.safetensors", "model-00001-of-00002.safetensors", "tokenizer.json"]
    harmful = ["modeling_x.py", "pytorch_model.bin", "optimizer.pt", "model.onnx", "manifest.json"]
    for file in published + harmful:
        assert any(fnmatch(file, pattern) for pattern in asked["patterns"]) == (file in published), file


def test_offline_a_remote_model_is_an_error_of_one_line() -> None:
    with pytest.raises(ResourceError, match="cannot be fetched, and is not in the cache") as error:
        hub.folder("hf:nobody/nothing")  # tests run with HF_HUB_OFFLINE
    assert error.value.exit_code == 6
    assert "\n" not in str(error.value)
    with pytest.raises(UsageError, match="is no name of a repository"):
        hub.folder("hf:not a name")


@pytest.mark.parametrize(
    ("kind", "wanted", "message"),
    [
        (errors.RepositoryNotFoundError, UsageError, "is not on the hub"),
        (errors.GatedRepoError, UsageError, "accepted its terms"),
        (ConnectionError, ResourceError, "the cable is out"),
    ],
)
def test_what_the_hub_refuses_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, kind: type[Exception], wanted: type[MlmctlError], message: str
) -> None:
    error = kind.__new__(kind)
    error.args = ("the cable is out\nand more",)

    def download(name: str, allow_patterns: list[str]) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(wanted, match=message) as found:
        hub.folder("hf:owner/name")
    assert "\n" not in str(found.value)


def test_a_signal_while_a_model_is_fetched_is_no_fault_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(name: str, allow_patterns: list[str]) -> str:
        raise InterruptedRun(2)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(InterruptedRun):
        hub.folder("hf:owner/name")


@pytest.mark.parametrize("is_cached", [True, False])
def test_a_plan_fetches_no_model(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_cached: bool
) -> None:
    encoder, shell = make_encoder(tmp_path / "encoder"), Shell(capsys)

    def download(name: str, allow_patterns: list[str], local_files_only: bool = False) -> str:
        assert local_files_only, "the hub is asked"
        if is_cached:
            return str(encoder)
        raise errors.LocalEntryNotFoundError("not there")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.chdir(tmp_path)
    tuned = shell("finetune", "--model", "hf:owner/name", "--dry-run", "--json").json["stages"][0]
    measured = shell("evaluate", "--task", "mlm", "--model", "hf:owner/name", "--dry-run", "--json")
    continued = shell("pretrain", "--init", "hf:owner/name", "--block-length", "16", "--dry-run", "--json")
    if is_cached:
        assert tuned["reason"] == "new"
    else:
        assert tuned["reason"] == "after hf:owner/name has been read"
        assert measured.json["stages"][0]["reason"] == "after hf:owner/name has been read"
        assert continued.json["stages"][0]["reason"] == "after hf:owner/name has been read"
    assert [stage["name"] for stage in continued.json["stages"]][-1] == "pretrain"
    longer = ("--extend-vocab", "20", "--dry-run")
    assert shell("pretrain", "--init", "hf:owner/name", "--block-length", "16", *longer).code == 0
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("task", ["mlm", "pairs", "sentiment"])
def test_results_of_a_remote_model_go_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    snapshot = tmp_path / "models--owner--name/snapshots/0123abcd"
    snapshot.mkdir(parents=True)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **named: str(snapshot))
    (tmp_path / "sets.jsonl").write_text("{}\n")
    config = EvaluateConfig(task=task, model="hf:owner/name", data=str(tmp_path / "sets.jsonl"))
    name = evaluate_node(tmp_path / "run", config, HashCache(None), silent).name
    assert name == f"evaluate/owner--name/{'mlm' if task == 'mlm' else 'sets'}"


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("models--owner--name/snapshots/0123abcd", "owner--name"),
        ("reviews/pretrain", "reviews"),
        ("run/finetune/sentiment", "sentiment"),
    ],
)
def test_a_model_is_called_by_a_name_that_people_know(tmp_path: Path, folder: str, name: str) -> None:
    assert hub.called(tmp_path / folder) == name
