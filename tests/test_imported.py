"""Tokenizers that stock transformers saved, and worse ones: imported, brought into form, or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer, BertTokenizerFast, PreTrainedTokenizerFast, RobertaTokenizerFast
from vocabularies import trained

from mlmctl.errors import ArtifactError
from mlmctl.text import imported, pieces, vocabulary, words
from mlmctl.text.encoding import Encoder
from mlmctl.text.specials import NAMES, ROBERTA_NAMES

TEXTS = ["The film was great.", "bad films", "naïve café", "kindly  unkind\nfilm 123"]


def bert(folder: Path) -> None:
    pieces = json.loads(trained().to_str())["model"]["vocab"]
    ordered = ["[PAD]", "[unused0]", *(piece for piece in pieces if not piece.startswith("["))]
    ordered += ["[UNK]", "[CLS]", "[SEP]", "[MASK]"]  # at other places than ours
    BertTokenizerFast(vocab={piece: i for i, piece in enumerate(ordered)}).save_pretrained(folder)


def roberta(folder: Path) -> None:
    model = json.loads(trained(kind="bpe", cased=True).to_str())["model"]
    ordered = ["<s>", "<pad>", "</s>", "<unk>", *list(model["vocab"])[5:], "<mask>"]
    numbered = {piece: i for i, piece in enumerate(ordered)}
    merges = [tuple(pair) for pair in model["merges"]]
    RobertaTokenizerFast(vocab=numbered, merges=merges).save_pretrained(folder)


def modernbert(folder: Path) -> None:
    """Byte-level, BERT's names after the vocabulary, further added tokens that are not special."""
    model = json.loads(trained(kind="bpe", cased=True).to_str())["model"]
    numbered = {piece: i for i, piece in enumerate(list(model["vocab"])[5:])}
    tokenizer = Tokenizer(models.BPE(numbered, [tuple(pair) for pair in model["merges"]]))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|padding|>", "<|endoftext|>"])
    tokenizer.add_tokens([AddedToken("   ", normalized=True), AddedToken("  ", normalized=True)])
    tokenizer.add_tokens(["|||IP_ADDRESS|||"])
    names = [AddedToken(name, special=True, lstrip=name == "[MASK]") for name in NAMES.values()]
    tokenizer.add_special_tokens(names)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(pad_id=0, length=8)
    wrapped(tokenizer, NAMES).save_pretrained(folder)


def unigram(folder: Path) -> None:
    """SentencePiece's form, as XLM-RoBERTa has it: no bytes, `▁` for a space."""
    letters = "abcdefghijklmnopqrstuvwxyzABT.0123456789ïé<>/"
    scores = [(name, 0.0) for name in ("<s>", "<pad>", "</s>", "<unk>")]
    scores += [("▁", -2.0), ("▁film", -3.0), ("▁the", -3.0), *((letter, -5.0) for letter in letters)]
    tokenizer = Tokenizer(models.Unigram([*scores, ("<mask>", 0.0)], unk_id=3))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens([*(name for name, _ in scores[:4]), AddedToken("<mask>", lstrip=True)])
    wrapped(tokenizer, ROBERTA_NAMES).save_pretrained(folder)


def wrapped(tokenizer: Tokenizer, names: dict[str, str]) -> PreTrainedTokenizerFast:
    tokens = {f"{role}_token": name for role, name in names.items()}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **tokens)


MAKERS: dict[str, Callable[[Path], None]] = {
    make.__name__: make for make in (bert, roberta, modernbert, unigram)
}


