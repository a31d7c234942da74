"""Question answering: windows, spans and thresholds, and the task from a file to its answers."""

from __future__ import annotations

import itertools
import json
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from encoders import BAD, GOOD, OTHER, make_encoder, run_evaluate, run_finetune
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, processors
from torch import Tensor, nn
from transformers import AutoModelForQuestionAnswering, AutoTokenizer
from vocabularies import trained

from mlmctl.commands import predict
from mlmctl.config import FinetuneConfig
from mlmctl.errors import DataError
from mlmctl.events import Event, Note, silent
from mlmctl.tasks import passages, spans, squad
from mlmctl.tasks.adapted import TASKS, open_adapted
from mlmctl.tasks.features import Features, batch
from mlmctl.tasks.labelled import text_hash
from mlmctl.tasks.passages import pieces, windows
from mlmctl.tasks.qa import QuestionAnswering
from mlmctl.tasks.spans import Candidate
from mlmctl.text import vocabulary

Form = Literal["NFC", "NFD"]
TASK = QuestionAnswering()
SETTINGS = TASK.settings(TASK.unlabelled([]), FinetuneConfig(task="qa"))


def asked(context: str, *answers: str, question: str = "what film") -> squad.Questions:
    found = tuple(squad.Answer(answer, context.index(answer)) for answer in answers)
    return squad.Questions(["q"], [question], [context], np.zeros(1, dtype=np.int64), [found])


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return vocabulary.load(make_encoder(tmp_path_factory.mktemp("t") / "pretrain"))


def cut(data: squad.Questions, tokenizer: Tokenizer, block_length: int = 16, stride: int = 4) -> Features:
    return windows(data, tokenizer, vocabulary.special_ids(tokenizer), block_length, stride)


