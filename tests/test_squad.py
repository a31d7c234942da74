"""Reading questions: every fault of a file found, counted, and repaired only where it can mean one thing."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlmctl.config import EvaluateConfig, FinetuneConfig
from mlmctl.errors import DataError
from mlmctl.events import Event, Note, silent
from mlmctl.tasks import squad

CONTEXT = "Zoë met Anna in Orléans in 1429, and Anna met Zoë again in Rome."


def question(number: str, text: str | None = "Rome", start: Any = None, **fields: Any) -> dict[str, Any]:
    """A question of SQuAD with one answer, at its place unless `start` says another; none if it is None."""
    place = CONTEXT.index(text) if text and text in CONTEXT and start is None else start
    answers = [] if text is None else [{"text": text, "answer_start": place}]
    return {"id": number, "question": f"What is {number}?", "answers": answers, **fields}


def squad_file(path: Path, *questions: Any, version: str = "1.1", context: Any = CONTEXT) -> Path:
    paragraph = {"context": context, "qas": list(questions)}
    path.write_text(json.dumps({"version": version, "data": [{"title": "x", "paragraphs": [paragraph]}]}))
    return path


def read(path: Path, on_bad: Any = "fail", told: list[Event] | None = None) -> squad.Questions:
    return squad.read(path, FinetuneConfig(on_bad=on_bad), silent if told is None else told.append)


def warnings(events: list[Event]) -> str:
    return "\n".join(e.message for e in events if isinstance(e, Note) and e.level == "warning")


def refusal(path: Path, content: str | None = None) -> DataError:
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError) as error:
        read(path)
    assert error.value.exit_code == 4
    return error.value


def test_a_good_file_is_read_as_it_is(tmp_path: Path) -> None:
    told: list[Event] = []
    path = squad_file(tmp_path / "d.json", question("a"), question("b", "1429"))
    data = read(path, told=told)
    assert data.ids == ["a", "b"]
    assert data.contexts == [CONTEXT]
    assert data.answers == [(squad.Answer("Rome", 59),), (squad.Answer("1429", 27),)]
    assert not told
    assert data.facts["num_skipped"] == data.facts["num_offsets_repaired"] == 0
    (tmp_path / "d.json.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert read(tmp_path / "d.json.gz").ids == data.ids


def test_fault_40_a_top_level_list_is_the_list_of_articles(tmp_path: Path) -> None:
    path = squad_file(tmp_path / "d.json", question("a"))
    path.write_text(json.dumps(json.loads(path.read_text())["data"]))
    assert read(path).ids == ["a"]
    flat = json.dumps([{"question": "Who?", "context": "Anna", "answers": ["Anna"], "id": "1"}])
    assert ".jsonl" in str(refusal(path, flat))


@pytest.mark.parametrize(("shift", "text"), [(-2, "Orléans"), (-1, "1429"), (9999, "Rome"), (-9999, "Rome")])
def test_fault_40_an_offset_wrong_by_n_is_repaired_where_the_answer_occurs_once(
    tmp_path: Path, shift: int, text: str
) -> None:
    told: list[Event] = []
    place = CONTEXT.index(text)
    data = read(squad_file(tmp_path / "d.json", question("a", text, place + shift)), told=told)
    assert data.answers[0][0].start == place
    assert data.facts["num_offsets_repaired"] == 1
    assert "1 answer offsets were wrong and are repaired" in warnings(told)


@pytest.mark.parametrize("start", ["7", None, 1.0, True, []])
def test_fault_40_an_offset_that_is_no_number_is_repaired_the_same_way(tmp_path: Path, start: Any) -> None:
    path = tmp_path / "d.json"
    asked = {"id": "a", "question": "Where?", "answers": [{"text": "Rome", "answer_start": start}]}
    assert read(squad_file(path, asked)).facts["num_offsets_repaired"] == 1
    del asked["answers"][0]["answer_start"]  # type: ignore[attr-defined]
    assert read(squad_file(path, asked)).answers[0][0].start == 59


def test_fault_40_offsets_in_bytes_are_told_apart(tmp_path: Path) -> None:
    second = CONTEXT.rindex("Anna")
    in_bytes = len(CONTEXT[:second].encode())
    assert in_bytes == second + 2
    path = squad_file(
        tmp_path / "d.json", question("twice", "Anna", in_bytes), question("once", "Rome", 59 + 3)
    )
    data = read(path)
    assert [answers[0].start for answers in data.answers] == [second, 59]
    assert (data.facts["num_offsets_in_bytes"], data.facts["num_offsets_repaired"]) == (2, 0)


def test_fault_40_an_offset_that_may_mean_two_places_is_not_repaired(tmp_path: Path) -> None:
    error = refusal(squad_file(tmp_path / "d.json", question("a"), question("b", "Anna", 11)))
    assert "1 of 2 questions are bad" in error.message
    assert "at several other places" in error.message
    assert "is not at 11, but at several places" in error.message
    unsaid = refusal(squad_file(tmp_path / "d.json", question("a"), question("b", "Anna", [])))
    assert "is at several places, and answer_start does not say" in unsaid.message
    assert str(error.where).endswith("d.json: data[0].paragraphs[0].qas[1]")
    assert "--on-bad skip" in str(error.hint)


BAD: dict[str, tuple[Any, str]] = {
    "absent": (question("x", "Paris", 3), "absent_answer"),
    "wrong case": (question("x", "rome", 59), "absent_answer"),
    "ambiguous": (question("x", "Zoë", 2), "ambiguous_answer"),
    "duplicate id": (question("good"), "duplicate_id"),
    "no id": ({"question": "Who?", "answers": []}, "missing_key"),
    "no question": ({"id": "x", "answers": []}, "missing_key"),
    "no answers": ({"id": "x", "question": "Who?"}, "missing_key"),
    "null": (None, "missing_key"),
    "text": ("Who?", "missing_key"),
    "answers no list": ({**question("x"), "answers": "Rome"}, "missing_key"),
    "answer of null": ({**question("x"), "answers": [None]}, "missing_key"),
    "answer without text": ({**question("x"), "answers": [{"answer_start": 3}]}, "missing_key"),
    "uneven lists": ({**question("x"), "answers": {"text": ["Rome"], "answer_start": []}}, "missing_key"),
    "is_impossible a text": ({**question("x"), "is_impossible": "no"}, "missing_key"),
    "impossible with answer": ({**question("x"), "is_impossible": True}, "contradiction"),
    "possible without": ({**question("x", None), "is_impossible": False}, "contradiction"),
    "blank question": ({**question("x"), "question": " \n"}, "blank"),
    "blank answer": (question("x", "", 4), "blank"),
    "half a surrogate": ({**question("x"), "question": "\ud800?"}, "no_unicode"),
    "half in the answer": ({**question("x"), "answers": ["\udc00"]}, "no_unicode"),
}


@pytest.mark.parametrize("case", BAD)
def test_fault_40_a_bad_question_is_refused_or_left_out_and_counted(tmp_path: Path, case: str) -> None:
    bad, fault = BAD[case]
    path = squad_file(tmp_path / "d.json", question("good"), bad, question("last"))
    error = refusal(path)
    assert error.code == "data.bad-questions"
    assert "1 of 3 questions are bad" in error.message
    told: list[Event] = []
    data = read(path, "skip", told)
    assert data.ids == ["good", "last"]
    assert data.facts["num_skipped"] == 1
    assert data.facts["skipped"] == {fault: 1}
    assert "1 bad questions are left out" in warnings(told)


def test_fault_40_all_bad_questions_are_counted_by_what_is_wrong(tmp_path: Path) -> None:
    bad = [question("a", "Paris", 0), question("b", "Milan", 0), question("good", "Rome", 59)]
    error = refusal(squad_file(tmp_path / "d.json", question("good"), *bad))
    assert "3 of 4 questions are bad, first: the answer 'Paris' is not in the context" in error.message
    assert "2 have an answer that is not in the context; 1 have an id" in error.message
    (tmp_path / "all.json").write_text(squad_file(tmp_path / "x.json", bad[0]).read_text())
    with pytest.raises(DataError, match="no question that can be used"):
        read(tmp_path / "all.json", "skip")


@pytest.mark.parametrize(
    "article",
    [None, {}, {"paragraphs": None}, {"paragraphs": [7]}, {"paragraphs": [{"context": "x"}]},
     {"paragraphs": [{"qas": [question("x")]}]}, {"paragraphs": [{"context": " ", "qas": [question("x")]}]}],
)  # fmt: skip
def test_fault_40_what_holds_no_questions_is_one_bad_question(tmp_path: Path, article: Any) -> None:
    path = squad_file(tmp_path / "d.json", question("a"))
    path.write_text(json.dumps([*json.loads(path.read_text())["data"], article]))
    assert refusal(path).code == "data.bad-questions"
    assert read(path, "skip").facts["num_skipped"] == 1


def test_fault_40_unanswerable_is_seen_from_the_questions(tmp_path: Path) -> None:
    told: list[Event] = []
    none = {**question("b", None), "is_impossible": True, "plausible_answers": [{"text": "Rome"}]}
    data = read(squad_file(tmp_path / "d.json", question("a"), none, question("c", None)), told=told)
    assert data.is_answerable.tolist() == [True, False, False]
    assert data.facts["num_unanswerable"] == 2
    assert "2 questions have no answer, which version 1.1 has not" in warnings(told)
    told.clear()
    absent = {"id": "x", "question": "Who?", "is_impossible": True}  # no `answers` at all
    assert len(read(squad_file(tmp_path / "d.json", absent, version="v2.0"), told=told)) == 1
    assert not told


def test_fault_40_several_answers_are_kept_in_order(tmp_path: Path) -> None:
    answers = [{"text": "Anna", "answer_start": 8}, {"text": "Anna met Zoë", "answer_start": 37}]
    data = read(squad_file(tmp_path / "d.json", {**question("a"), "answers": answers}))
    assert data.answers == [(squad.Answer("Anna", 8), squad.Answer("Anna met Zoë", 37))]


@pytest.mark.parametrize(
    "content",
    ["", "{", '{"data": 7}', '{"articles": []}', "7", '"data"', "null", '{"data": [NaN]}',
     '[Infinity]', "[" * 100_000, '{"data": ' * 50_000, "[" + "9" * 5000 + "]"],
)  # fmt: skip
def test_fault_40_what_is_not_squad_is_refused(tmp_path: Path, content: str) -> None:
    error = refusal(tmp_path / "d.json", content)
    assert error.code == "data.not-squad"
    assert error.where == str(tmp_path / "d.json")


def test_fault_40_no_questions_and_too_large_files_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert refusal(tmp_path / "d.json", '{"data": []}').code == "data.empty"
    assert refusal(tmp_path / "d.jsonl", "").code == "data.empty"
    assert refusal(tmp_path / "d.csv", "question,context\n").code == "data.format"
    monkeypatch.setattr(squad, "_MOST_CHARACTERS", 100)
    assert "more than 100 characters" in refusal(squad_file(tmp_path / "d.json", question("a"))).message


def test_json_lines_say_the_same(tmp_path: Path) -> None:
    rows = [
        {"question": "Where?", "context": CONTEXT, "answers": {"text": ["Rome"], "answer_start": [59]}},
        {"id": 7, "question": "When?", "context": CONTEXT, "answers": [{"text": "1429", "answer_start": 27}]},
        {"id": "x", "question": "Who?", "context": CONTEXT, "answers": {"text": [], "answer_start": []}},
        {"question": "In which town?", "context": "Only Rome.", "answers": ["Rome"]},
    ]
    path = tmp_path / "d.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = read(path)
    assert data.ids == ["1", "7", "x", "4"]
    assert [len(answers) for answers in data.answers] == [1, 1, 0, 1]
    assert data.contexts == [CONTEXT, "Only Rome."]
    with path.open("a") as file:
        file.write('{"question": "Why?", "answers": []}\n')
    assert refusal(path).where == f"{path}:5"
    assert read(path, "skip").facts["skipped"] == {"missing_key": 1}


def test_parquet_says_the_same(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    answers = [{"text": ["Rome"], "answer_start": [59]}, {"text": [], "answer_start": []}]
    columns = {"id": ["a", "b"], "question": ["Where?", "Who?"], "context": [CONTEXT] * 2, "answers": answers}
    parquet.write_table(pyarrow.table(columns), tmp_path / "d.parquet")
    data = read(tmp_path / "d.parquet")
    assert data.ids == ["a", "b"]
    assert data.answers == [(squad.Answer("Rome", 59),), ()]


def test_fault_38_repeated_and_contradicting_questions_are_counted(tmp_path: Path) -> None:
    asked = [question("a"), question("b"), question("c", "1429"), question("d", None)]
    same = {"question": "Where  WAS it?"}
    told: list[Event] = []
    path = squad_file(
        tmp_path / "d.json", asked[0] | same, asked[1] | {"question": "where was it?"}, asked[2], asked[3]
    )
    data = read(path, told=told)
    assert (data.facts["num_repeated"], data.facts["num_contradicting"]) == (1, 0)
    path = squad_file(tmp_path / "d.json", *(row | same for row in asked))
    data = read(path, told=told)
    assert (data.facts["num_repeated"], data.facts["num_contradicting"]) == (3, 1)
    assert "1 questions are asked again with no answer in common" in warnings(told)


def test_a_part_of_the_questions_has_their_passages_only(tmp_path: Path) -> None:
    rows = [{"question": f"q{n}", "context": f"c{n % 3}", "answers": [f"c{n % 3}"]} for n in range(6)]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = read(tmp_path / "d.jsonl")
    part = data.take(np.array([5, 1, 4]))
    assert part.questions == ["q5", "q1", "q4"]
    assert part.contexts == ["c1", "c2"]
    assert part.context_of.tolist() == [1, 0, 0]
    assert part.hashes.tolist() == data.hashes[[5, 1, 4]].tolist()
    assert part.hashes[1] == part.hashes[2]


def test_a_part_of_the_questions_is_counted_by_itself(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"question": "q", "context": "c", "answers": []}] * 2
    rows += [{"question": "r", "context": "c", "answers": ["c"]}]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = read(tmp_path / "d.jsonl")
    names = ("num_unanswerable", "num_repeated", "num_skipped")
    assert [data.facts[name] for name in names] == [2, 1, 0]
    assert [data.take(np.array([0, 2])).facts[name] for name in names] == [1, 0, 0]


def test_escape_sequences_in_answers_and_ids_are_not_printed(tmp_path: Path) -> None:
    bad = question("x", "\x1b[31mred", 0)
    assert "\x1b" not in str(refusal(squad_file(tmp_path / "d.json", bad)))
    twice = question("\x1b[0m")
    assert "\x1b" not in str(refusal(squad_file(tmp_path / "d.json", twice, twice)))


def test_the_public_files_are_read_whole(shared_data: Path) -> None:
    data = squad.read(shared_data / "qa" / "squad_v1_dev_part.json", EvaluateConfig(), silent)
    assert (len(data), len(data.contexts), data.facts["num_skipped"]) == (4518, 941, 0)
    assert data.is_answerable.all()
    data = squad.read(shared_data / "qa" / "squad_v2_dev_part.json", EvaluateConfig(), silent)
    assert (len(data), data.facts["num_unanswerable"]) == (5902, 2967)
