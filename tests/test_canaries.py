"""Hostile files planted wherever something is read: nothing of them runs, and refusing them costs little.

The artifacts here are sealed anew after the planting, as an attacker would: hashes protect from accidents,
and from what comes after them only the readers do.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import torch
from attacks import cheaply, object_array, pickled, reseal
from commands import SMALL, Outcome, Shell
from packed import COMPRESS
from pyarrow import parquet

from mlmctl.commands.evaluations import Evaluation
from mlmctl.config import CorpusConfig, FinetuneConfig
from mlmctl.engine import checkpoint, model, plan, weights
from mlmctl.engine.evaluate_mlm import FrozenMasks
from mlmctl.errors import ArtifactError, DataError, MlmctlError
from mlmctl.events import silent
from mlmctl.manifest import Header
from mlmctl.tasks.adapted import TASKS, open_adapted
from mlmctl.tasks.pretrained import open_pretrained
from mlmctl.text import hub_datasets, parquet_pages, remote, vocabulary
from mlmctl.text.blocks import SPLITS, Blocks
from mlmctl.text.corpus import resolve
from mlmctl.text.documents import Documents
from mlmctl.text.npy import open_array
from mlmctl.text.spool import Spool

CPU = torch.device("cpu")
BLOCKS = sorted(f"{split}{kind}.npy" for split in SPLITS for kind in ("", ".words", ".maskable"))


@pytest.fixture
def exploded(tmp_path: Path) -> Iterator[Path]:
    """The folder that a payload would make; it must not be there in the end."""
    path = tmp_path / "exploded"
    yield path
    assert not path.exists(), "a payload ran"


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole / "run", tmp_path / "run")


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    return Shell(capsys)


def refused(outcome: Outcome, code: int) -> str:
    assert outcome.code == code, outcome.err
    assert "Traceback" not in outcome.err
    return outcome.err


def plant(artifact: Path, name: str, content: bytes) -> None:
    (artifact / name).write_bytes(content)
    reseal(artifact)


def test_the_payloads_are_live(tmp_path: Path) -> None:
    pickle.loads(pickled(tmp_path / "a"))
    np.load(io.BytesIO(object_array(tmp_path / "b")), allow_pickle=True)
    assert (tmp_path / "a").is_dir()
    assert (tmp_path / "b").is_dir()


# pickles where text and labelled data are expected


@pytest.mark.parametrize("protocol", [0, 4])
@pytest.mark.parametrize(
    "name", ["c.txt", "c.md", "c.jsonl", "c.csv", "c.tsv", "c.parquet", "c.txt.gz", "c.txt.xz"]
)
def test_fault_47_a_pickle_as_a_corpus(name: str, protocol: int, shell: Shell, exploded: Path) -> None:
    Path(name).write_bytes(pickled(exploded, protocol) * 50)
    with cheaply():
        outcome = shell("tokenizer", name, "--vocab-size", "100")
    assert outcome.code in ({4} if protocol or (Path(name).suffix != ".txt" and name != "c.md") else {0, 4})
    for other in ("c.pkl", "c.pt", "c.bin", "c.npy", "c.zip", "c"):
        Path(other).write_bytes(pickled(exploded))
        assert shell("tokenizer", other).code == 4


@pytest.mark.parametrize(
    "suffix", [".jsonl", ".csv", ".tsv", ".parquet", ".json", ".conll", ".pkl", ".jsonl.zst"]
)
@pytest.mark.parametrize("task", TASKS)
def test_fault_47_a_pickle_as_labelled_data(task: str, suffix: str, exploded: Path, tmp_path: Path) -> None:
    path = tmp_path / f"data{suffix}"
    content = pickled(exploded)
    path.write_bytes(COMPRESS["zst"](content) if suffix.endswith("zst") else content)
    with cheaply(), pytest.raises(DataError):
        TASKS[task].read(path, FinetuneConfig(task=task), silent)


def test_fault_47_a_pickle_as_a_recipe_or_a_baseline(shell: Shell, exploded: Path, run: Path) -> None:
    for protocol in (0, 4):
        Path("r.toml").write_bytes(pickled(exploded, protocol))
        Path("b.json").write_bytes(pickled(exploded, protocol))
        refused(shell("recipe", "check", "r.toml"), 2)
        refused(shell("evaluate", "--run", run, "--baseline", "b.json"), 2)


# pickles in a model folder


@pytest.mark.parametrize(
    "name",
    ["tokenizer.json", "config.json", "model.safetensors", "plan.json", "model.safetensors.index.json"],
)
def test_fault_47_a_pickle_in_an_encoder(name: str, run: Path, shell: Shell, exploded: Path) -> None:
    encoder = run / "pretrain"
    if name.endswith("index.json"):
        (encoder / "model.safetensors").unlink()
        (encoder / name).write_bytes(pickled(exploded))
        (encoder / "pytorch_model.bin").write_bytes(pickled(exploded))
        (encoder / "manifest.json").unlink()
        shutil.copytree(encoder, "stranger")
    else:
        plant(encoder, name, pickled(exploded))
        shutil.copytree(encoder, "stranger")
    with cheaply():
        refused(shell("embed", "--model", "./stranger"), 5)
        refused(shell("fill", "a [MASK]", "--model", "./stranger"), 5)
        refused(shell("finetune", "--model", "./stranger", "--run", "new", "--threads", "1"), 5)


@pytest.mark.parametrize("name", ["task.json", "config.json", "tokenizer.json", "model.safetensors"])
def test_fault_47_a_pickle_in_a_fine_tuned_model(name: str, run: Path, shell: Shell, exploded: Path) -> None:
    plant(run / "finetune/sentiment", name, pickled(exploded))
    with cheaply():
        refused(shell("predict", "--run", run), 5)
        with pytest.raises(ArtifactError):
            open_adapted(run / "finetune/sentiment", CPU)


# pickles in blocks, masks, evaluations and in the state of a run


@pytest.mark.parametrize("content", [object_array, pickled], ids=["object array", "pickle"])
@pytest.mark.parametrize("name", [*BLOCKS, "unigrams.npy", "blocks.json"])
def test_fault_47_a_pickle_in_blocks(
    name: str, content: Callable[[Path], bytes], run: Path, exploded: Path
) -> None:
    plant(run / "mask/blocks", name, content(exploded))
    with cheaply(), pytest.raises(ArtifactError):
        for split in SPLITS:
            Blocks.open(run / "mask/blocks", split)
        FrozenMasks.open(run / "mask/policy", run / "mask/blocks")


@pytest.mark.parametrize("content", [object_array, pickled], ids=["object array", "pickle"])
@pytest.mark.parametrize("name", ["valid.input_ids.npy", "valid.labels.npy", "policy.json"])
def test_fault_47_a_pickle_in_the_masks(
    name: str, content: Callable[[Path], bytes], run: Path, exploded: Path
) -> None:
    plant(run / "mask/policy", name, content(exploded))
    with cheaply(), pytest.raises(ArtifactError):
        FrozenMasks.open(run / "mask/policy", run / "mask/blocks")


@pytest.mark.parametrize("content", [object_array, pickled], ids=["object array", "pickle"])
def test_fault_47_a_pickle_beside_a_model_and_in_an_evaluation(
    content: Callable[[Path], bytes], run: Path, whole: Path, shell: Shell, exploded: Path
) -> None:
    hashes = (run / "finetune/sentiment/train_hashes.npy").read_bytes()
    plant(run / "finetune/sentiment", "train_hashes.npy", content(exploded))
    evaluate = ("evaluate", "--run", run, "--data", whole / "test.jsonl", "--name", "again", "--threads", "1")
    refused(shell(*evaluate), 5)
    plant(run / "finetune/sentiment", "train_hashes.npy", hashes)
    plant(run / "evaluate/sentiment/test", "predictions.jsonl", content(exploded))
    with pytest.raises(ArtifactError):
        Evaluation.open(run / "evaluate/sentiment/test")
    refused(shell("compare", run, whole / "run"), 5)


def test_fault_47_pickles_in_the_state_of_a_run(run: Path, whole: Path, shell: Shell, exploded: Path) -> None:
    [folder] = run.glob(".work/pretrain-*")
    [state] = folder.glob("checkpoints/step-*")
    longer = ("pretrain", whole / "corpus.txt", *SMALL, "--run", run, "--steps", "9", "--threads", "1")
    for name in ("model.safetensors", "optimizer.safetensors", "state.json"):
        kept = (state / name).read_bytes()
        plant(state, name, pickled(exploded))
        refused(shell(*longer), 5)
        plant(state, name, kept)
    kept = (folder / plan.PLAN).read_bytes()
    (folder / plan.PLAN).write_bytes(pickled(exploded))
    refused(shell(*longer), 5)
    (folder / plan.PLAN).write_bytes(kept)
    for name in (".hashes.json", ".lock"):  # nothing is believed that they say
        (run / name).write_bytes(pickled(exploded))
    assert shell(*longer).code == 0


def test_fault_47_a_pickle_as_a_request_or_in_the_spool(
    run: Path, whole: Path, shell: Shell, exploded: Path, tmp_path: Path
) -> None:
    folder = run / ".work/finetune+other-0000000000000000"
    folder.mkdir(parents=True)
    (folder / "state").write_text("")
    (folder / "request.json").write_bytes(pickled(exploded))
    begun = ("finetune", "--run", run, "--data", whole / "train.jsonl", "--name", "other", "--threads", "1")
    refused(shell(*begun), 5)
    spool = Spool(tmp_path / "spool")
    spool.folder.mkdir()
    spool._record("s3://a").write_bytes(pickled(exploded))
    assert spool.recall("s3://a") is None


def test_fault_47_a_manifest_that_is_a_pickle(run: Path, shell: Shell, exploded: Path) -> None:
    (run / "pretrain/manifest.json").write_bytes(pickled(exploded))
    for command in (("fill", "a [MASK]"), ("embed",), ("verify",), ("finetune",)):
        refused(shell(*command, "--run", run), 5)
    assert "damaged" in shell("status", "--run", run).out


# code, and files that claim more than they hold


def test_fault_52_code_beside_a_model_is_never_imported(
    run: Path, shell: Shell, exploded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(run / "pretrain", "stranger")
    folder = Path("stranger")
    (folder / "manifest.json").unlink()
    code = f"import os\nos.mkdir({str(exploded)!r})\n"
    for name in (
        "modeling_evil.py",
        "evil.py",
        "__init__.py",
        "transformers.py",
        "setup.py",
        "sitecustomize.py",
    ):
        (folder / name).write_text(code)
    for name in ("tokenizer_config.json", "generation_config.json", "adapter_config.json"):
        known = json.loads((folder / name).read_text()) if (folder / name).exists() else {}
        auto_map = {"AutoTokenizer": ["evil.Evil", None], "AutoModel": "modeling_evil.Evil"}
        (folder / name).write_text(json.dumps({**known, "auto_map": auto_map, "tokenizer_class": "Evil"}))
    assert shell("fill", "a [MASK]", "--model", "./stranger", "--threads", "1").code == 0
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps({**config, "auto_map": {"AutoModel": "modeling_evil.Evil"}})
    )
    with cheaply():
        assert "never run" in refused(shell("fill", "a [MASK]", "--model", "./stranger"), 5)


def _npy(shape: Any, dtype: str = "<u2") -> bytes:
    header = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


ARRAYS: dict[str, bytes] = {
    "more than it holds": _npy((2**40,)),
    "more than there are numbers": _npy((2**62, 2**62)),
    "less than nothing": _npy((-5,)),
    "a header that is an expression": b"\x93NUMPY\x01\x00"
    + (30).to_bytes(2, "little")
    + b"__import__('os').mkdir('evil')",
    "a nested header": b"\x93NUMPY\x01\x00" + (4000).to_bytes(2, "little") + b"(" * 4000,
    "fields": _npy((1,), "|V9") + bytes(9),
    "an archive": b"PK\x03\x04" + bytes(100),
    "nothing": b"",
    "a beginning": b"\x93NUM",
    "a long header": b"\x93NUMPY\x02\x00" + (2**32 - 1).to_bytes(4, "little") + b" " * 9000,
    "another version": b"\x93NUMPY\x09\x00" + bytes(100),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_fault_48_an_array_that_claims_what_it_does_not_hold(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(ARRAYS[name])
    os.truncate(path, max(len(ARRAYS[name]), 2**33 if name == "a long header" else 0))  # a hole
    for memory_mapped in (True, False):
        with cheaply(), pytest.raises(ArtifactError):
            open_array(path, np.dtype(np.uint16), memory_mapped=memory_mapped)


@pytest.mark.parametrize(
    "content", [b"[" * 10**6, b"[" + b"[]," * 10**6 + b"[]]", b'{"a":' * 10**5, b"9" * 10**6, b"\xff"]
)
def test_fault_48_json_that_is_deep_large_or_none(content: bytes, run: Path, tmp_path: Path) -> None:
    readers: dict[str, Callable[[], object]] = {
        "mask/blocks/blocks.json": lambda: Blocks.open(run / "mask/blocks", "train"),
        "mask/policy/policy.json": lambda: FrozenMasks.open(run / "mask/policy", run / "mask/blocks"),
        "pretrain/plan.json": lambda: open_pretrained(run / "pretrain", CPU),
        "pretrain/config.json": lambda: model.load(run / "pretrain", "masked_lm"),
        "pretrain/tokenizer.json": lambda: vocabulary.load(run / "pretrain"),
        "finetune/sentiment/task.json": lambda: open_adapted(run / "finetune/sentiment", CPU),
    }
    for name, read in readers.items():
        kept = (run / name).read_bytes()
        (run / name).write_bytes(content)
        with cheaply(), pytest.raises(ArtifactError):
            read()
        (run / name).write_bytes(kept)


def test_fault_48_weights_that_claim_what_they_do_not_hold(run: Path) -> None:
    path = run / "pretrain/model.safetensors"
    many = {f"t{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(50_000)}
    for header, length in (
        (b"{}", 2**63),
        (b"{" + b" " * 2**22 + b"}", None),
        (json.dumps(many).encode(), None),
        (b'{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}', None),
        (b'{"a":' * 10**5, None),
    ):
        path.write_bytes((len(header) if length is None else length).to_bytes(8, "little") + header)
        with cheaply(), pytest.raises(ArtifactError):
            model.load(run / "pretrain", "masked_lm")
        with cheaply(), contextlib.suppress(ArtifactError):
            weights.stored(run / "pretrain")
        with cheaply(), pytest.raises(ArtifactError):
            checkpoint._tensors(path) if length else model.inspect(run / "pretrain", "masked_lm")


@pytest.mark.parametrize(
    "text",
    [
        "[pretrain]\n" + "x = 1\n" * 10_000,
        "".join(f"[a{n}]\n" for n in range(8000)),
        "a." * 30_000 + "b = 1",
        "x = " + "[" * 60_000,
        "x = " + "{a = " * 10_000,
        "[pretrain]\nsteps = " + "9" * 60_000,
        "[pretrain]\nsteps = 0x" + "f" * 60_000,
        "[pretrain]\nlearning_rate = 1e" + "9" * 60_000,
        "[pretrain]\nseed = 1979-05-27T07:32:00Z",
        "[corpus]\npaths = [" + "'a'," * 15_000 + "]\nunit = 'no'",
        '[corpus]\ntext_column = "' + "\\U0010ffff" * 6000 + '"\nx = 1',
        "[finetune]\nname = '" + "a" * 60_000 + "'\nx = 1",
        "\0" * 60_000,
    ],
    ids=range(13),
)
def test_fault_49_a_huge_deep_or_absurd_recipe_is_refused_at_once(text: str, shell: Shell) -> None:
    Path("r.toml").write_text(text)
    with cheaply():
        outcome = shell("recipe", "check", "r.toml")
    error = refused(outcome, 2)
    assert len(error) < 2000
    with cheaply():
        refused(shell("recipe", "show", "--set", f"pretrain.x={text}"), 2)


# Parquet


def write(path: Path, table: Any, **options: Any) -> Path:
    parquet.write_table(table, path, **{"compression": "zstd", **options})
    return path


def read_corpus(path: Path) -> int:
    return sum(
        len(text)
        for text in Documents(resolve([str(path)], path.parent, silent), CorpusConfig(), silent, "x")
    )


def test_fault_51_parquet_of_a_dictionary_that_is_repeated(tmp_path: Path) -> None:
    """A few kilobytes that would be gigabytes of text: one long entry, named again and again."""
    entry = pyarrow.array(["word " * 2**18])
    rows = pyarrow.DictionaryArray.from_arrays(pyarrow.array(np.zeros(20_000, np.int32)), entry)
    path = write(tmp_path / "a.parquet", pyarrow.table({"text": rows}), dictionary_pagesize_limit=2**27)
    assert path.stat().st_size < 2**16
    with cheaply(), pytest.raises(DataError) as caught:
        read_corpus(path)
    assert caught.value.code == "data.ratio"


def test_fault_51_parquet_of_a_page_that_explodes(tmp_path: Path) -> None:
    large = pyarrow.table({"text": [" " * (parquet_pages.MOST_OF_A_PAGE + 1)]})
    path = write(tmp_path / "a.parquet", large, use_dictionary=False)
    with cheaply(), pytest.raises(DataError) as caught:
        read_corpus(path)
    assert caught.value.code == "data.ratio"
    with parquet_pages.opened(path, "a") as file, pytest.raises(DataError, match="a page becomes"):
        parquet_pages.largest_dictionary(file, parquet_pages.groups(file, "a")[0].chunks[0], "a")


def test_fault_51_parquet_that_claims_more_than_it_holds(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", pyarrow.table({"text": ["a b c"] * 99}))
    content = path.read_bytes()
    assert read_corpus(path) == 5 * 99
    for claimed in (2**31 - 1, 2**25, len(content) + 1):
        path.write_bytes(content[:-8] + claimed.to_bytes(4, "little") + b"PAR1")
        with cheaply(), pytest.raises(DataError):
            read_corpus(path)


def test_the_headers_of_pages_are_read_as_pyarrow_writes_them(tmp_path: Path) -> None:
    texts = [f"{n} " + "word " * 300 for n in range(5000)]
    for options in ({}, {"use_dictionary": False}, {"data_page_version": "2.0"}, {"compression": "none"}):
        table = pyarrow.table({"text": texts, "label": ["a", "b"] * 2500, "words": [["x", "y"]] * 5000})
        path = write(tmp_path / "a.parquet", table, row_group_size=2000, **options)
        metadata = parquet.read_metadata(path)
        with parquet_pages.opened(path, "a") as file:
            groups = parquet_pages.groups(file, "a")
            assert len(groups) == metadata.num_row_groups
            for number, group in enumerate(groups):
                theirs = metadata.row_group(number)
                assert (group.num_rows, len(group.chunks)) == (theirs.num_rows, theirs.num_columns)
                for place, chunk in enumerate(group.chunks):
                    column = theirs.column(place)
                    assert ".".join(chunk.path) == column.path_in_schema
                    sizes = column.total_uncompressed_size, column.total_compressed_size
                    assert (chunk.unpacked, chunk.packed) == sizes
                    largest = parquet_pages.largest_dictionary(file, chunk, "a")
                    assert (largest > 0) == bool(column.has_dictionary_page) == chunk.has_dictionary
        assert read_corpus(path) == sum(map(len, map(str.strip, texts))) or read_corpus(path) > 0


def test_fault_51_parquet_of_columns_that_are_not_what_they_should_be(tmp_path: Path) -> None:
    """Of some of these pyarrow's own metadata of a column end the process."""
    path = write(tmp_path / "a.parquet", pyarrow.table({"text": ["a b c"] * 9}), use_dictionary=False)
    content = path.read_bytes()
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    refused = 0
    for place in range(start, len(content) - 8):
        for value in (0, 0x15, 0x1C, 0x3F, 0xFF):
            path.write_bytes(content[:place] + bytes([value]) + content[place + 1 :])
            with contextlib.suppress(DataError):
                read_corpus(path)
                continue
            refused += 1
    assert refused > 100