@given(st.integers(0, 400), st.integers(3, 60), st.integers(0, 100))
def test_pieces_are_full_overlap_and_leave_nothing_out(num_tokens: int, room: int, overlap: int) -> None:
    overlap = min(overlap, room // 2)
    found = pieces(num_tokens, room, overlap)
    assert (found[0][0], found[-1][1]) == (0, num_tokens)
    assert all(end - start == min(room, num_tokens) for start, end in found)
    for (first, end), (later, _) in itertools.pairwise(found):
        assert first < later <= end - overlap
    if len(found) > 1:  # one piece fewer would not do
        assert num_tokens > (len(found) - 1) * (room - overlap) + overlap


words = st.lists(st.sampled_from([*GOOD, *OTHER, "unheard", "naïve", "🎬", "e\u0301té"]), max_size=40)


@given(words, words, st.integers(8, 40), st.integers(0, 20), st.data())
def test_windows_hold_question_and_passage_and_know_the_place_of_the_answer(
    tokenizer: Tokenizer,
    question: list[str],
    context: list[str],
    block_length: int,
    stride: int,
    data: st.DataObject,
) -> None:
    first = data.draw(st.integers(0, max(0, len(context) - 1)))
    count = data.draw(st.integers(1, 6))
    start, text = len(" ".join([*context[:first], ""])), " ".join(context[first : first + count])
    answers = [squad.Answer(text, start)] if text else []
    passage = " ".join(context)
    examples = squad.Questions(
        ["q"], [" ".join(question)], [passage], np.zeros(1, dtype=np.int64), [tuple(answers)]
    )
    features = cut(examples, tokenizer, block_length, stride)
    special = vocabulary.special_ids(tokenizer)
    assert features.lengths.max() <= block_length
    assert features.offsets is not None
    seen: set[int] = set()
    found = []
    for window in range(len(features.examples)):
        ids = features.input_ids[features.starts[window] : features.starts[window + 1]]
        offsets = features.offsets[features.starts[window] : features.starts[window + 1]]
        begin, end = features.targets["passage"][window]
        assert (ids[0], ids[begin - 1], ids[-1], end) == (special.cls, special.sep, special.sep, len(ids) - 1)
        assert ids[begin:end].tolist() == [
            i
            for i, o in _tokens(tokenizer, passage)
            if offsets[begin, 0] <= o[0] and o[1] <= offsets[end - 1, 1]
        ]
        assert (offsets[:begin] == -1).all()
        assert (offsets[end:] == -1).all()
        seen.update(range(offsets[begin, 0], offsets[end - 1, 1]) if end > begin else ())
        a, b = features.targets["spans"][window]
        if b:
            assert begin <= a <= b < end
            found.append(passage[offsets[a, 0] : offsets[b, 1]])
    assert all(passage[n] == " " for n in set(range(len(passage))) - seen)
    assert all(text == answer for answer in found)
    assert features.facts["share_answers_lost"] == float(bool(answers) and not found)


def test_an_answer_begins_and_ends_with_its_own_tokens(tokenizer: Tokenizer) -> None:
    text = "film (great),film"
    features = cut(asked(text, "great"), tokenizer, block_length=32)
    (span,) = features.targets["spans"]
    assert features.offsets is not None
    (first, _), (_, end) = features.offsets[span]
    assert text[first:end] == "great"


def foreign() -> Tokenizer:
    """Byte-level as others make it: the place of a word begins with the blank before it."""
    tokenizer = trained(kind="bpe")
    specials = vocabulary.special_ids(tokenizer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", specials.cls), ("[SEP]", specials.sep)]
    )
    return tokenizer


@pytest.mark.parametrize("of", [trained, partial(trained, kind="bpe"), foreign])
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_span_is_whole_whatever_the_tokenizer_composes(of: Callable[[], Tokenizer], form: Form) -> None:
    words = [
        unicodedata.normalize(form, word) for word in ("Jose\u0301", "kind", "한국어", "ま\u3099", "bad")
    ]
    tokenizer, text = of(), "  ".join(words)
    for word in words:
        features = cut(asked(text, word), tokenizer, block_length=128)
        assert features.offsets is not None
        (first, last) = features.targets["spans"][0]
        assert text[features.offsets[first, 0] : features.offsets[last, 1]] == word


def _tokens(tokenizer: Tokenizer, text: str) -> list[tuple[int, tuple[int, int]]]:
    encoding = tokenizer.encode(text, add_special_tokens=False)
    return list(zip(encoding.ids, encoding.offsets, strict=True))


def test_fault_40_answers_lost_to_windows_are_counted(tokenizer: Tokenizer) -> None:
    long = asked(" ".join(["film"] * 6 + ["great"] * 12 + ["film"] * 6), " ".join(["great"] * 12))
    assert cut(long, tokenizer).facts["share_answers_lost"] == 1.0
    assert cut(long, tokenizer, block_length=64).facts["share_answers_lost"] == 0.0


def test_fault_39_a_long_question_is_cut_and_counted(tokenizer: Tokenizer) -> None:
    features = cut(asked("great film", "great", question="film " * 40), tokenizer)
    assert features.facts["num_questions_cut"] == 1
    assert features.targets["passage"].tolist() == [[8, 10]]


def test_the_windows_of_a_question_weigh_one_where_the_answer_is(tokenizer: Tokenizer) -> None:
    text = " ".join(["film"] * 11 + ["great"] + ["film"] * 20)
    features = cut(asked(text, "great"), tokenizer, stride=6)
    holds = features.targets["spans"][:, 1] > 0
    assert holds.tolist() == [False, True, True, False, False, False]
    assert features.weights[holds].sum() == pytest.approx(1.0)
    assert features.weights[~holds].sum() == pytest.approx(passages.BESIDE)
    none = cut(asked(text), tokenizer, stride=6)
    assert none.weights.sum() == pytest.approx(1.0)


class Said(nn.Module):
    """A model that says the logits it was given, whatever the tokens."""

    def __init__(self, starts: Tensor, ends: Tensor) -> None:
        super().__init__()
        self.starts = nn.Parameter(starts)
        self.ends = nn.Parameter(ends)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None) -> Any:
        count, length = input_ids.shape
        return type("Output", (), {"start_logits": self.starts[:count, :length],
                                   "end_logits": self.ends[:count, :length]})  # fmt: skip


