"""From a corpus to blocks and policy: identical after a kill, complete, never without a split."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from unpacked import unpack
from vocabularies import KINDS, TEXT, trained

from mlmctl.config import CorpusConfig, MaskConfig, TokenizerConfig
from mlmctl.errors import ArtifactError, DataError, ResourceError
from mlmctl.events import Event, Note, silent
from mlmctl.stages import mask, tokenizer
from mlmctl.stages.mask import pack
from mlmctl.stages.stage import Stage
from mlmctl.storage import folder_size
from mlmctl.text import parts, policy, showing, splitting, vocabulary
from mlmctl.text.blocks import Blocks
from mlmctl.text.corpus import resolve
from mlmctl.text.masking import IGNORED
from mlmctl.text.specials import NAMES
from mlmctl.text.vocabulary import Kind

WORDS = "the a film story actor scene good bad great dull was is had and of in with very more".split()  # noqa: SIM905
CONFIG = MaskConfig(block_length=16, valid_fraction=0.1)


class World:
    """A run folder in a temporary place, and the stages run in it by hand."""

    def __init__(self, root: Path, text: str, vocab_size: int = 100) -> None:
        self.run, self.events = root / "run", list[Event]()
        root.mkdir(exist_ok=True)
        (root / "corpus.txt").write_text(text)
        self.sources = resolve([str(root / "corpus.txt")], root / "spool", self.events.append)
        self.vocab_size = vocab_size

    def stage(self, name: str, *reads: str) -> Stage:
        out, work = self.run / name, self.run / ".work" / name
        out.mkdir(parents=True, exist_ok=True)
        work.mkdir(parents=True, exist_ok=True)
        inputs = {read: self.run / read for read in reads}
        return Stage(name, inputs, out, work, self.events.append, sources=self.sources)

    def tokenizer(self, **fields: Any) -> dict[str, Any]:
        config = TokenizerConfig(vocab_size=self.vocab_size, **fields)
        return tokenizer.run(config, CorpusConfig(), self.stage("tokenizer"))

    def blocks(self, config: MaskConfig = CONFIG) -> dict[str, Any]:
        return mask.run_blocks(config, CorpusConfig(), self.stage("mask/blocks", "tokenizer"))

    def policy(self, config: MaskConfig = CONFIG) -> dict[str, Any]:
        return mask.run_policy(config, self.stage("mask/policy", "tokenizer", "mask/blocks"))

    def num_encoded(self) -> int:
        """Documents tokenized by the last run that found others."""
        notes = [event.message for event in self.events if isinstance(event, Note)]
        found = [note for note in notes if "were tokenized" in note]
        return int(found[-1].split()[0].replace(",", ""))

    def warnings(self) -> str:
        return " ".join(e.message for e in self.events if isinstance(e, Note) and e.level == "warning")

    def bytes_of(self, name: str) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (self.run / name).iterdir()}


def some_text(num_documents: int, seed: int = 0) -> str:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 40, num_documents)
    return "\n".join(f"{i} " + " ".join(rng.choice(WORDS, n)) for i, n in enumerate(lengths)) + "\n"


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path, some_text(200))
    made.tokenizer()
    return made


def test_every_token_of_the_corpus_is_in_the_blocks(world: World, tmp_path: Path) -> None:
    metrics = world.blocks()
    train, valid = (Blocks.open(world.run / "mask/blocks", split) for split in ("train", "valid"))
    assert metrics["num_train_blocks"] == train.num_blocks
    assert metrics["num_documents"] == 200
    tokenizer_ = vocabulary.load(world.run / "tokenizer")
    lines = (tmp_path / "corpus.txt").read_text().splitlines()
    expected = {tuple(tokenizer_.encode(line, add_special_tokens=False).ids) for line in lines}
    total = sum(map(len, expected))
    assert metrics["num_train_tokens"] + metrics["num_valid_tokens"] == total
    flat = np.concatenate([np.concatenate(list(unpack(b.ids, b.specials))) for b in (train, valid)])
    assert sorted(flat.tolist()) == sorted(i for ids in expected for i in ids)
    numbers = np.arange(train.num_blocks)
    assert np.array_equal(train.maskable, train.specials.is_ordinary[train.rows(numbers)].sum(1))
    assert not train.word_starts(numbers)[~train.specials.is_ordinary[train.rows(numbers)]].any()
    in_text = np.bincount(
        train.ids[train.specials.is_ordinary[train.ids]],
        minlength=len(train.unigrams(world.run / "mask/blocks")),
    )
    assert np.array_equal(train.unigrams(world.run / "mask/blocks"), in_text)
    assert train.ids.dtype == np.uint16
    held_out = metrics["num_valid_documents"]
    assert 5 < held_out < 45


def dying(function: Callable[..., Any], after: int) -> Callable[..., Any]:
    """The function, which ends the program at the call after so many."""
    num_calls = 0

    def call(*arguments: Any) -> Any:
        nonlocal num_calls
        num_calls += 1
        if num_calls > after:
            raise KeyboardInterrupt
        return function(*arguments)

    return call


def test_fault_02_blocks_are_identical_after_a_kill(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART_CHARACTERS", 1000)
    world.blocks()
    whole = world.bytes_of("mask/blocks")
    made = len(np.load(world.run / "mask/blocks/parts.npy"))
    assert made > 5
    assert not list((world.run / ".work/mask/blocks/parts").iterdir())
    for target, name, after in ((parts, "_write", 3), (pack, "BlockWriter", 1)):
        killed = World(world.run.parent / f"killed-{name}", some_text(200))
        killed.tokenizer()
        with monkeypatch.context() as patch:
            patch.setattr(target, name, dying(getattr(target, name), after))
            with pytest.raises(KeyboardInterrupt):
                killed.blocks()
        for path in (killed.run / "mask/blocks").iterdir():
            path.unlink()
        kept = len(list((killed.run / ".work").rglob("parts/*")))
        assert kept == (3 if name == "_write" else made)
        killed.blocks()
        assert killed.bytes_of("mask/blocks") == whole
        assert killed.num_encoded() == (
            0 if name == "BlockWriter" else pytest.approx(200 * (1 - 3 / made), abs=30)
        )


def test_fault_33_duplicates_are_removed_and_told(tmp_path: Path) -> None:
    lines = some_text(100).splitlines(keepends=True)
    world = World(tmp_path, "".join(lines + lines[:20]))
    world.tokenizer()
    metrics = world.blocks()
    assert metrics["num_duplicates"] == 20
    assert metrics["num_train_documents"] + metrics["num_valid_documents"] == 100
    assert "20 of 120 documents (16.7%) are duplicates" in world.warnings()
    few = World(tmp_path / "few", "".join(lines + lines[:5]))
    few.tokenizer()
    few.blocks()
    assert "duplicates" not in few.warnings()
    assert "5 of 105" in str(few.events)


def test_fault_33_near_duplicates_are_removed_on_request_and_told(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, 60)) for _ in range(40)]
    edited = [f"{text} and more" for text in texts[:10]]
    world = World(tmp_path, "\n".join(texts + edited + texts[:3]) + "\n")
    world.tokenizer()
    metrics = world.blocks(CONFIG.model_copy(update={"near_duplicates": 0.8}))
    assert (metrics["num_duplicates"], metrics["num_near_duplicates"]) == (3, 10)
    assert metrics["num_train_documents"] + metrics["num_valid_documents"] == 40
    assert "10 of 53 documents (18.9%) are near-duplicates (similarity 0.8 or more)" in world.warnings()
    other = World(tmp_path / "off", (tmp_path / "corpus.txt").read_text())
    other.tokenizer()
    metrics = other.blocks()
    assert metrics["num_train_documents"] + metrics["num_valid_documents"] == 50
    assert not list((other.run / ".work").rglob("signatures.npy"))


def test_what_filters_drop_is_in_the_blocks_facts(world: World) -> None:
    corpus = CorpusConfig(min_words=10)
    metrics = mask.run_blocks(CONFIG, corpus, world.stage("mask/blocks", "tokenizer"))
    num_filtered = metrics["num_filtered"]["min_words"]
    assert 20 < num_filtered < 80
    assert metrics["num_documents"] == 200 - num_filtered
    recorded = json.loads((world.run / "mask/blocks/blocks.json").read_text())
    assert recorded["num_filtered"] == {"min_words": num_filtered}


def test_fault_32_shorter_than_a_block_is_padded(tmp_path: Path) -> None:
    world = World(tmp_path, "the film was very good and the story was great with more of the actor in it\n")
    world.tokenizer()
    metrics = world.blocks(MaskConfig(block_length=128))
    assert (metrics["num_train_blocks"], metrics["num_valid_blocks"]) == (1, 1)
    assert metrics["num_valid_tokens"] >= 4
    assert metrics["num_train_tokens"] > metrics["num_valid_tokens"]
    world.policy(MaskConfig(block_length=128))
    labels = np.load(world.run / "mask/policy/valid.labels.npy")
    assert (labels != IGNORED).sum() == max(1, round(0.15 * metrics["num_valid_tokens"]))


def test_fault_32_too_short_is_refused_with_the_numbers(tmp_path: Path) -> None:
    world = World(tmp_path, "ab ab ab\n")
    world.tokenizer()
    with pytest.raises(DataError, match=r"3 tokens.*16") as caught:
        world.blocks()
    assert caught.value.code == "data.too-short"


def test_fault_30_nothing_left_after_normalisation(tmp_path: Path) -> None:
    world = World(tmp_path, "ab ab ab\n")
    world.tokenizer()
    (tmp_path / "corpus.txt").write_text("\x01\x02\n\u200b\n")
    with pytest.raises(DataError) as caught:
        world.blocks()
    assert caught.value.code == "data.empty"


def test_fault_12_disk_space_is_checked_first(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.sources = [replace(world.sources[0], size=10**15)]
    with pytest.raises(ResourceError):
        world.blocks()


@pytest.mark.parametrize("case", ["words", "near", "vocabulary", "rows", "packed"])
def test_fault_12_the_disk_that_is_asked_for_is_what_is_needed(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if case == "near":
        pytest.importorskip("rensa")
    if case == "vocabulary":
        for module in ("mlmctl.text.parts", "mlmctl.stages.mask.blocks"):
            monkeypatch.setattr(f"{module}.id_dtype", lambda vocab_size: np.dtype(np.uint32))
    lines = [f"{word} {number}" if case != "vocabulary" else f"{word} " * 300 + str(number)
             for number, word in enumerate(WORDS * 800)]  # fmt: skip
    world = World(tmp_path, "\n".join(lines))
    world.tokenizer()
    if case == "rows":
        rows = (json.dumps({"text": line, "other": "x" * 400}) for line in lines)
        (tmp_path / "corpus.jsonl").write_text("\n".join(rows))
        world.sources = resolve([str(tmp_path / "corpus.jsonl")], tmp_path / "spool", silent)
    if case == "packed":  # to less than a twentieth
        (tmp_path / "corpus.txt.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
        world.sources = resolve([str(tmp_path / "corpus.txt.gz")], tmp_path / "spool", silent)
    asked, found = [], []
    monkeypatch.setattr(
        "mlmctl.stages.mask.blocks.check_space", lambda folder, needed, held: asked.append(needed)
    )

    def splits(*arguments: Any) -> Any:
        found.append(folder_size(world.run / ".work"))
        return decide(*arguments)

    decide = splitting.decide
    monkeypatch.setattr(splitting, "decide", splits)
    world.blocks(CONFIG.model_copy(update={"near_duplicates": 0.8 if case == "near" else 0.0}))
    assert found[0] < asked[0] - 2**20 < (9 if case == "rows" else 3) * found[0]


def test_fault_31_the_reachable_size_is_told(tmp_path: Path) -> None:
    world = World(tmp_path, some_text(50), vocab_size=5000)
    metrics = world.tokenizer()
    assert f"a vocabulary of {metrics['vocab_size']:,}, not the 5,000 asked" in world.warnings()
    assert metrics["unknown_share"] == 0
    assert metrics["tokens_per_word"] >= 1


def test_unknown_tokens_are_measured(tmp_path: Path) -> None:
    world = World(tmp_path, some_text(50))
    world.tokenizer()
    (tmp_path / "corpus.txt").write_text("Ω " * 30 + "the film " * 35)
    metrics = world.blocks()
    assert metrics["unknown_share"] == 0.3
    train = Blocks.open(world.run / "mask/blocks", "train")
    assert train.unigrams(world.run / "mask/blocks")[train.specials.unk] == 0


def test_a_pinned_tokenizer_is_checked_and_taken_as_it_is(world: World, tmp_path: Path) -> None:
    pinned = World(tmp_path / "pinned", "text")
    pinned.sources = []
    (world.run / "tokenizer" / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": "x.Y"}}')
    metrics = pinned.tokenizer(path=str(world.run / "tokenizer"))
    ours, theirs = pinned.bytes_of("tokenizer"), world.bytes_of("tokenizer")
    assert ours["tokenizer.json"] == theirs["tokenizer.json"]
    assert b"auto_map" not in ours["tokenizer_config.json"]
    assert "corpus.json" not in ours
    assert metrics["vocab_size"] == 100


def test_the_policy_freezes_fifteen_percent(world: World) -> None:
    world.blocks()
    metrics = world.policy()
    valid = Blocks.open(world.run / "mask/blocks", "valid")
    inputs = np.load(world.run / "mask/policy/valid.input_ids.npy")
    labels = np.load(world.run / "mask/policy/valid.labels.npy")
    assert (inputs.dtype, labels.dtype) == (valid.ids.dtype, np.int32)
    assert inputs.shape == labels.shape == (valid.num_blocks, 16)
    before = np.where(labels == IGNORED, inputs, labels)
    assert sorted(map(tuple, before.tolist())) == sorted(map(tuple, valid.ids.tolist()))
    counts = valid.specials.is_ordinary[before].sum(1)
    assert (labels != IGNORED).sum(1).tolist() == [max(1, round(0.15 * n)) for n in counts.tolist()]
    assert metrics["num_frozen_labels"] == (labels != IGNORED).sum()
    audit = json.loads((world.run / "mask/policy/audit.json").read_text())
    assert audit["train"]["masked_share"] == pytest.approx(0.3, abs=0.03)
    assert sum(audit["valid"]["kinds"].values()) == pytest.approx(1, abs=1e-5)
    first = world.bytes_of("mask/policy")
    shutil.rmtree(world.run / "mask/policy")
    world.policy()
    assert world.bytes_of("mask/policy") == first
    shutil.rmtree(world.run / "mask/policy")
    world.policy(MaskConfig(num_valid_blocks=3, seed=1))
    assert np.load(world.run / "mask/policy/valid.labels.npy").shape == (3, 16)


def test_the_frozen_masks_are_the_same_however_many_are_drawn_at_once_and_a_sample_is_audited(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.blocks()
    metrics = world.policy()
    whole = world.bytes_of("mask/policy")
    assert metrics["num_frozen_blocks"] > 5
    shutil.rmtree(world.run / "mask/policy")
    monkeypatch.setattr("mlmctl.stages.mask.policy._TOKENS_AT_ONCE", 3 * 16)
    monkeypatch.setattr("mlmctl.stages.mask.policy._AUDITED_TOKENS", 4 * 16)
    largest = 0

    def drawn(blocks: Blocks, numbers: NDArray[np.int64], *rest: Any) -> policy.Sample:
        nonlocal largest
        largest = max(largest, len(numbers))
        return sample(blocks, numbers, *rest)

    sample = policy.sample
    monkeypatch.setattr(policy, "sample", drawn)
    assert world.policy()["num_frozen_labels"] == metrics["num_frozen_labels"]
    assert largest == 4
    audit = json.loads((world.run / "mask/policy/audit.json").read_text())
    assert [audit[split]["num_blocks"] for split in ("train", "valid")] == [4, 4]
    assert {**world.bytes_of("mask/policy"), "audit.json": b""} == {**whole, "audit.json": b""}


def test_preview_and_export(world: World, tmp_path: Path) -> None:
    metrics = world.blocks()
    world.policy()
    rows = list(showing.preview(world.run / "tokenizer", world.run / "mask", 4))
    assert len(rows) == 4
    text = "".join(part for part, _ in rows[0])
    assert text.startswith("[CLS] ")
    assert "[MASK←" in "".join(part for row in rows for part, _ in row)
    count = showing.export(world.run / "mask", tmp_path / "out.jsonl")
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert count == len(lines) == metrics["num_train_blocks"]
    train = Blocks.open(world.run / "mask/blocks", "train")
    for number, line in enumerate(lines):
        example = json.loads(line)
        merged = [
            i if label == IGNORED else label
            for i, label in zip(example["input_ids"], example["labels"], strict=True)
        ]
        row = train.ids[number]
        assert merged == row[row != train.specials.pad].tolist()
    assert not list(tmp_path.glob(".tmp-*"))


def metaspace(texts: list[str]) -> Tokenizer:
    """BPE as SentencePiece has it: a mark for the blank that a word begins with."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=100, special_tokens=list(NAMES.values()), show_progress=False)
    made.train_from_iterator(texts, trainer)
    return made


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "metaspace"])
@pytest.mark.parametrize("unit", ["word", "span"])
def test_words_are_hidden_whole_whatever_the_tokenizer(tmp_path: Path, kind: str, unit: str) -> None:
    text = some_text(200).replace("great", "größer")
    world = World(tmp_path, text, vocab_size=300 if kind == "bpe" else 100)
    if kind == "metaspace":
        (world.run / "tokenizer").mkdir(parents=True)
        vocabulary.save(metaspace(text.splitlines()).to_str(), world.run / "tokenizer")
    else:
        world.tokenizer(type=kind)
    config = MaskConfig(block_length=32, valid_fraction=0.1, unit=unit, span_length=2.0)
    world.blocks(config)
    world.policy(config)
    audits = json.loads((world.run / "mask/policy/audit.json").read_text())
    assert audits["train"]["masked_words"]["share_hidden_whole"] == 1
    assert audits["valid"]["masked_words"]["share_hidden_whole"] < 1
    assert audits["valid"]["masked_units"]["mean_tokens"] == 1
    mean_words = audits["train"]["masked_units"]["mean_words"]
    assert mean_words == 1 if unit == "word" else 1.2 < mean_words < 2
    assert not world.warnings()

    known = {*WORDS, "größer", *map(str, range(200))}
    hidden = []
    for row in showing.preview(world.run / "tokenizer", world.run / "mask", 50):
        line = "".join(part for part, _ in row)
        assert line.startswith("[CLS] ")
        for part, colour in row:
            if colour == showing.COLOURS["mask"]:
                masks, words = part.removeprefix("[").removesuffix("]").split("←")
                hidden += words.split()
                assert len(masks.split()) >= len(words.split())
                assert unit == "span" or len(words.split()) == 1
    # A part of a word is one that a block's border cut, or whose other part was replaced or kept.
    assert sum(word in known for word in hidden) > 0.6 * len(hidden)
    assert "größer" in hidden


