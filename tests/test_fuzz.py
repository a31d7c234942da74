"""Whatever is in a file, reading it ends well or with one of our errors: no traceback, no hang.

A few examples of each on every commit; `make fuzz` goes on for ten minutes with other ones.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from attacks import checksummed, reseal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from mlmctl import recipe
from mlmctl.artifact import open_artifact, publish
from mlmctl.cli import main
from mlmctl.commands import stdin
from mlmctl.config import CorpusConfig, FinetuneConfig, Recipe
from mlmctl.engine import configuration, weights
from mlmctl.errors import MlmctlError
from mlmctl.events import silent
from mlmctl.manifest import MANIFEST, Header
from mlmctl.tasks.adapted import TASKS
from mlmctl.text import vocabulary
from mlmctl.text.blocks import SPLITS, Blocks
from mlmctl.text.corpus import resolve
from mlmctl.text.documents import Documents
from mlmctl.text.npy import open_array
from mlmctl.text.policy import Policy

FEW = 12
is_short = settings.default is not None and settings.default.max_examples <= 100
fuzz = settings(
    max_examples=FEW if is_short else settings.default.max_examples,
    suppress_health_check=list(HealthCheck),
)
LONGEST = 5.0
"""Seconds of CPU: files here have some kilobytes."""


def sound(read: Callable[[], object]) -> None:
    """Run it: MlmctlError in one line, or no error."""
    start = time.process_time()
    try:
        read()
    except MlmctlError as error:
        refusal = error
    else:
        refusal = None
    if refusal is not None:
        assert "\n" not in refusal.message
        assert refusal.exit_code in (2, 3, 4, 5, 6)
    assert time.process_time() - start < LONGEST


class Files:
    """One folder for all examples of all tests: what hypothesis and pytest's folders do not go well with."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="fuzz-")
        self.path = Path(self._folder.name)

    def write(self, name: str, content: bytes) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path


FILES = Files()