@given(st.integers(0, 14), st.integers(1, 6), st.integers(1, 40), st.integers(0, 2**20))
def test_the_best_spans_are_those_of_trying_all(size: int, longest: int, num_best: int, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    starts, ends = (torch.randn(1, 24, generator=draw) for _ in range(2))
    begin = 5
    tensors = {
        "input_ids": torch.zeros(1, 24, dtype=torch.int64),
        "passage": torch.tensor([[begin, begin + size]]),
    }
    with torch.no_grad():
        (row,) = spans.best_spans(num_best, longest)(Said(starts, ends), tensors)
    places = [0, *range(begin, begin + size)]
    log_starts = torch.log_softmax(starts[0, places].double(), 0).tolist()
    log_ends = torch.log_softmax(ends[0, places].double(), 0).tolist()
    tried = sorted(
        (
            (log_starts[a] + log_ends[b], places[a], places[b])
            for a in range(1, size + 1)
            for b in range(a, min(a + longest, size + 1))
        ),
        reverse=True,
    )[:num_best]
    assert row[0] == pytest.approx(log_starts[0] + log_ends[0], abs=1e-5)
    scores, firsts, lasts = row[1:].reshape(3, num_best).tolist()
    assert scores[: len(tried)] == pytest.approx([score for score, _, _ in tried], abs=1e-5)
    assert [(f, e) for f, e in zip(firsts, lasts, strict=True)][: len(tried)] == [t[1:] for t in tried]
    assert all(score == float("-inf") for score in scores[len(tried) :])


def test_windows_of_a_question_compete_and_overlaps_count_once(tokenizer: Tokenizer) -> None:
    text = " ".join(["film"] * 11 + ["great"] + ["film"] * 20)
    features = cut(asked(text, "great"), tokenizer, stride=6)
    starts = torch.zeros(len(features.examples), 16)
    for window, (a, b) in enumerate(features.targets["spans"]):
        assert a == b
        starts[window, a] = 4.0 + window  # [CLS] where the answer is not
    (best,) = spans.candidates(Said(starts, starts.clone()), features, 5, 30, 64)
    assert text[best[0].start : best[0].end] == "great"
    assert len({(c.start, c.end) for c in best}) == len(best) == 5
    assert [c.score for c in best] == sorted((c.score for c in best), reverse=True)
    assert best[0].surplus == pytest.approx(12.0)


def test_a_passage_without_tokens_has_no_answer(tokenizer: Tokenizer) -> None:
    features = cut(asked("\u200b\x07", question=""), tokenizer)
    predictions = spans.candidates(Said(torch.zeros(1, 16), torch.zeros(1, 16)), features, 3, 30, 8)
    assert predictions == [[]]
    assert TASK.answers(asked("x"), predictions, SETTINGS)[0]["answer"] == ""


def held(*surpluses: float, context: str = "great film") -> tuple[squad.Questions, list[list[Candidate]]]:
    """Questions that all have the answer `great`, and a model that says so, surer here and there."""
    count = len(surpluses)
    answer = (squad.Answer("great", 0),)
    data = squad.Questions(
        [str(n) for n in range(count)],
        ["what film"] * count,
        [context],
        np.zeros(count, np.int64),
        [answer] * count,
    )
    return data, [[Candidate(0, 5, -0.5, surplus)] for surplus in surpluses]


def test_the_threshold_is_tuned_where_there_may_be_no_answer() -> None:
    data, predictions = held(3.0, 2.0, 1.0, -1.0)
    none = [*data.answers[:2], (), ()]
    data = squad.Questions(data.ids, data.questions, data.contexts, data.context_of, none)
    asked_for = TASK.settings(data, FinetuneConfig(task="qa"))
    assert asked_for["has_no_answer"]
    tuned = TASK.tune(nn.Identity(), data, predictions, asked_for).settings
    assert tuned["no_answer_threshold"] == pytest.approx(1 / (1 + np.exp(2.0)), abs=1e-6)
    report = TASK.score(data, predictions, tuned)
    assert report.metrics["f1"] == report.metrics["best_f1"] == 100.0
    untuned = TASK.score(data, predictions, asked_for)
    assert (untuned.metrics["HasAns_f1"], untuned.metrics["NoAns_f1"]) == (100.0, 50.0)
    assert untuned.metrics["best_f1"] == 100.0
    assert untuned.files["predictions.json"] == {"0": "great", "1": "great", "2": "great", "3": ""}
    assert list(untuned.files["null_odds.json"]) == data.ids
    rows = TASK.answers(data, predictions, tuned)
    assert [row["answer"] for row in rows] == ["great", "great", "", ""]
    assert rows[3]["score"] == pytest.approx(0.7311, abs=1e-4)
    assert rows[3]["no_answer"] == pytest.approx(0.731059, abs=1e-6)
    assert rows[3]["alternatives"][0]["answer"] == "great"


def test_a_model_of_version_1_never_answers_nothing() -> None:
    data, predictions = held(-9.0)
    tuned = TASK.tune(nn.Identity(), data, predictions, SETTINGS).settings
    assert tuned == SETTINGS
    report = TASK.score(data, predictions, tuned)
    assert report.files == {"predictions.json": {"0": "great"}}
    assert not {"best_f1", "HasAns_f1"} & report.metrics.keys()


def test_no_passage_is_on_both_sides_of_what_is_held_out() -> None:
    count = 1000
    generator = np.random.default_rng(0)
    context_of = np.sort(generator.integers(0, 90, count))
    contexts = [f"c{n}" for n in range(90)]
    answers: Sequence[tuple[squad.Answer, ...]] = [(squad.Answer("c", 0),)] * count
    names = [str(n) for n in range(count)]
    data = squad.Questions(names, names, contexts, context_of, answers)
    assert not len(TASK.hold_out(data, 0))  # too few to spare any, as for every task
    unanswerable = squad.Questions(names, names, contexts, context_of, [*answers[1:], ()])
    out = TASK.hold_out(unanswerable, 0)
    assert 80 <= len(out) <= 100
    learned = np.setdiff1d(np.arange(count), out)
    assert not set(context_of[out]) & set(context_of[learned])
    assert out.tolist() == TASK.hold_out(unanswerable, 0).tolist() != TASK.hold_out(unanswerable, 1).tolist()
    one = squad.Questions(names, names, ["c"], np.zeros(count, np.int64), [*answers[1:], ()])
    assert not len(TASK.hold_out(one, 0))
    two = squad.Questions(names, names, ["c", "d"], np.arange(count) % 2, [*answers[1:], ()])
    assert len(TASK.hold_out(two, 0)) == count / 2
    uneven = squad.Questions(names, names, ["c", "d"], np.arange(count) // 800, [*answers[1:], ()])
    assert [len(TASK.hold_out(uneven, seed)) for seed in range(4)] == [200] * 4  # never the 800


def test_a_sample_keeps_the_share_of_unanswerable_questions() -> None:
    data, _ = held(*[0.0] * 100)
    mixed = squad.Questions(
        data.ids, data.questions, data.contexts, data.context_of, [*data.answers[:80], *[()] * 20]
    )
    assert mixed.take(TASK.sample(mixed, 10, 0)).is_answerable.sum() == 8
    with pytest.raises(DataError, match="1 examples cannot hold"):
        TASK.sample(mixed, 1, 0)


# From a file to answers: which word of the passage tells what the film was like?


def make_questions(path: Path, num_examples: int, share_without: float = 0.0, seed: int = 0) -> Path:
    draw = np.random.default_rng(seed)
    paragraphs = []
    for number in range(num_examples):
        before, after = (draw.choice(OTHER, draw.integers(1, 9)).tolist() for _ in range(2))
        if draw.random() < share_without:
            context, answers = [*before, *after], []
        else:
            telling = str(draw.choice(GOOD + BAD))
            context = [*before, telling, *after]
            answers = [{"text": telling, "answer_start": len(" ".join([*before, ""]))}]
        qas = [{"id": f"{seed}-{number}", "question": "what was it", "answers": answers}]
        paragraphs.append({"context": " ".join(context) + f" {number}", "qas": qas})
    path.write_text(json.dumps({"version": "x", "data": [{"title": "x", "paragraphs": paragraphs}]}))
    return path


QA: Mapping[str, Any] = {"task": "qa", "doc_stride": 4, "max_answer_length": 4, "learning_rate": 3e-3}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that may answer nothing."""
    folder = tmp_path_factory.mktemp("model")
    encoder = make_encoder(folder / "pretrain")
    data = make_questions(folder / "train.json", 240, share_without=0.3)
    metrics = run_finetune(folder / "qa", encoder, data, epochs=6.0, **QA)
    assert metrics["num_held_out"] == 24
    assert metrics["share_answers_lost"] == 0.0
    assert metrics["held_out_f1"] > 80
    return folder / "qa"


def test_an_encoder_with_labels_of_its_own_gets_a_head_of_two(tmp_path: Path) -> None:
    encoder = make_encoder(tmp_path / "pretrain")
    config = json.loads((encoder / "config.json").read_text())
    names = {"0": "O", "1": "B-PER", "2": "I-PER"}
    config |= {"id2label": names, "label2id": {name: int(number) for number, name in names.items()}}
    (encoder / "config.json").write_text(json.dumps(config))
    run_finetune(tmp_path / "qa", encoder, make_questions(tmp_path / "train.json", 20), epochs=1.0, **QA)
    stock = AutoModelForQuestionAnswering.from_pretrained(tmp_path / "qa")
    assert stock.config.num_labels == 2


def test_the_files_of_an_evaluation_agree(model: Path, tmp_path: Path) -> None:
    data = make_questions(tmp_path / "test.json", 80, share_without=0.3, seed=1)
    metrics = run_evaluate(tmp_path / "out", model, data, task="qa")
    assert metrics["f1"] > 80
    assert metrics["num_examples"] == metrics["HasAns_total"] + metrics["NoAns_total"] == 80
    assert metrics["num_trained_on"] == metrics["num_skipped"] == metrics["share_answers_lost"] == 0
    assert metrics["kinds"]["what"]["num_examples"] == 80
    assert metrics["best_f1"] >= metrics["f1"] - 1e-9
    said = json.loads((tmp_path / "out" / "predictions.json").read_text())
    rows = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()]
    assert said == {row["id"]: row["prediction"] for row in rows}
    golds = {q["id"]: q["answers"] for q in _all_questions(data)}
    assert list(said) == list(golds)
    hits = [
        said[n] in [a["text"] for a in answers] if answers else not said[n] for n, answers in golds.items()
    ]
    assert metrics["exact_match"] == pytest.approx(100 * np.mean(hits))
    errors = (tmp_path / "out" / "errors.jsonl").read_text().splitlines()
    assert len(errors) == hits.count(False)
    odds = json.loads((tmp_path / "out" / "null_odds.json").read_text())
    threshold = json.loads((model / "task.json").read_text())["settings"]["no_answer_threshold"]
    assert {n for n, text in said.items() if not text} == {n for n, odd in odds.items() if odd > threshold}
    run_evaluate(tmp_path / "again", model, data, task="qa")
    for path in (tmp_path / "out").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def _all_questions(path: Path) -> list[dict[str, Any]]:
    (article,) = json.loads(path.read_text())["data"]
    return [question for paragraph in article["paragraphs"] for question in paragraph["qas"]]


def test_fault_38_passages_that_were_trained_on_are_counted(model: Path, tmp_path: Path) -> None:
    (article,) = json.loads((model.parent / "train.json").read_text())["data"]
    contexts = [paragraph["context"] for paragraph in article["paragraphs"]]
    trained_on = np.load(model / "train_hashes.npy")
    known = next(text for text in contexts if text_hash(text) in trained_on)
    path = tmp_path / "test.jsonl"
    rows = [{"question": "and now", "context": text, "answers": []} for text in (known, "the film was great")]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    told: list[Event] = []
    metrics = run_evaluate(tmp_path / "out", model, path, emit=told.append, task="qa")
    assert metrics["num_trained_on"] == 1
    assert any(
        isinstance(e, Note) and "1 of 2 test texts were in the training data" in e.message for e in told
    )


def test_fault_40_the_result_states_what_was_left_out(model: Path, tmp_path: Path) -> None:
    data = make_questions(tmp_path / "test.json", 10, seed=1)
    content = json.loads(data.read_text())
    content["data"][0]["paragraphs"][0]["qas"][0]["answers"] = ["absent"]
    data.write_text(json.dumps(content))
    with pytest.raises(DataError, match="1 of 10 questions are bad"):
        run_evaluate(tmp_path / "fail", model, data, task="qa")
    told: list[Event] = []
    metrics = run_evaluate(tmp_path / "out", model, data, emit=told.append, task="qa", on_bad="skip")
    assert (metrics["num_examples"], metrics["num_skipped"]) == (9, 1)
    assert metrics["skipped"] == {"absent_answer": 1}
    assert any(isinstance(e, Note) and "left out" in e.message and e.level == "warning" for e in told)


def test_stock_transformers_give_the_same_logits(model: Path) -> None:
    ours = open_adapted(model, torch.device("cpu"))
    stock = AutoModelForQuestionAnswering.from_pretrained(model, attn_implementation="eager").eval()
    asked_of = [("what was it", "the film was great and the cast"), ("what", "a dull plot " * 3)]
    data = TASK.unlabelled([{"question": q, "context": c} for q, c in asked_of])
    features = ours.features(data)
    assert len(features.examples) == 2
    tokenizer = AutoTokenizer.from_pretrained(model)
    tensors = batch(features, np.arange(2))
    texts = [f"[CLS] {question} [SEP] {context} [SEP]" for question, context in asked_of]
    padded = tokenizer(
        texts, add_special_tokens=False, padding=True, pad_to_multiple_of=8, return_tensors="pt"
    )
    assert torch.equal(padded["input_ids"], tensors["input_ids"])
    mask = padded["attention_mask"].bool()
    assert not mask.all()
    with torch.no_grad():
        said = ours.model(input_ids=tensors["input_ids"], attention_mask=tensors["attention_mask"])
        expected = stock(input_ids=padded["input_ids"], attention_mask=padded["attention_mask"])
    for name in ("start_logits", "end_logits"):
        torch.testing.assert_close(said[name][mask], expected[name][mask], atol=1e-5, rtol=0)
    # The answers again, from the stock logits alone.
    for n, answer in enumerate(ours.answer([{"question": q, "context": c} for q, c in asked_of], 8)):
        begin, end = features.targets["passage"][n]
        sums = expected.start_logits[n, begin:end, None] + expected.end_logits[n, None, begin:end]
        allowed = torch.ones_like(sums).triu() - torch.ones_like(sums).triu(4)
        place = int(sums.masked_fill(allowed == 0, -torch.inf).argmax())
        first, last = divmod(place, end - begin)
        first_best = answer["alternatives"][0] if not answer["answer"] else answer
        assert features.offsets is not None
        begin += features.starts[n]
        assert first_best["start"] == features.offsets[begin + first, 0]
        assert first_best["end"] == features.offsets[begin + last, 1]


def test_predict_answers_questions_with_their_ids(model: Path) -> None:
    rows = [
        {"question": "what was it", "context": "the film was Great and a plot", "id": "x"},
        {"question": "what was it", "context": " "},
        {"question": "", "context": "the cast was dull", "id": 7},
        {"question": "", "context": "the cast was dull", "id": True},
    ]
    first, second, third, fourth = predict.run(model, (json.dumps(row) for row in rows))
    assert first["id"] == "x"
    assert first["answer"] == rows[0]["context"][first["start"] : first["end"]]
    assert "id" not in second
    assert (second["answer"], second["alternatives"]) == ("", [])
    assert third["id"] == "7"  # as evaluation names it
    assert 0 <= third["score"] <= 1
    assert "id" not in fourth
    with pytest.raises(DataError, match="'question' and 'context'"):
        list(predict.run(model, ["what was it?"]))


def test_a_model_without_no_answer_warns_of_questions_that_have_none(tmp_path: Path) -> None:
    told: list[Event] = []
    data = make_questions(tmp_path / "test.json", 10, share_without=0.5)
    TASKS["qa"].read(data, FinetuneConfig(task="qa"), told.append, SETTINGS)
    assert "trained to give one always" in "".join(e.message for e in told if isinstance(e, Note))
    TASKS["qa"].read(data, FinetuneConfig(task="qa"), silent)


def test_steps_are_small_and_epochs_few_unless_asked_otherwise(tmp_path: Path) -> None:
    encoder, data = make_encoder(tmp_path / "pretrain"), make_questions(tmp_path / "train.json", 10)
    unsaid: dict[str, Any] = {"task": "qa", "epochs": None, "batch_size": None, "learning_rate": None}
    metrics = run_finetune(tmp_path / "qa", encoder, data, **unsaid)
    assert (metrics["batch_size"], metrics["learning_rate"]) == (8, 1e-3)
    assert metrics["num_epochs"] == 3
    assert TASKS["qa"].epochs(2000) == 1.5
    assert TASKS["qa"].epochs(100_000) == 1