@pytest.mark.parametrize("kind", KINDS)
def test_the_text_of_tokens_is_that_of_the_whole(kind: Kind) -> None:
    reader = trained(261 if kind == "bpe" else None, kind=kind)  # a token for each byte and no merges
    specials = vocabulary.special_ids(reader)
    ids = reader.encode(TEXT, add_special_tokens=False).ids
    texts = showing.running_text(reader, [specials.cls, *ids, specials.sep], specials)
    assert "".join(texts[1:-1]).strip() == reader.decode(ids, skip_special_tokens=False)
    assert (texts[0], texts[-1]) == ("[CLS]", " [SEP]")
    assert len(texts) == len(ids) + 2


def test_words_too_long_for_the_rate_are_told(tmp_path: Path) -> None:
    world = World(tmp_path, some_text(100))
    world.tokenizer()
    (tmp_path / "corpus.txt").write_text("\n".join(some_text(60, seed).replace(" ", "") for seed in range(9)))
    config = MaskConfig(block_length=16, unit="word", rate_start=0.15)
    world.blocks(config)
    world.policy(config)
    assert "of the tokens are masked, not 15.0%" in world.warnings()


def test_fault_20_blocks_of_another_shape_are_refused(world: World) -> None:
    world.blocks()
    folder = world.run / "mask/blocks"
    np.save(folder / "train.maskable.npy", np.zeros(3, np.uint16))
    with pytest.raises(ArtifactError, match="do not fit"):
        Blocks.open(folder, "train")
    (folder / "blocks.json").write_text("[")
    with pytest.raises(ArtifactError, match="cannot be read"):
        Blocks.open(folder, "valid")
