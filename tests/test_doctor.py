"""`mlmctl doctor` through the command line: sections, findings with places, exit codes."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from commands import SMALL, Outcome, Shell, write_corpus
from stock import make_stock, make_tokenizer

from mlmctl import samples
from mlmctl.commands.doctor import plan
from mlmctl.quantities import percent, size

PROSE = "The river was quiet in the winter and nobody of the village had been on the ice for a week."


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLMCTL_RUN", raising=False)
    monkeypatch.setattr(plan, "PROBE_SECONDS", 0.0)
    return Shell(capsys)


def codes(outcome: Outcome) -> dict[str, str]:
    """Code -> level of the findings."""
    return {finding["code"]: finding["level"] for finding in outcome.json["findings"]}


def finding(outcome: Outcome, code: str) -> dict[str, Any]:
    [found] = [each for each in outcome.json["findings"] if each["code"] == code]
    assert found["hint"] or code in ("doctor.cut", "doctor.filtered", "doctor.squad-version")
    return dict(found)


def write_rows(path: str, rows: Iterable[tuple[str, object]]) -> str:
    Path(path).write_text("".join(json.dumps({"text": t, "label": n}) + "\n" for t, n in rows))
    return path


def labelled(shell: Shell, *arguments: str) -> Outcome:
    return shell("doctor", "--task", "sentiment", *arguments, "--vocab-size", "120", "--json")


def test_the_machine_alone(shell: Shell, tmp_path: Path) -> None:
    told = shell("doctor", "--json").json
    assert set(told) == {"schema_version", "command", "status", "machine", "findings"}
    assert told["machine"]["free_disk_bytes"] > 0
    assert shell("doctor").out.startswith("machine:\n  processor")
    assert not list(tmp_path.iterdir())


def test_a_clean_corpus_has_facts_and_no_warning(shell: Shell, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c.txt")
    outcome = shell("doctor", corpus, *SMALL, "--steps", "3", "--strict", "--json")
    assert outcome.code == 0
    facts, plans = outcome.json["corpus"], outcome.json["plan"]
    assert facts["num_documents"] == 120
    assert facts["scripts"] == {"latin": 1.0}
    assert facts["num_near_duplicates"] is None
    assert plans["num_steps"] == 3
    assert plans["tokens_per_second"] > 0
    assert plans["num_epochs"] == pytest.approx(3 / plans["steps_per_epoch"], abs=1e-3)
    assert list(tmp_path.iterdir()) == [corpus]
    screen = shell("doctor", corpus, *SMALL).out
    assert len(screen.splitlines()) < 40
    assert max(map(len, screen.splitlines())) < 200


def test_predicted_tokens_are_near_those_that_mask_counts(shell: Shell, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c.txt", 2000)
    predicted = shell("doctor", corpus, *SMALL, "--json").json["corpus"]["predicted_num_tokens"]
    metrics = shell("mask", corpus, "--vocab-size", "120", "--json").json["metrics"]
    assert predicted == pytest.approx(metrics["num_train_tokens"] + metrics["num_valid_tokens"], rel=0.03)


def test_of_rows_the_text_alone_is_counted(shell: Shell, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c.txt", 2000)
    rows = tmp_path / "c.jsonl"
    texts = [text for text in corpus.read_text().split("\n\n") if text.strip()]
    rows.write_text("".join(json.dumps({"text": text, "other": "x" * 500}) + "\n" for text in texts))
    facts = [shell("doctor", path, *SMALL, "--json").json["corpus"] for path in (corpus, rows)]
    predicted = [each["predicted_num_tokens"] for each in facts]
    assert predicted[1] == pytest.approx(predicted[0], rel=0.03)


def test_the_tokenizer_is_the_named_one_the_runs_own_or_a_new_one(shell: Shell, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c.txt")

    def used(*arguments: str) -> str:
        return str(shell("doctor", corpus, *SMALL[4:], *arguments, "--json").json["corpus"]["tokenizer"])

    assert used() == "trained on the sample"
    shell("tokenizer", corpus, "--vocab-size", "100")
    assert used() == "run/tokenizer"
    assert used("--vocab-size", "110") == "trained on the sample"
    assert used("--tokenizer", "run/tokenizer", "--run", "other") == "run/tokenizer"
    assert shell("doctor", corpus, "--tokenizer", "nowhere").code == 2


def test_an_encoder_to_continue_is_planned_with(shell: Shell, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c.txt")
    make_stock(tmp_path / "encoder", vocab_size=100)
    make_tokenizer(tmp_path / "encoder", corpus.read_text().split(), vocab_size=100)
    too_long = shell("doctor", corpus, "--init", "encoder", "--block-length", "4096")
    assert too_long.code == 2
    assert "the blocks have 4096" in too_long.err
    told = shell("doctor", corpus, "--init", "encoder", "--block-length", "32", "--json").json
    assert told["corpus"]["tokenizer"] == "encoder"
    assert told["plan"]["init"] == "encoder"
    assert told["plan"]["fitting_preset"] == ""
    from safetensors import safe_open

    with safe_open(tmp_path / "encoder/model.safetensors", "np") as file:
        stored = sum(file.get_tensor(name).size for name in file.keys())  # noqa: SIM118
    assert told["plan"]["num_parameters"] == pytest.approx(stored, rel=0.2)


def test_the_preset_that_fits_has_20_tokens_a_parameter_in_16_epochs(shell: Shell, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c.txt")
    outcome = shell("doctor", corpus, *SMALL[2:], "--preset", "mini", "--json")
    assert outcome.json["plan"]["fitting_preset"] == "tiny"
    assert codes(outcome)["doctor.preset"] == "info"


def test_fault_27_places_of_bad_bytes_are_told_and_strict_says_4(shell: Shell, tmp_path: Path) -> None:
    Path("c.txt").write_bytes(("\n\n".join([PROSE] * 30)).encode() + b"\n\ncaf\xe9 by the river\n")
    outcome = shell("doctor", "c.txt", *SMALL, "--json")
    found = finding(outcome, "doctor.encoding")
    assert outcome.code == 0
    assert (found["level"], found["count"]) == ("warning", 1)
    assert found["where"] == f"c.txt:61:{len(PROSE) * 30 + 29 * 2 + 2 + 3}"
    assert "--encoding" in found["hint"]
    strict = shell("doctor", "c.txt", *SMALL, "--strict", "--json")
    assert strict.code == 4
    assert strict.json["error"]["code"] == "doctor.findings"
    assert "doctor.encoding" in strict.json["error"]["message"]
    assert strict.json["findings"] == outcome.json["findings"]
    latin = shell("doctor", "c.txt", *SMALL, "--encoding", "latin-1", "--json")
    assert codes(latin).keys() == {"doctor.duplicates"}


def test_fault_33_duplicates_are_a_warning_above_a_tenth(shell: Shell, tmp_path: Path) -> None:
    texts = [f"{PROSE} {n}" for n in range(95)]
    for copies, level in ((5, "info"), (15, "warning")):
        Path("c.txt").write_text("\n\n".join(texts + texts[7:8] * copies))
        found = finding(shell("doctor", "c.txt", *SMALL, "--json"), "doctor.duplicates")
        assert (found["level"], found["count"], found["where"]) == (level, copies, "c.txt:15")
    near = shell("doctor", "c.txt", *SMALL, "--near-duplicates", "0.8", "--json")
    assert (
        finding(near, "doctor.near-duplicates")["count"] == near.json["corpus"]["num_near_duplicates"] == 109
    )


def test_what_a_corpus_still_has_of_its_source_is_found(shell: Shell, tmp_path: Path) -> None:
    texts = [f"Copyright by the Example Foundation of {n} {PROSE} {n}" for n in range(50)]
    texts[3] += "<br />"
    texts[4] += " cafÃ©"
    Path("c.txt").write_text("\n\n".join(texts) + "\n\nder Fluss war im Winter sehr ruhig und niemand " * 40)
    outcome = shell("doctor", "c.txt", *SMALL, "--json")
    assert codes(outcome).items() >= {"doctor.markup": "warning", "doctor.mojibake": "warning"}.items()
    assert finding(outcome, "doctor.markup")["where"] == "c.txt:7"
    assert "Copyright by the Example Foundation of" in finding(outcome, "doctor.boilerplate")["message"]
    assert "de" in finding(outcome, "doctor.languages")["message"]


def test_fault_35_unknown_tokens_are_told_and_bytes_know_none(shell: Shell, tmp_path: Path) -> None:
    train = write_corpus(tmp_path / "c.txt")
    shell("tokenizer", train, "--vocab-size", "100")
    texts = ["水はどこでも同じ", "مرحبا بكم في القرية", "שלום לכם", "🙂 👩‍👩‍👧", "e\u0301te\u0301"]
    Path("odd.txt").write_text("\n".join(texts * 40))
    small = SMALL[4:]
    known = shell("doctor", "odd.txt", *small, "--json")
    assert known.json["corpus"]["unknown_share"] > 0.2
    assert finding(known, "doctor.unknown-tokens")["level"] == "warning"
    by_bytes = shell("doctor", "odd.txt", *small, "--tokenizer-type", "bpe", "--vocab-size", "300", "--json")
    assert by_bytes.json["corpus"]["unknown_share"] == 0
    assert "doctor.unknown-tokens" not in codes(by_bytes)
    assert by_bytes.json["corpus"]["scripts"].keys() >= {"han", "hiragana", "arabic", "hebrew", "latin"}


def test_short_resources_are_warnings() -> None:
    facts = {"fitting_preset": "", "preset": "mini", "disk_bytes": 2_000_000, "memory_bytes": 5_000}
    machine = {"free_disk_bytes": 1_000_000, "available_memory_bytes": 4_000}
    assert {f.code: f.count for f in plan._findings(facts, machine)} == {
        "doctor.disk": 1_000_000,
        "doctor.memory": 1_000,
    }
    assert not plan._findings(facts, {"free_disk_bytes": 2_000_000, "available_memory_bytes": None})


def test_labelled_data_needs_a_name(shell: Shell) -> None:
    for arguments in (["--task", "sentiment"], ["--test", "test.jsonl"]):
        assert shell("doctor", *arguments, "--json").json["error"]["code"] == "usage.no-data"
    assert shell("doctor", "--task", "sentiment", "--data", "gone.jsonl").code == 2


def test_the_samples_are_clean(shell: Shell) -> None:
    for task in ("sentiment", "tags", "qa"):
        data, test = (samples.path(samples.LABELLED[task][stage]) for stage in ("finetune", "evaluate"))
        small = ("--vocab-size", "400")
        outcome = shell(
            "doctor", "--task", task, "--data", data, "--test", test, *small, "--strict", "--json"
        )
        told = outcome.json["labelled"]
        assert outcome.code == 0, outcome.json["findings"]
        assert told["test"]["num_trained_on"] == 0
        assert told["data"]["num_examples"] > told["test"]["num_examples"] > 0
        assert told["data"]["text_tokens"]["max"] > 0


def test_fault_38_empty_contradicting_and_leaked_texts_have_their_places(
    shell: Shell, tmp_path: Path
) -> None:
    rows = [(f"text {n}", n % 2) for n in range(20)]
    rows += [("Text  3", 0), ("", 1), (" ", 0), ("text 4", 0), ("text 3", 1)]
    write_rows("train.jsonl", rows)
    write_rows("test.jsonl", [(f"test {n}", n % 2) for n in range(20)] + [("TEXT 5", 1), ("", 0)])
    outcome = labelled(shell, "--data", "train.jsonl", "--test", "test.jsonl")
    facts = outcome.json["labelled"]
    data = facts["data"]
    assert (data["num_empty"], data["num_repeated"], data["num_contradicting"]) == (2, 3, 1)
    assert finding(outcome, "doctor.contradictions")["where"] == "train.jsonl: row 21"
    assert finding(outcome, "doctor.repeated")["level"] == "warning"
    empty = [each["where"] for each in outcome.json["findings"] if each["code"] == "doctor.empty-texts"]
    assert empty == ["train.jsonl: row 22", "test.jsonl: row 22"]
    leaked = finding(outcome, "doctor.leakage")
    assert (leaked["count"], leaked["where"], leaked["level"]) == (1, "test.jsonl: row 21", "warning")
    assert "row 6" in leaked["message"]
    assert facts["test"]["num_trained_on"] == 1


def test_fault_37_unseen_rare_and_lopsided_labels(shell: Shell, tmp_path: Path) -> None:
    write_rows("train.jsonl", [(f"text {n}", "good") for n in range(99)] + [("other", "bad")])
    write_rows("test.jsonl", [("one", "good"), ("two", "odd")])
    outcome = labelled(shell, "--data", "train.jsonl", "--test", "test.jsonl")
    assert outcome.json["labelled"]["data"]["labels"] == {"bad": 1, "good": 99}
    assert finding(outcome, "doctor.label-balance")["count"] == 99
    assert finding(outcome, "doctor.unseen-label")["where"] == "test.jsonl:2"
    rare = [each for each in outcome.json["findings"] if each["code"] == "doctor.rare-labels"]
    assert [each["where"] for each in rare] == ["train.jsonl", "test.jsonl"]


def test_test_data_of_one_label_that_was_never_seen_is_a_finding(shell: Shell) -> None:
    write_rows("train.jsonl", [(f"text {n}", n % 2) for n in range(20)])
    write_rows("test.jsonl", [(f"other {n}", "odd") for n in range(4)])
    outcome = labelled(shell, "--data", "train.jsonl", "--test", "test.jsonl")
    assert finding(outcome, "doctor.unseen-label")["where"] == "test.jsonl:1"


def test_fault_39_the_share_of_long_texts_is_told(shell: Shell, tmp_path: Path) -> None:
    write_rows(
        "train.jsonl", [(f"{PROSE} {n}", n % 2) for n in range(30)] + [(PROSE * 20, n) for n in (0, 1)]
    )
    outcome = labelled(shell, "--data", "train.jsonl", "--set", "finetune.window_length=100")
    assert outcome.json["labelled"]["data"]["share_windowed"] == pytest.approx(2 / 32)
    assert finding(outcome, "doctor.long-texts")["count"] == 2


def squad(*questions: dict[str, Any], version: str = "1.1") -> str:
    context = "Café Müller opened in Rome in 1901. Rome was larger then."
    paragraphs = [{"context": context, "qas": list(questions)}]
    Path("qa.json").write_text(json.dumps({"version": version, "data": [{"paragraphs": paragraphs}]}))
    return "qa.json"


def asked(number: int, text: str, start: int, **more: Any) -> dict[str, Any]:
    return {
        "id": str(number),
        "question": f"What is question {number}?",
        "answers": [{"text": text, "answer_start": start}],
        **more,
    }


def test_fault_40_bad_questions_are_counted_by_kind_with_places(shell: Shell, tmp_path: Path) -> None:
    path = squad(
        asked(1, "1901", 30),
        asked(2, "1901", 32),  # counted in bytes: two letters before it have two
        asked(3, "opened", 2),  # wrong by n
        asked(4, "Rome", 3),  # wrong, and at two places
        asked(5, "Paris", 0),
        asked(5, "1901", 30),
        {"id": "7", "question": "Lacks answers?"},
        asked(8, " ", 4),
        asked(9, "1901", 30, is_impossible=True),
        {"id": "10", "question": "Unanswerable?", "answers": [], "is_impossible": True},
        asked(11, "1901", 30, question="Is it?"),
        asked(12, "Rome", 22, question="Is it?"),
    )
    outcome = shell("doctor", "--task", "qa", "--data", path, "--vocab-size", "120", "--json")
    facts = outcome.json["labelled"]["data"]
    assert facts["bad"] == {
        "ambiguous_answer": 1, "absent_answer": 1, "duplicate_id": 1, "missing_key": 1, "blank": 1,
        "contradiction": 1,
    }  # fmt: skip
    assert (facts["num_offsets_in_bytes"], facts["num_offsets_repaired"]) == (1, 1)
    assert (facts["num_answerable"], facts["num_unanswerable"], facts["num_contradicting"]) == (5, 1, 1)
    places = {each["code"]: each["where"].rpartition("qas")[2] for each in outcome.json["findings"]}
    assert places["doctor.squad-offset-in-bytes"] == "[1]"
    assert places["doctor.squad-offset"] == "[2]"
    assert places["doctor.squad-ambiguous-answer"] == "[3]"
    assert places["doctor.squad-absent-answer"] == "[4]"
    assert places["doctor.squad-duplicate-id"] == "[5]"
    assert places["doctor.squad-missing-key"] == "[6]"
    assert places["doctor.squad-contradiction"] == "[8]"
    assert "doctor.squad-version" in places
    assert set(codes(outcome).values()) == {"warning"}


def test_fault_40_several_answers_in_common_are_no_contradiction(shell: Shell, tmp_path: Path) -> None:
    two = {"answers": [{"text": t, "answer_start": s} for t, s in (("Rome", 22), ("1901", 30))]}
    path = squad(asked(1, "", 0, question="Is it?", **two), asked(2, "1901", 30, question="Is it?"))
    outcome = shell("doctor", "--task", "qa", "--data", path, "--vocab-size", "120", "--json")
    assert outcome.json["labelled"]["data"]["num_contradicting"] == 0
    assert "doctor.repeated" in codes(outcome)


def test_fault_38_questions_about_a_passage_that_was_trained_on_are_told(
    shell: Shell, tmp_path: Path
) -> None:
    train = squad(asked(1, "1901", 30), asked(2, "opened", 12))
    test = Path(train).read_text().replace("question 1", "question 3")
    other = {"context": "Oslo is cold.", "qas": [asked(4, "Oslo", 0)]}
    articles = [{"paragraphs": [other]}, *json.loads(test)["data"]]
    Path("test.json").write_text(json.dumps({"version": "1.1", "data": articles}))
    arguments = ("--data", train, "--test", "test.json", "--vocab-size", "120", "--json")
    outcome = shell("doctor", "--task", "qa", *arguments)
    assert outcome.json["labelled"]["test"]["num_trained_on"] == 2
    leaked = finding(outcome, "doctor.leakage")
    assert (leaked["count"], leaked["where"]) == (2, "test.json: question 1")


def test_tags_that_do_not_begin_well_have_a_place(shell: Shell, tmp_path: Path) -> None:
    sentences = ["Anna\tB-PER\nsings\tO\n", "in\tO\nRome\tI-LOC\n", "Anna\tO\nsings\tO\n"] * 6
    Path("t.conll").write_text("\n".join(sentences))
    outcome = shell("doctor", "--task", "tags", "--data", "t.conll", "--vocab-size", "120", "--json")
    found = finding(outcome, "doctor.tags-unbegun")
    assert (found["count"], found["where"]) == (6, "t.conll: sentence 2")
    assert outcome.json["labelled"]["data"]["entities"] == {"PER": 6, "LOC": 6}
    assert finding(outcome, "doctor.contradictions")["where"] == "t.conll: sentence 3"


def test_test_sentences_without_any_entity_are_no_fault(shell: Shell, tmp_path: Path) -> None:
    Path("t.conll").write_text("\n".join(["Anna\tB-PER\nsings\tO\n", "in\tO\nRome\tB-LOC\n"] * 6))
    Path("e.conll").write_text("in\tO\nwinter\tO\n")
    arguments = ("--data", "t.conll", "--test", "e.conll", "--vocab-size", "120", "--json")
    outcome = shell("doctor", "--task", "tags", *arguments)
    assert outcome.json["labelled"]["test"]["entities"] == {}


def test_escape_sequences_of_the_data_are_not_printed(shell: Shell, tmp_path: Path) -> None:
    Path("c.txt").write_text(
        "\n\n".join(f"\x1b[31mred beginning of a document, forty letters {n} {PROSE}" for n in range(20))
    )
    outcome = shell("doctor", "c.txt", *SMALL)
    assert "doctor.boilerplate" in outcome.out
    assert "\x1b" not in outcome.out + outcome.err


def test_numbers_are_shown_short() -> None:
    assert [percent(share) for share in (0, 1, 0.123, 0.0123, 0.00001)] == [
        "0 %",
        "100 %",
        "12 %",
        "1.2 %",
        "0.001 %",
    ]
    assert [size(n) for n in (999, 1_500, 63_082_457, 2 * 10**12)] == [
        "999 bytes",
        "1.5 kB",
        "63.1 MB",
        "2.0 TB",
    ]


def test_a_compressed_corpus_from_a_recipe(shell: Shell, tmp_path: Path) -> None:
    with gzip.open("c.txt.gz", "wt") as file:
        file.write(write_corpus(tmp_path / "c.txt").read_text())
    write_rows("train.jsonl", [(f"{PROSE} {n}", n % 2) for n in range(20)])
    Path("r.toml").write_text('[corpus]\npaths = ["c.txt.gz"]\n[finetune]\ndata = "train.jsonl"\n')
    told = shell("doctor", "--recipe", "r.toml", *SMALL, "--json").json
    assert set(told) - {"schema_version", "command", "status", "findings"} == {
        "machine",
        "corpus",
        "plan",
        "labelled",
    }
