"""Text that is broken or odd, through the commands that meet it first: what is refused, what survives."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path

import pytest
from commands import SMALL, Outcome, Shell, write_corpus

PROSE = "the quiet river under the old stone house sings over the light"
STAGE = ("--vocab-size", "150", "--block-length", "32")


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLMCTL_RUN", raising=False)
    return Shell(capsys)


def refused(outcome: Outcome, code: int = 4) -> dict[str, str]:
    """The error object of a refusal: one line, no traceback."""
    assert outcome.code == code, outcome.err
    assert "Traceback" not in outcome.err
    assert len([line for line in outcome.err.splitlines() if line.startswith("error: ")]) == 1
    return dict(outcome.json["error"])


def blocks(run: str) -> bytes:
    """The ids of a run's training and validation blocks."""
    return b"".join(Path(run, "mask/blocks", f"{split}.npy").read_bytes() for split in ("train", "valid"))


def documents(number: int) -> list[str]:
    return [f"{PROSE} {n} and {n * 7} more" for n in range(number)]


@pytest.mark.parametrize(
    ("encoding", "way_out"),
    [("utf-16", "utf-16"), ("utf-16-le", "utf-16-le"), ("latin-1", "--encoding NAME")],
)
def test_fault_27_another_encoding_is_refused_with_the_option(
    shell: Shell, encoding: str, way_out: str
) -> None:
    text = "\n\n".join(f"{one} café" for one in documents(40))
    Path("c.txt").write_bytes(text.encode(encoding))
    Path("utf8.txt").write_text(text)
    error = refused(shell("tokenizer", "c.txt", *STAGE[:2], "--json"))
    assert error["code"] == "data.encoding"
    assert error["where"].startswith("c.txt")
    assert way_out in error["hint"]
    for name, chosen in (("c.txt", encoding), ("utf8.txt", "utf-8")):
        assert shell("mask", name, *STAGE, "--encoding", chosen, "--run", name[:-4]).code == 0
    assert blocks("c") == blocks("utf8")


def test_fault_27_what_is_replaced_is_counted(shell: Shell) -> None:
    text = "\n\n".join(documents(40)).encode() + b"\n\nthe \xff river \xfe\xfd sings"
    Path("c.txt").write_bytes(text)
    error = refused(shell("tokenizer", "c.txt", *STAGE[:2], "--json"))
    assert error["where"] == f"c.txt:81:{text.index(0xFF)}"
    told = shell("tokenizer", "c.txt", *STAGE[:2], "--encoding-errors", "replace", "--json").json
    assert any("3 replacement characters" in message for message in told["warnings"])
    assert json.loads(Path("run/tokenizer/corpus.json").read_text())["num_replacements"] == 3


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_fault_28_newlines_and_a_byte_order_mark_change_nothing(
    shell: Shell, newline: str, mark: str
) -> None:
    texts = [f"{one}\nin two lines" for one in documents(40)]
    texts[5] += " a\u2028b\u2029c\u0085d"  # no newlines
    for name, content in (
        ("plain", "\n\n".join(texts)),
        ("other", mark + "\n\n".join(texts).replace("\n", newline)),
    ):
        Path(f"{name}.txt").write_bytes(content.encode())
        assert shell("mask", f"{name}.txt", *STAGE, "--run", name).code == 0
    assert blocks("plain") == blocks("other")
    facts = json.loads(Path("other/tokenizer/corpus.json").read_text())
    assert (facts["num_documents"], facts["num_lines"]) == (40, 40 * 2 + 39)


def test_fault_28_control_characters_are_dropped_by_wordpiece_and_kept_by_bpe(shell: Shell) -> None:
    odd = [text.replace(" ", " \x00\x07", 1) for text in documents(40)]
    Path("odd.txt").write_text("\n\n".join(odd))
    Path("plain.txt").write_text("\n\n".join(documents(40)))
    made = {}
    for run in ("odd", "plain"):
        assert shell("tokenizer", f"{run}.txt", *STAGE[:2], "--run", run).code == 0
        made[run] = Path(run, "tokenizer/tokenizer.json").read_bytes()
    assert made["odd"] == made["plain"]
    bpe = ("--tokenizer-type", "bpe", "--vocab-size", "300", "--run", "bpe")
    assert shell("tokenizer", "odd.txt", *bpe).code == 0
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file("bpe/tokenizer/tokenizer.json")
    assert tokenizer.decode(tokenizer.encode("a \x00\x07b").ids) == "a \x00\x07b"