odd_numbers = st.sampled_from([0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**400, 1e308, 5e-324, -0.0, 1.5])
words = st.sampled_from(
    ["", "a", "text", "label", "\ud800", "\0", "é", "🙂", "\u202e", "x" * 5000, "[MASK]", "1.0", "True"]
)
leaves = st.none() | st.booleans() | odd_numbers | words | st.text(max_size=20)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(words | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


def altered(sample: Any) -> st.SearchStrategy[Any]:
    """The sample with some of its values replaced by odd ones, keys taken away and odd ones put in."""
    if isinstance(sample, dict):
        kept = {key: st.one_of(st.just(value), altered(value), values) for key, value in sample.items()}
        whole = st.fixed_dictionaries({}, optional=kept)
        return st.one_of(
            whole,
            st.builds(lambda a, b: {**sample, **a, **b}, whole, st.dictionaries(words, values, max_size=1)),
        )
    if isinstance(sample, list) and sample:
        return st.lists(st.one_of(st.sampled_from(sample), altered(sample[0]), values), max_size=4)
    return values


@st.composite
def broken(draw: st.DrawFn, sample: bytes) -> bytes:
    """The bytes with a few bits flipped, pieces cut out, doubled or put in."""
    content = bytearray(sample)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        size = draw(st.sampled_from([1, 2, 4, 8, 64, 1000]))
        match draw(st.integers(0, 4)):
            case 0 if content:
                content[at] ^= 1 << draw(st.integers(0, 7))
            case 1:
                del content[at : at + size]
            case 2:
                content[at:at] = content[at : at + size] * draw(st.integers(1, 3))
            case 3:
                content[at : at + size] = draw(st.binary(max_size=16))
            case _:
                content[at : at + 4] = draw(
                    st.sampled_from([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"])
                )
    return bytes(content)


# recipes

TABLES = {table: list(recipe._table_fields(table)) for table in Recipe.model_fields}
keys = st.sampled_from([(table, key) for table, names in TABLES.items() for key in [*names, "nothing"]])
toml_values = st.sampled_from(
    ["1", "-1", "1e99", "nan", "inf", "true", "''", "'x'", "[]", "['a']", "[[[]]]", "{}", "{a = {}}",
     "1979-05-27", "0x" + "f" * 5000, "9" * 5000,
     "{" + "a." * 40 + "b = 1}", "'10m'",
     "'0s'", "'99999d'", "0.5", "1_000", '"\\u0000"', "['" + "a" * 500 + "']"]
)  # fmt: skip


@fuzz
@given(st.lists(st.tuples(keys, toml_values), max_size=6), st.booleans())
def test_fault_49_any_recipe(settings_: list[tuple[tuple[str, str], str]], as_flags: bool) -> None:
    lines = "".join(f"[{table}]\n{key} = {value}\n" for (table, key), value in settings_)
    dotted = "".join(f"{table}.{key} = {value}\n" for (table, key), value in settings_)
    for text in (lines, dotted):
        path = FILES.write("r.toml", text.encode())
        sound(lambda path=path: recipe.resolve(str(path), {}, (), {}))
    given_ = [f"{table}.{key}={value}" for (table, key), value in settings_]
    sound(lambda: recipe.resolve(None, {}, given_, {}))
    environment = {f"MLMCTL_{table}_{key}".upper(): value for (table, key), value in settings_}
    sound(lambda: recipe.resolve(None, environment, (), {}))


@fuzz
@given(broken((recipe.folder() / f"{recipe.names()[0]}.toml").read_bytes()) | st.binary(max_size=200))
def test_fault_49_any_bytes_as_a_recipe(content: bytes) -> None:
    path = FILES.write("r.toml", content)
    sound(lambda: recipe.resolve(str(path), {}, (), {}))
    sound(lambda: recipe.summary(path)) if _is_text(content) else None


# labelled data

ROWS: dict[str, list[dict[str, Any]]] = {
    "sentiment": [{"text": "a fine film", "label": "good"}, {"text": "a dull film", "label": "bad"}],
    "tags": [{"tokens": ["Anna", "runs"], "tags": ["B-PER", "O"]}, {"tokens": ["x"], "tags": ["O"]}],
    "qa": [
        {"id": "1", "question": "who runs?", "context": "Anna runs", "answers": {"text": ["Anna"]}},
        {"question": "who?", "context": "Anna runs", "answers": {"text": ["Anna"], "answer_start": [0]}},
    ],
}  # fmt: skip
SQUAD: dict[str, Any] = {
    "version": "2.0",
    "data": [
        {
            "title": "t",
            "paragraphs": [
                {
                    "context": "Anna runs to the river",
                    "qas": [
                        {"id": "1", "question": "who?", "answers": [{"text": "Anna", "answer_start": 0}]},
                        {"id": "2", "question": "when?", "answers": [], "is_impossible": True},
                    ],
                }
            ],
        }
    ],
}
CONLL = b"-DOCSTART- O\n\nAnna B-PER\nruns O\n\nto O\nRome B-LOC\n\n"


def read_as(task: str, path: Path) -> None:
    for on_bad in ("fail", "skip"):
        sound(lambda on_bad=on_bad: TASKS[task].read(path, FinetuneConfig(task=task, on_bad=on_bad), silent))


@pytest.mark.parametrize("task", ROWS)
@fuzz
@given(data=st.data())
def test_fault_41_any_rows(task: str, data: st.DataObject) -> None:
    sample = ROWS[task]
    rows = data.draw(st.lists(st.one_of(st.sampled_from(sample), altered(sample[0]), values), max_size=5))
    read_as(task, FILES.write("a.jsonl", b"\n".join(map(as_json, rows))))
    whole = b"\n".join(map(as_json, sample))
    read_as(task, FILES.write("b.jsonl", data.draw(broken(whole))))
    sound(lambda: list(stdin.rows([as_json(row).decode("utf-8", "replace") for row in rows], ("text",))))


cells = words.filter(lambda word: "\ud800" not in word) | st.text(alphabet="a\",\n\r\t'\\;é ", max_size=12)


@fuzz
@given(st.lists(st.lists(cells, max_size=4), max_size=5), st.sampled_from([".csv", ".tsv"]), st.data())
def test_fault_41_any_table(table: list[list[str]], suffix: str, data: st.DataObject) -> None:
    written = io.StringIO()
    csv.writer(written, delimiter="," if suffix == ".csv" else "\t").writerows([["text", "label"], *table])
    read_as("sentiment", FILES.write(f"a{suffix}", written.getvalue().encode()))
    read_as("sentiment", FILES.write(f"b{suffix}", data.draw(broken(written.getvalue().encode()))))


@fuzz
@given(altered(SQUAD) | values, broken(as_json(SQUAD)))
def test_fault_40_any_squad(content: Any, raw: bytes) -> None:
    read_as("qa", FILES.write("a.json", as_json(content)))
    read_as("qa", FILES.write("b.json", raw))


@fuzz
@given(broken(CONLL) | st.text(alphabet="ABIOEL-PER \t\n\r.", max_size=80).map(str.encode))
def test_fault_41_any_columns(content: bytes) -> None:
    read_as("tags", FILES.write("a.conll", content))


# text


@fuzz
@given(
    st.binary(max_size=300)
    | st.text(alphabet="ab \n\r\t\0\x85\u2028\ufeffé🙂", max_size=200).map(str.encode),
    st.sampled_from(
        [
            "utf-8",
            "latin-1",
            "utf-16",
            "utf-16-le",
            "shift_jis",
            "rot13",
            "idna",
            "punycode",
            "base64",
            "utf-7",
            "x",
        ]
    ),
    st.sampled_from(["strict", "replace"]),
    st.sampled_from(["auto", "line", "paragraph", "file"]),
    st.sampled_from([".txt", ".txt.gz", ".jsonl", ".csv", ".txt.bz2", ".txt.xz", ".txt.zst"]),
    st.booleans(),
)
def test_fault_27_any_text(
    content: bytes, encoding: str, errors: Any, unit: Any, suffix: str, packed: bool
) -> None:
    if packed and suffix.endswith(".gz"):
        content = gzip.compress(content)
    path = FILES.write(f"a{suffix}", content)
    config = CorpusConfig(encoding=encoding, encoding_errors=errors, unit=unit)
    sound(lambda: list(Documents(resolve([str(path)], FILES.path / "spool", silent), config, silent, "x")))


@cache
def table_of_text() -> bytes:
    content = io.BytesIO()
    columns = {"text": [f"text {n}" for n in range(50)], "label": ["a", "b"] * 25, "words": [["x", "y"]] * 50}
    parquet.write_table(pyarrow.table(columns), content, compression="zstd", row_group_size=20)
    return content.getvalue()


@fuzz
@given(st.data())
def test_fault_51_any_parquet(data: st.DataObject) -> None:
    path = FILES.write("a.parquet", data.draw(broken(table_of_text())))
    sound(lambda: list(Documents(resolve([str(path)], FILES.path, silent), CorpusConfig(), silent, "x")))
    read_as("sentiment", path)


# artifacts


@cache
def artifact() -> Path:
    with publish(FILES.path / "artifact", Header("tokenizer", {"a": 1}, {"corpus": "x"})) as draft:
        (draft.path / "x.json").write_text("{}")
        (draft.path / "sub").mkdir()
        (draft.path / "sub/y").write_text("1")
        draft.metrics["loss"] = 1.0
    return FILES.path / "artifact"


@fuzz
@given(st.data())
def test_fault_20_any_manifest(data: st.DataObject) -> None:
    path = artifact() / MANIFEST
    kept = path.read_bytes()
    fields = {name: value for name, value in json.loads(kept).items() if name != "checksum"}
    try:
        path.write_bytes(data.draw(broken(kept)))
        sound(lambda: open_artifact(artifact()))
        forged = data.draw(altered(fields))
        try:
            path.write_bytes(checksummed(forged))
        except (ValueError, TypeError):  # NaN, or no JSON
            path.write_bytes(as_json(forged))
        sound(lambda: open_artifact(artifact()))
        outputs = data.draw(altered({**fields["outputs"], "../x": {"size": 1, "sha256": ""}}))
        path.write_bytes(kept)
        with contextlib.suppress(AttributeError, TypeError, ValueError):
            reseal(artifact(), outputs=outputs) if isinstance(outputs, dict) else None
        sound(lambda: open_artifact(artifact()))
    finally:
        path.write_bytes(kept)


def _array(array: Any) -> bytes:
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    return content.getvalue()


BLOCKS = {
    "vocab_size": 9,
    "block_length": 8,
    "num_train_blocks": 2,
    "num_valid_blocks": 2,
    "special_ids": {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4, "others": []},
    "dtype": "uint16",
}
POLICY = {
    "rate_start": 0.3,
    "rate_end": 0.15,
    "unit": "token",
    "span_length": 3.8,
    "seed": 0,
    "num_frozen_blocks": 2,
}
ARRAYS = {
    "": np.zeros((2, 8), np.uint16),
    ".words": np.zeros((2, 1), np.uint8),
    ".maskable": np.zeros(2, np.uint16),
}


@fuzz
@given(st.data())
def test_fault_20_any_blocks(data: st.DataObject) -> None:
    for split in SPLITS:
        for kind, array in ARRAYS.items():
            FILES.write(f"blocks/{split}{kind}.npy", _array(array))
    FILES.write("blocks/blocks.json", as_json(BLOCKS))
    Blocks.open(FILES.path / "blocks", "train")
    kind, array = data.draw(st.sampled_from(sorted(ARRAYS.items())))
    path = FILES.write(f"blocks/train{kind}.npy", data.draw(broken(_array(array))))
    sound(lambda: open_array(path))
    sound(lambda: open_array(path, memory_mapped=False))
    sound(lambda: Blocks.open(FILES.path / "blocks", "train"))
    FILES.write(f"blocks/train{kind}.npy", _array(array))
    FILES.write("blocks/blocks.json", as_json(data.draw(altered(BLOCKS))))
    sound(lambda: Blocks.open(FILES.path / "blocks", "train"))
    FILES.write("blocks/policy.json", as_json(data.draw(altered(POLICY))))
    sound(lambda: Policy.read(FILES.path / "blocks"))


@cache
def stranger() -> Path:
    from stock import make_stock, make_tokenizer

    folder = FILES.path / "stranger"
    make_stock(folder)
    make_tokenizer(folder, ["the", "quiet", "river"])
    return folder


@fuzz
@given(st.data())
def test_fault_48_any_weights(data: st.DataObject) -> None:
    content = (stranger() / "model.safetensors").read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    forged = as_json(data.draw(altered(dict(list(header.items())[:4]))))
    for number, raw in enumerate(
        (
            data.draw(broken(content[: 8 + size])) + content[8 + size :],
            len(forged).to_bytes(8, "little") + forged + content[8 + size :],
            data.draw(broken(content)),
        )
    ):
        FILES.write(f"weights{number}/model.safetensors", raw)
        sound(lambda n=number: _all_tensors(FILES.path / f"weights{n}"))


def _all_tensors(folder: Path) -> None:
    stored = weights.stored(folder)
    list(weights.read(stored, {name: name for name in stored}))


@fuzz
@given(st.data())
def test_fault_52_any_configuration(data: st.DataObject) -> None:
    fields = json.loads((stranger() / "config.json").read_text())
    FILES.write("config/config.json", as_json(data.draw(altered(fields))))
    sound(lambda: configuration.read(FILES.path / "config"))
    FILES.write("config/config.json", data.draw(broken(as_json(fields))))
    sound(lambda: configuration.num_positions(FILES.path / "config"))


@pytest.mark.filterwarnings("ignore")
@fuzz
@given(st.data())
def test_fault_52_any_tokenizer(data: st.DataObject) -> None:
    parts = json.loads((stranger() / "tokenizer.json").read_text())
    FILES.write("tokenizer/tokenizer.json", as_json(data.draw(altered(parts))))
    sound(lambda: vocabulary.fitted(FILES.path / "tokenizer"))
    FILES.write("tokenizer/tokenizer.json", data.draw(broken(as_json(parts))))
    sound(lambda: vocabulary.load(FILES.path / "tokenizer"))


# the command line

COMMANDS = (
    "status", "verify", "compare", "tokenizer", "mask", "pretrain", "finetune", "evaluate", "run", "fill",
    "predict", "embed", "score", "recipe", "doctor",
)  # fmt: skip
arguments = st.sampled_from(
    [*COMMANDS, "show", "check", "list", "--json", "--dry-run", "--run", "--set", "--recipe", "--data",
     "--model", "--task", "qa", "x", "\0", "", "-", "--", "--force", "mask", "pretrain.steps=1", "=",
     "é\udcff", "../..", "--name", "--steps", "-1", "--budget", "1s", "9" * 5000, "nan", "--fail-under",
     "accuracy=0.5",
     "--version", "--help"]
)  # fmt: skip


@fuzz
@given(st.sampled_from(COMMANDS), st.lists(arguments, max_size=5))
def test_any_command_line(command: str, others: list[str]) -> None:
    """Only plans and looks: every command that would work is told to say what it would do."""
    given_ = [command, *others]
    planned = command in ("tokenizer", "mask", "pretrain", "finetune", "evaluate", "run")
    given_ += ["--dry-run"] if planned else []
    with pytest.MonkeyPatch.context() as patch:
        FILES.write("cwd/here", b"")
        patch.chdir(FILES.path / "cwd")
        patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"")))
        patch.setattr("mlmctl.commands.doctor.run", lambda *given: [])
        with pytest.raises(SystemExit) as caught:
            main(given_)
        assert caught.value.code in (0, 2, 3, 4, 5, 6), given_


def _is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True