@pytest.fixture(scope="module", params=MAKERS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tokenizer as stock transformers saved it, and as it is saved here."""
    theirs, ours = (tmp_path_factory.mktemp(f"{request.param}-{whose}") for whose in ("theirs", "ours"))
    MAKERS[request.param](theirs)
    fitted = vocabulary.fitted(theirs)
    fitted.save(ours)
    assert bool(fitted.changes) == (request.param != "bert")
    return theirs, ours


def test_the_saved_folder_is_the_same_tokenizer_for_stock_code(pair: tuple[Path, Path]) -> None:
    theirs, ours = (AutoTokenizer.from_pretrained(folder) for folder in pair)
    tokenizer = vocabulary.load(pair[1])
    specials = vocabulary.special_ids(tokenizer)
    for text in TEXTS:
        inner = tokenizer.encode(text, add_special_tokens=False).ids
        assert ours(text)["input_ids"] == [specials.cls, *inner, specials.sep]
        assert inner == theirs(text, add_special_tokens=False)["input_ids"]
        assert Encoder(tokenizer).encode([text]).ids.tolist() == inner
    roles = [ours.pad_token_id, ours.unk_token_id, ours.cls_token_id, ours.sep_token_id, ours.mask_token_id]
    assert roles == [specials.pad, specials.unk, specials.cls, specials.sep, specials.mask]
    assert set(ours("film")) == {"input_ids", "attention_mask"}
    assert ours(f"the {ours.mask_token} was")["input_ids"].count(specials.mask) == 1
    assert ours.get_vocab() == theirs.get_vocab()
    assert len(ours(TEXTS, padding=True)["input_ids"][1]) == len(ours(TEXTS, padding=True)["input_ids"][0])


def test_what_is_saved_here_is_imported_unchanged(pair: tuple[Path, Path]) -> None:
    fitted = vocabulary.fitted(pair[1])
    assert fitted.changes == []
    assert fitted.content.encode() == (pair[1] / "tokenizer.json").read_bytes()
    assert fitted.tokenizer.to_str() == vocabulary.load(pair[1]).to_str()


def test_fault_34_special_tokens_of_a_stranger_in_the_text_are_text(pair: tuple[Path, Path]) -> None:
    tokenizer = vocabulary.load(pair[1])
    specials = vocabulary.special_ids(tokenizer)
    others = [tokenizer.id_to_token(i) or "" for i in specials.others]
    for name in [*NAMES.values(), *ROBERTA_NAMES.values(), *others]:
        ids = tokenizer.encode(f"{name} film{name}film", add_special_tokens=False).ids
        assert not set(ids) & {specials.pad, specials.cls, specials.sep, specials.mask, *specials.others}


def test_where_the_mask_is_meant_the_other_special_tokens_are_text(pair: tuple[Path, Path]) -> None:
    for folder in pair:
        tokenizer = vocabulary.load(folder, with_mask=True)
        specials = vocabulary.special_ids(tokenizer)
        names = vocabulary.special_names(tokenizer)
        text = f"the {names['mask']} film {names['cls']} bad{names['sep']} {names['pad']}."
        found = tokenizer.encode(text, add_special_tokens=False).ids
        assert found.count(specials.mask) == 1
        assert not {specials.cls, specials.sep, specials.pad}.intersection(found)
        meant = vocabulary.load(folder)
        meant.encode_special_tokens = False  # as stock does it
        one = f"the {names['mask']} film"
        expected = meant.encode(one, add_special_tokens=False).ids
        assert tokenizer.encode(one, add_special_tokens=False).ids == expected


def test_words_of_strangers_start_where_theirs_do(pair: tuple[Path, Path]) -> None:
    encoder = Encoder(vocabulary.load(pair[1]))
    encoded = encoder.encode(["the film was kindly, 12"])
    # SentencePiece keeps "kindly," together.
    assert encoded.is_start.sum() == (5 if pair[0].name.startswith("unigram") else 6)
    assert encoded.is_start[0]


def test_the_reason_of_each_change_is_told(tmp_path: Path) -> None:
    modernbert(tmp_path)
    assert vocabulary.fitted(tmp_path).changes == ["it no longer cuts or pads"]
    parts = json.loads((tmp_path / "tokenizer.json").read_text())
    parts["post_processor"] = None
    parts["added_tokens"] = [token for token in parts["added_tokens"] if token["content"] != "[MASK]"]
    parts["model"]["vocab"]["[MASK]"] = 800
    (tmp_path / "tokenizer.json").write_text(json.dumps(parts))
    found = vocabulary.fitted(tmp_path)
    assert found.changes[1:] == ["[MASK] marked as special", "[CLS] text [SEP] is put around a text"]
    fitted = Tokenizer.from_str(found.content)
    assert fitted.encode("a [MASK]").tokens[0] == "[CLS]"
    assert fitted.encode("a [MASK]").ids[-2] == 800


def test_a_question_and_its_passage_are_put_together_as_they_were_learned(tmp_path: Path) -> None:
    roberta(tmp_path)
    assert Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode("a", "b").tokens.count("</s>") == 3
    found = vocabulary.fitted(tmp_path)
    assert found.changes == ["one </s> is put between the texts of a pair"]
    fitted = Tokenizer.from_str(found.content)
    assert fitted.encode("a", "b").tokens == ["<s>", "a", "</s>", "b", "</s>"]
    found.save(tmp_path)
    assert vocabulary.fitted(tmp_path).changes == []


def test_a_tokenizer_is_never_written_by_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modernbert(tmp_path)
    # If ids have gaps, tokenizers before 0.23 says so on standard output, which is for results.
    monkeypatch.setattr(Tokenizer, "to_str", lambda *_, **__: pytest.fail("was written"))
    fitted = vocabulary.fitted(tmp_path)
    assert fitted.changes
    assert pieces.of(fitted.tokenizer).begins_word.any()
    assert words.cut_of(fitted.tokenizer) is words.WHOLE


def test_names_are_found_by_what_is_marked(tmp_path: Path) -> None:
    parts = json.loads(trained(kind="bpe").to_str())
    for i, name in enumerate(ROBERTA_NAMES.values()):
        parts["model"]["vocab"][name] = 500 + i
    assert vocabulary.special_names(Tokenizer.from_str(json.dumps(parts))) == NAMES
    parts["added_tokens"] = [
        {**token, "content": name, "id": 500 + i}
        for i, (token, name) in enumerate(zip(parts["added_tokens"], ROBERTA_NAMES.values(), strict=True))
    ]
    assert vocabulary.special_names(Tokenizer.from_str(json.dumps(parts))) == ROBERTA_NAMES


def _parts(**changes: Any) -> dict[str, Any]:
    return {**json.loads(trained().to_str()), **changes}


def _model(**changes: Any) -> dict[str, Any]:
    parts = _parts()
    return {**parts, "model": {**parts["model"], **changes}}


def _without_mask() -> dict[str, Any]:
    parts: dict[str, Any] = json.loads(json.dumps(_parts()).replace("[MASK]", "[mask!]"))
    return parts


BAD: dict[str, tuple[Any, str]] = {
    "a list": ([], "no model"),
    "no model": ({}, "no model"),
    "an unknown normalizer": (_parts(normalizer={"type": "Custom"}), "unknown kind 'Custom'"),
    "a component of code": (_parts(pre_tokenizer={"type": "python", "code": "x"}), "unknown kind 'python'"),
    "a component that is none": (_parts(decoder="x"), "decoder cannot be read"),
    "one hidden in a sequence": (
        _parts(decoder={"type": "Sequence", "decoders": [{"type": "Evil"}]}),
        "unknown kind 'Evil'",
    ),
    "deep nesting": ('{"a":' * 100_000, "not a tokenizer"),
    "no JSON": ("[", "not a tokenizer"),
    "no UTF-8": (b"\xff{}", "not a tokenizer"),
    "huge ids": (_model(vocab={"a": 4_000_000_000}), "not between 0 and 1,048,576"),
    "negative ids": (_model(vocab={"a": -1}), "not between 0"),
    "ids that are none": (_model(vocab={"a": "b"}), "not a number"),
    "one id twice": (_model(vocab={"a": 7, "b": 7}), "one id to two"),
    "no vocabulary": (_model(vocab=None), "no vocabulary"),
    "random merges": (_model(type="BPE", dropout=0.1, merges=[]), "at random"),
    "a broken table": (
        _parts(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
        "not a tok",
    ),
    "no unknown": (_model(unk_token="[nothing]"), "not a tokenizer"),
    "no mask": (_without_mask(), "lacks the special tokens \\[MASK\\]"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.filterwarnings("ignore")
def test_fault_52_a_strange_tokenizer_is_looked_at(name: str, tmp_path: Path) -> None:
    content, message = BAD[name]
    raw = content if isinstance(content, str | bytes) else json.dumps(content)
    (tmp_path / "tokenizer.json").write_bytes(raw if isinstance(raw, bytes) else raw.encode())
    for use in (vocabulary.load, vocabulary.fitted):
        with pytest.raises(ArtifactError, match=message) as caught:
            use(tmp_path)
        assert caught.value.exit_code == 5
        assert caught.value.where == str(tmp_path / "tokenizer.json")


def test_fault_52_absurd_files_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ArtifactError, match="does not exist"):
        vocabulary.load(tmp_path)
    path = tmp_path / "tokenizer.json"
    with path.open("wb") as file:
        file.truncate(imported.MAX_BYTES + 1)  # sparse: no bytes on disk
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail("was read"))
    with pytest.raises(ArtifactError, match="at most 67,108,864 bytes"):
        vocabulary.load(tmp_path)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(ArtifactError, match="is not a file"):
        vocabulary.load(tmp_path)


def test_fault_52_an_expression_that_never_ends_is_an_error(tmp_path: Path) -> None:
    split = {"type": "Split", "pattern": {"Regex": "(x+x+)+$"}, "behavior": "Isolated", "invert": False}
    vocabulary.save(json.dumps(_parts(pre_tokenizer=split)), tmp_path)
    encoder = Encoder(vocabulary.load(tmp_path))
    with pytest.raises(ArtifactError, match="retry-limit"):
        encoder.encode(["x" * 40 + "b"])


def test_fault_52_custom_code_beside_it_is_not_taken_over(tmp_path: Path) -> None:
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    theirs.mkdir(), ours.mkdir()
    bert(theirs)
    config = json.loads((theirs / "tokenizer_config.json").read_text())
    config["auto_map"] = {"AutoTokenizer": ["evil.Evil", None]}
    (theirs / "tokenizer_config.json").write_text(json.dumps(config))
    vocabulary.fitted(theirs).save(ours)
    assert "evil" not in "".join(path.read_text() for path in ours.iterdir())