def test_fault_47_parquet_with_a_pickled_extension_type(tmp_path: Path, exploded: Path) -> None:
    """CVE-2023-47248: the type of a column could be a pickle in its metadata."""
    field = pyarrow.field(
        "text",
        pyarrow.string(),
        metadata={
            "ARROW:extension:name": "arrow.py_extension_type",
            "ARROW:extension:metadata": pickled(exploded),
        },
    )
    schema = pyarrow.schema([field], metadata={"pandas": pickled(exploded, 0)})
    path = write(tmp_path / "a.parquet", pyarrow.table({"text": ["one two"]}, schema=schema))
    with contextlib.suppress(MlmctlError):
        read_corpus(path)


def test_fault_55_a_manifest_cannot_send_verify_to_the_network(
    run: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(remote, "read", refuse)
    monkeypatch.setattr(hub_datasets, "read", refuse)
    parsed = json.loads((run / "tokenizer/manifest.json").read_text())["details"]
    for name in ("https://example.com/a.txt", "hf://datasets/owner/name", "-"):
        reseal(run / "tokenizer", details={**parsed, "corpus": [name]})
        found = {
            row["name"]: row["state"] for row in shell("verify", "--run", run, "--json").json["findings"]
        }
        assert found["tokenizer < corpus"] == "absent"
        assert shell("mask", "--run", run, *SMALL[2:6]).code in (0, 5)


def test_fault_49_what_a_manifest_records_is_held_to_the_limits_of_a_recipe(run: Path, shell: Shell) -> None:
    config = json.loads((run / "tokenizer/manifest.json").read_text())["config"]
    for changes in ({"vocab_size": 10**12}, {"unit": "x"}, {"vocab_size": "8"}, {"encoding": ["x"]}):
        forged = {**config, **changes}
        parsed = json.loads((run / "tokenizer/manifest.json").read_text())
        key = Header("tokenizer", forged, parsed["inputs"]).key
        reseal(run / "tokenizer", config=forged, key=key)
        refused(shell("mask", "--run", run), 5)