def test_fault_29_a_huge_word_costs_no_memory_and_the_rest_is_learned_from(shell: Shell) -> None:
    peaks = []
    for size in (2**21, 2**23):
        with gzip.open(f"{size}.txt.gz", "wt", compresslevel=1) as file:
            file.write("\n\n".join(documents(40)) + "\n\n" + "x" * size + "\n\nthe end of it")
        tracemalloc.start()
        told = shell("tokenizer", f"{size}.txt.gz", *STAGE[:2], "--run", str(size), "--json").json
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert told["metrics"]["num_documents"] == 41 + size // 2**20
    assert peaks[1] < 2 * peaks[0]  # of a word four times as long


@pytest.mark.parametrize("command", ["tokenizer", "mask", "pretrain", "doctor"])
def test_fault_30_what_holds_no_text_is_refused_by_every_command(shell: Shell, command: str) -> None:
    Path("empty.txt").touch()
    Path("white.txt").write_text(" \n\t\n\u00a0\n")
    Path("nothing.jsonl").write_text('{"text": ""}\n{"text": null}\n')
    Path("folder").mkdir()
    Path("link.txt").symlink_to("nowhere")
    for name in ("empty.txt", "white.txt", "nothing.jsonl", "folder", "link.txt", "/dev/null"):
        refused(shell(command, name, "--json"))
    refused(shell(command, "gone.txt", "--json"), 2)


@pytest.mark.parametrize("command", ["mask", "doctor"])
def test_fault_30_text_that_normalises_to_nothing_is_refused(shell: Shell, command: str) -> None:
    Path("c.txt").write_text("\x01\x02\n\u200b\n")
    assert refused(shell(command, "c.txt", "--json"))["code"] == "data.empty"


def test_fault_31_the_largest_vocabulary_is_told_and_is_what_is_made(shell: Shell) -> None:
    write_corpus(Path("c.txt"))
    told = shell("tokenizer", "c.txt", "--vocab-size", "5000", "--json").json
    size = told["metrics"]["vocab_size"]
    assert size < 5000
    assert any(f"{size:,}" in message for message in told["warnings"])
    assert len(json.loads(Path("run/tokenizer/tokenizer.json").read_text())["model"]["vocab"]) == size


def test_fault_33_copies_across_the_split_are_removed_and_told(shell: Shell) -> None:
    texts = documents(40)
    Path("c.txt").write_text("\n\n".join(texts + texts[:20]))
    Path("once.txt").write_text("\n\n".join(texts))
    told = shell("mask", "c.txt", *STAGE, "--run", "c", "--json").json
    assert any("20 of 60 documents (33.3%) are duplicates" in message for message in told["warnings"])
    assert told["metrics"]["num_duplicates"] == 20
    again = shell("mask", "once.txt", *STAGE[2:], "--tokenizer", "c/tokenizer", "--run", "once")
    assert again.code == 0, again.err
    assert blocks("c") == blocks("once")


def test_fault_34_names_of_special_tokens_are_ordinary_text(shell: Shell) -> None:
    texts = [f"{one} [MASK] [CLS] [SEP] [PAD] [UNK] </s> <mask>" for one in documents(60)]
    Path("c.txt").write_text("\n\n".join(texts))
    assert shell("mask", "c.txt", *STAGE).code == 0
    from mlmctl.text.blocks import Blocks

    for split in ("train", "valid"):
        found = Blocks.open(Path("run/mask/blocks"), split)
        specials = found.specials
        assert not (found.ids == specials.mask).any()
        assert not (found.ids == specials.unk).any()
        assert ((found.ids == specials.cls).sum(axis=1) == 1).all()  # the one that begins the block


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_fault_35_every_script_goes_through_and_bpe_gives_it_back(shell: Shell, kind: str) -> None:
    odd = [
        "水はどこでも同じです",
        "مرحبا بكم في القرية",
        "שלום לכם חברים",
        "🙂 👩‍👩‍👧 ok",
        "é n̈ ạ",
        "भाषा और लिपि",
        "ภาษาไทยไม่มีช่องว่าง",
    ]
    Path("c.txt").write_text("\n\n".join(f"{text} {n}" for n in range(20) for text in odd))
    size = "400" if kind == "wordpiece" else "600"
    told = shell(
        "mask", "c.txt", "--tokenizer-type", kind, "--vocab-size", size, "--block-length", "32", "--json"
    ).json
    assert told["status"] == "done"
    assert told["metrics"]["unknown_share"] <= (0.02 if kind == "wordpiece" else 0)
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file("run/tokenizer/tokenizer.json")
    if kind == "bpe":
        import unicodedata

        for text in odd:
            assert tokenizer.decode(tokenizer.encode(text).ids) == unicodedata.normalize("NFC", text)


