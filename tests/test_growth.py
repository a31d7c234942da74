"""Extending a vocabulary: merging goes on where it stopped, and no id changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import Outcome, Shell
from tokenizers import Tokenizer, models
from transformers import AutoTokenizer

from mlmctl import samples
from mlmctl.errors import ArtifactError
from mlmctl.text import extension, growth, vocabulary
from mlmctl.text.words import WordCounter

TEXT = samples.path("corpus.txt").read_text(encoding="utf-8")
DOMAIN = ["the catheter was flushed", "catheterization of the catheters", "heparin, heparinized"] * 20


def counted(tokenizer: Tokenizer, texts: list[str]) -> WordCounter:
    counter = WordCounter(tokenizer)
    counter.count(texts)
    return counter


def trained(size: int, kind: vocabulary.Kind) -> Tokenizer:
    counter = counted(vocabulary.untrained(cased=False, kind=kind), [TEXT])
    return vocabulary.train(counter.words, size, cased=False, kind=kind)


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "domain.txt").write_text("\n\n".join(DOMAIN))
    vocabulary.save(trained(500, "wordpiece").to_str(), tmp_path)
    return Shell(capsys)


def test_a_byte_level_vocabulary_grown_on_its_own_text_is_the_larger_one_trained_at_once() -> None:
    small, large = trained(400, "bpe"), trained(600, "bpe")
    grown = growth.grow(small.to_str(), counted(small, [TEXT]).words, 200, "x")
    assert json.loads(grown.content)["model"] == json.loads(large.to_str())["model"]
    assert sorted(grown.pieces) == list(range(400, 600))


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_new_pieces_are_what_they_were_made_of_and_old_ids_stay(kind: vocabulary.Kind) -> None:
    base = trained(500, kind)
    counts = counted(base, DOMAIN).words
    grown = growth.grow(base.to_str(), counts, 40, "x")
    assert growth.grow(base.to_str(), dict(reversed(counts.items())), 40, "x") == grown
    larger = Tokenizer.from_str(grown.content)
    before, after = base.get_vocab(), larger.get_vocab()
    assert before.items() < after.items()
    assert sorted(grown.pieces) == list(range(500, len(after)))
    for new, ids in grown.pieces.items():
        pieces = [base.id_to_token(i) for i in ids]
        joined = pieces[0] + "".join(piece.removeprefix("##") for piece in pieces[1:])
        assert larger.id_to_token(new) == joined
    text = "catheters and heparin"
    assert len(larger.encode(text)) < len(base.encode(text))
    assert larger.decode(larger.encode(text).ids) == text
    plain = "the weather"  # holds nothing that is new
    assert larger.encode(plain).ids == base.encode(plain).ids


def test_no_merge_gives_a_special_token() -> None:
    base = trained(400, "bpe")
    grown = growth.grow(base.to_str(), {"[MASK]": 1000}, 10, "x")
    larger = Tokenizer.from_str(grown.content)
    larger.encode_special_tokens = True
    assert larger.token_to_id("[MASK]") == base.token_to_id("[MASK]")
    assert base.token_to_id("[MASK]") not in larger.encode("[MASK]", add_special_tokens=False).ids


def test_special_tokens_beside_the_vocabulary_keep_their_ids() -> None:
    base = Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]))
    base.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    grown = growth.grow(base.to_str(), {"abab": 10}, 1, "x")
    assert grown.pieces == {8: [2, 2]}
    assert Tokenizer.from_str(grown.content).token_to_id("[MASK]") == 7


def test_another_kind_is_refused() -> None:
    unigram = Tokenizer(models.Unigram([("<unk>", 0.0), ("a", -1.0)], 0, byte_fallback=False))
    with pytest.raises(ArtifactError, match="Unigram"):
        growth.grow(unigram.to_str(), {"aa": 5}, 1, "x")


def test_the_stage_records_what_new_entries_were_made_of(shell: Shell, tmp_path: Path) -> None:
    def tokenizer(*arguments: str) -> Outcome:
        return shell("tokenizer", *arguments, "--run", "run", "--json")

    made = tokenizer("domain.txt", "--tokenizer", str(tmp_path), "--extend-vocab", "12").json
    metrics = made["metrics"]
    assert (metrics["vocab_size"], metrics["num_new"]) == (512, 12)
    assert metrics["tokens_per_word"] < metrics["tokens_per_word_before"]
    assert set(extension.between(tmp_path, Path("run/tokenizer"))) == set(range(500, 512))
    assert len(AutoTokenizer.from_pretrained("run/tokenizer")) == 512
    assert tokenizer().json["stages"][0]["status"] == "fresh"  # nothing is said again
    assert tokenizer("--extend-vocab", "5").json["metrics"]["vocab_size"] == 505
    refused = shell("tokenizer", "domain.txt", "--extend-vocab", "9", "--run", "other", "--json")
    assert refused.code == 2
    assert refused.json["error"]["code"] == "usage.extend"


def test_fault_31_fewer_entries_than_asked_for_are_told(shell: Shell, tmp_path: Path) -> None:
    made = shell("tokenizer", "domain.txt", "--tokenizer", tmp_path, "--extend-vocab", "5000", "--json").json
    assert 0 < made["metrics"]["num_new"] < 5000
    assert "not the 5,000 asked for" in made["warnings"][0]