def test_fault_36_the_option_that_is_named_fixes_the_column(shell: Shell) -> None:
    Path("c.jsonl").write_text("".join(json.dumps({"body": text, "id": 1}) + "\n" for text in documents(40)))
    error = refused(shell("doctor", "c.jsonl", "--json"))
    assert (error["code"], error["where"]) == ("data.columns", "c.jsonl:1")
    assert "body, id" in error["message"]
    assert shell("tokenizer", "c.jsonl", *STAGE[:2], "--set", "corpus.text_column=body").code == 0
    Path("t.csv").write_text("review,stars\nfine,1\nbad,0\n")
    error = refused(shell("doctor", "--data", "t.csv", "--json"))
    assert "review, stars" in error["message"]
    fixed = ("--set", "finetune.text_column=review", "--set", "finetune.label_column=stars")
    assert shell("doctor", "--data", "t.csv", *fixed, "--vocab-size", "100").code == 0


@pytest.mark.parametrize(
    ("name", "content", "where"),
    [
        ("d.csv", 'text,label\n"one\ntwo",1\n"three,0\nfour,1\n', "d.csv:4"),
        ("d.csv", "text,label\none,1\ntwo,0,extra\n", "d.csv:3"),
        ("d.csv", "one film,1\nanother film,0\n", "d.csv:2"),
        ("d.jsonl", '{"text": "a", "label": 1}\n{"text": "b", "label": NaN}\n', "d.jsonl:2"),
        ("d.jsonl", '{"text": "a", "label": 1}\n\n{"text": "b", "lab\n', "d.jsonl:3"),
        ("d.tsv", "text\tlabel\na\t1\nb\n", "d.tsv:3"),
    ],
)
@pytest.mark.parametrize("command", ["doctor", "finetune"])
def test_fault_41_a_broken_row_is_refused_with_its_line(
    shell: Shell, command: str, name: str, content: str, where: str, encoder: Path
) -> None:
    Path(name).write_text(content)
    more = ("--run", encoder) if command == "finetune" else ()
    error = refused(shell(command, "--data", name, *more, "--json"))
    assert error["where"] == where
    assert "row " in error["message"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a tiny encoder."""
    from mlmctl.cli import main

    folder = tmp_path_factory.mktemp("trained")
    corpus = write_corpus(folder / "corpus.txt")
    with pytest.raises(SystemExit) as caught:
        main(["pretrain", str(corpus), "--run", str(folder / "run"), "--steps", "2", *SMALL, "--quiet"])
    assert caught.value.code == 0
    return folder / "run"


@pytest.mark.parametrize(
    ("labels", "code"),
    [
        (["1", '"1"', "1.0", "0"], 0),
        (["true", '"False"', "1", "0"], 0),
        (["1", "1", "1", "1"], 4),
        (['"a"', '""', '"b"', '"c"'], 4),
    ],
)
def test_fault_37_spellings_of_a_label_are_one_label_and_one_class_is_refused(
    shell: Shell, labels: list[str], code: int
) -> None:
    rows = [f'{{"text": "{PROSE} {n}", "label": {label}}}\n' for n, label in enumerate(labels * 3)]
    Path("d.jsonl").write_text("".join(rows))
    outcome = shell("doctor", "--data", "d.jsonl", "--vocab-size", "100", "--json")
    if code:
        assert refused(outcome)["code"] in ("data.one-class", "data.bad-label")
    else:
        assert outcome.json["labelled"]["data"]["labels"].keys() == {"0", "1"}
