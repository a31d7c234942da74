"""`mlmctl report`: one page for any run folder, that shows what the data holds and runs none of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, ClassVar

import pytest
from commands import Shell
from evaluated import make_evaluated, make_model
from hostile import CANARY, make_run

from mlmctl.artifact import publish
from mlmctl.commands import report, status
from mlmctl.commands.report import measured, page, plots
from mlmctl.commands.report.opened import Opened
from mlmctl.commands.report.parts import Facts, Group, Line, Matrix, Mistakes, Part, Section, Table
from mlmctl.config import PretrainConfig, RuntimeConfig
from mlmctl.errors import ArtifactError, ResourceError, UsageError
from mlmctl.events import silent
from mlmctl.manifest import Header, Manifest
from mlmctl.storage import HashCache
from mlmctl.text.policy import Policy
from mlmctl.unsafe_text import clean, visible

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

RUNTIME = RuntimeConfig(threads=1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with everything in it, and all of it hostile."""
    return make_run(tmp_path_factory.mktemp("report"))


def written(run: Path, output: Path, **options: Any) -> str:
    asked = {"has_text": True, "force": False, **options}
    report.run(run, output, runtime=RUNTIME, emit=silent, **asked)
    return output.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def text(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report on it."""
    return written(whole, tmp_path_factory.mktemp("out") / "report.html")


TAGS = {
    "html", "head", "meta", "title", "style", "body", "header", "main", "nav", "section", "footer", "a", "p",
    "h1", "h2", "h3", "h4", "ul", "ol", "li", "dl", "div", "dt", "dd", "bdi", "span", "strong", "small",
    "code", "mark", "blockquote", "details", "summary", "figure", "figcaption", "table", "thead", "tbody",
    "tr", "th", "td", "svg", "g", "path", "defs", "clippath", "rect", "use", "text",
}  # fmt: skip
"""What a report is made of."""
CHAPTERS = [
    "lineage", "corpus", "masking", "pretraining", "fillings", "curve", "models", "evaluations", "system",
]  # fmt: skip


class Parsed(HTMLParser):
    """Every tag with its attributes, all text, and whether what was opened was closed again."""

    void: ClassVar[set[str]] = {"meta", "br", "img", "link", "input"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


# what is in it


def test_every_chapter_of_a_whole_run_is_there(text: str) -> None:
    parsed = Parsed(text)
    assert parsed.open == []
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert set(CHAPTERS) <= set(ids)
    assert "missing" not in ids
    num_pictures = sum(tag == "svg" for tag, _ in parsed.tags)
    assert num_pictures == 4  # loss, rates, efficiency, calibration
    for words in (
        "pretrain.steps", "guessing blindly (uniform)", "Confusion matrix", "By label", "By length",
        "By how often the hidden token occurs", "Errors, the worst first", "tokens a document",
    ):  # fmt: skip
        assert words in parsed.text


def test_the_shape_of_a_continued_encoder_is_no_setting() -> None:
    config = PretrainConfig(init="an/encoder").key_fields()
    header = Header("pretrain", config, {"init": "0"})
    made = Manifest("pretrain", header.key, "", config, header.inputs, {}, {}, {}, {})
    names = {cells[0] for cells, _ in report.lineage._settings({"pretrain": made})}
    assert "pretrain.learning_rate" in names
    assert names.isdisjoint({"pretrain.architecture", "pretrain.preset", "pretrain.initialization"})


def test_settings_that_differ_come_first_each_once(whole: Path) -> None:
    opened = Opened.open(whole, status.run(whole), HashCache(None), True, silent)
    chosen, *_, folded = [part for part in report.lineage.section(opened).parts if isinstance(part, Table)]
    rows = {row[0]: row for row in chosen.rows}
    assert rows["pretrain.steps"] == ("pretrain.steps", "4", "not set", "pretrain")
    assert rows["tokenizer.vocab_size"][1:3] == ("120", "8,192")
    assert "mask.rate_start" not in rows
    assert folded.is_folded
    assert "mask.rate_start" in [row[0] for row in folded.rows]
    corpus = next(row for row in folded.rows if row[0] == "corpus.unit")
    assert corpus[3] == "tokenizer, mask/blocks"
    made: Any = dict.fromkeys(["finetune/a", "finetune/b", "finetune/c", "pretrain"])
    assert report.lineage._short(["pretrain", "finetune/a", "finetune/b"], made) == [
        "pretrain", "finetune/a", "finetune/b",
    ]  # fmt: skip
    assert report.lineage._short([*made], made) == ["finetune/*", "pretrain"]


def test_the_same_run_gives_the_same_bytes(whole: Path, text: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(whole.parent)
    assert written(Path(whole.name), tmp_path / "again.html") == text


@pytest.mark.parametrize(("rate_end", "told"), [(0.15, "30 %, in the end 15 %"), (0.3, "30 %")])
def test_a_rate_that_stays_is_told_once(
    whole: Path, monkeypatch: pytest.MonkeyPatch, rate_end: float, told: str
) -> None:
    opened = Opened.open(whole, status.run(whole), HashCache(None), False, silent)
    rules = Policy.read(whole / "mask/policy")
    monkeypatch.setattr(Policy, "read", lambda folder: replace(rules, rate_end=rate_end))
    facts = report.learning.masking(opened).parts[0]
    assert isinstance(facts, Facts)
    assert dict(facts.rows)["rate in training"] == told


# nothing of the data is executed


def test_fault_53_nothing_of_the_data_becomes_a_tag_or_a_command(text: str) -> None:
    parsed = Parsed(text)
    assert {tag for tag, _ in parsed.tags} <= TAGS
    for _, attributes in parsed.tags:
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "action", "data")]
        for name in ("href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#")
    assert "http" not in re.sub("http-equiv", "", text)
    assert "url(" not in re.sub(r"url\(#", "", text)
    policies = [
        tag["content"] for _, tag in parsed.tags if tag.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"]
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
    assert "␛[31mred" in parsed.text
    assert "‹U+202E›gnorw" in parsed.text
    assert "{{ 7 * 191 }}" in parsed.text


def test_without_text_nothing_of_the_data_is_in_it(whole: Path, text: str, tmp_path: Path) -> None:
    assert CANARY in text
    short = written(whole, tmp_path / "report.html", has_text=False)
    assert CANARY not in short
    assert "gnorw" not in short
    for word in ("river", "winter", "sings", "walks"):
        assert word in text
        assert word not in short
    assert "label 2" in short


@pytest.mark.parametrize(
    "character", ["\x00", "\x1b", "\x7f", "\x9b", "\u2028", "\u202e", "\u2069", "\udcff"]
)
def test_characters_that_command_are_shown_or_blanked(character: str) -> None:
    assert clean(f"a{character}b") == "a b"
    shown = visible(f"a{character}b")
    assert character not in shown
    assert len(shown) >= 3
    assert shown.encode()


def test_text_of_any_script_stays_as_it_is() -> None:
    text = "naïve 我喜欢 שלום \u200d👩‍💻 ‏عربي é"
    assert clean(text) == visible(text) == text


# what there is not


def test_a_run_with_only_a_tokenizer_is_told_what_is_missing(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with publish(run / "tokenizer", Header("tokenizer", {"vocab_size": 64, "cased": False})) as draft:
        draft.metrics.update(vocab_size=64, num_documents=3)
    result = report.run(run, None, True, False, RUNTIME, silent)
    assert result["output"] == str(run / "report.html")
    assert result["sections"] == ["lineage", "corpus", "system"]
    missing = {each["section"]: each["command"] for each in result["missing"]}
    assert missing["pretraining"] == "mlmctl pretrain corpus.txt"
    assert list(missing) == ["masking", "pretraining", "fillings", "curve", "models", "evaluations"]
    assert all(command in (run / "report.html").read_text() for command in missing.values())


def test_an_encoder_in_training_has_its_curve_so_far(tmp_path: Path) -> None:
    run = tmp_path / "other"
    work = run / ".work/pretrain-0123"
    work.mkdir(parents=True)
    (work / "request.json").write_text("{}")
    rows = [{"step": n, "loss": 9.0 - n, "lr_factor": n / 10, "num_tokens": 100 * n} for n in range(1, 6)]
    rows.insert(4, {"step": 4, "valid_loss": 5.5, "unigram_loss": 6.4})
    (work / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 6, "lo')
    text = written(run, tmp_path / "report.html")
    assert text.count("<svg") == 2
    assert "mlmctl pretrain --run other" in text
    rows = [{"step": 1, "loss": None, "lr_factor": 0.1, "num_tokens": 100}]  # it was not finite
    (work / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert written(run, tmp_path / "report.html").count("<svg") == 2
    (work / "metrics.jsonl").write_text("")
    assert "<svg" not in written(run, tmp_path / "report.html")


def test_stale_parts_are_told_and_not_shown(whole: Path, tmp_path: Path) -> None:
    opened = Opened.open(whole, status.run(whole), HashCache(None), True, silent)
    rows = [row for row in opened.rows if row.name != "pretrain"]
    rows.append(status.Row("pretrain", "made with another mask/policy", ""))
    stale = Opened(opened.folder, rows, opened.manifests, True)
    assert stale.misfit("pretrain") == "pretrain was made with another mask/policy"
    (line,) = report.fillings.section(stale, RUNTIME).parts
    assert isinstance(line, Line)
    assert "Nothing is filled in" in line.text
    assert plots._mask_rates(opened, [1]) == [0.3]
    assert plots._mask_rates(stale, [1]) == []  # it was trained with another policy than lies here


@pytest.mark.parametrize(
    ("reads", "name"),
    [
        ("pretrain", "pretrain"),
        ("finetune/tags", "finetune/tags"),
        ("/somewhere/other/pretrain", "other/pretrain"),
        ("/cache/hub/models--owner--name/snapshots/86b5e0", "hf:owner/name"),
    ],
)
def test_encoders_from_elsewhere_go_by_their_names(tmp_path: Path, reads: str, name: str) -> None:
    header = Header("finetune/sentiment", {"task": "sentiment"}, {"pretrain": "f" * 64})
    with publish(tmp_path / header.stage, header) as draft:
        draft.details["reads"] = {"pretrain": reads}
    opened = Opened.open(tmp_path, status.run(tmp_path), HashCache(None), True, silent)
    table, *_ = measured.models(opened).parts
    assert isinstance(table, Table)
    assert table.rows[0][2] == name
    (made_from,) = report.lineage._made_from(opened.manifests[header.stage])
    assert made_from == (f"{name} ({'f' * 12})" if reads.startswith("/") else name)


def test_a_command_to_copy_names_a_model_as_one_word(tmp_path: Path) -> None:
    make_model(tmp_path, seed=0, name="x; touch y")
    opened = Opened.open(tmp_path, status.run(tmp_path), HashCache(None), True, silent)
    _, line = measured.models(opened).parts
    assert isinstance(line, Line)
    assert "--model 'x; touch y' --data" in line.command


def test_an_evaluation_of_a_model_that_was_replaced_is_told_and_not_shown(tmp_path: Path) -> None:
    run, output = tmp_path / "run", tmp_path / "report.html"
    make_evaluated(run)
    assert "0.8125" in written(run, output)
    assert "has not been evaluated yet" not in output.read_text()
    make_model(run, seed=1)
    assert "0.8125" not in written(run, output)
    text = Parsed(output.read_text()).text
    assert "sentiment has not been evaluated yet" in text
    assert "evaluate/sentiment/test was made with another finetune/sentiment and is not shown" in text


def test_a_curve_of_another_encoder_is_told_and_not_shown(whole: Path, tmp_path: Path) -> None:
    opened = Opened.open(whole, status.run(whole), HashCache(None), True, silent)
    (shown,) = report.efficiency.section(opened).parts
    assert isinstance(shown, Group)
    again = replace(opened.manifests["pretrain"], fingerprint="0" * 64)
    replaced = replace(opened, manifests={**opened.manifests, "pretrain": again})
    found = opened.json("curve/<i>curve/curve.json")
    del found["fingerprints"]  # as in the files of before
    (tmp_path / "curve/<i>curve").mkdir(parents=True)
    (tmp_path / "curve/<i>curve/curve.json").write_text(json.dumps(found))
    told = (
        "was measured with another encoder than the one here",
        "does not say with which encoder it was measured",
    )
    for stale, why in zip((replaced, replace(opened, folder=tmp_path)), told, strict=True):
        (line,) = report.efficiency.section(stale).parts
        assert isinstance(line, Line)
        assert f"<i>curve {why} and is not shown" in line.text


# what is refused


def copied(whole: Path, folder: Path, *names: str) -> Path:
    for name in names:
        for path in (whole / name).rglob("*"):
            target = folder / path.relative_to(whole)
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.is_file():
                target.write_bytes(path.read_bytes())
    return folder


@pytest.mark.parametrize(
    "name", ["tokenizer/tokenizer.json", "mask/blocks/train.npy", "tokenizer/manifest.json"]
)
def test_fault_20_a_damaged_artifact_is_no_report(whole: Path, tmp_path: Path, name: str) -> None:
    run = copied(whole, tmp_path / "run", "tokenizer", "mask")
    content = bytearray((run / name).read_bytes())
    content[-3] ^= 1
    (run / name).write_bytes(content)
    with pytest.raises(ArtifactError) as error:
        report.run(run, None, True, False, RUNTIME, silent)
    assert error.value.exit_code == 5
    assert not (run / "report.html").exists()


@pytest.mark.parametrize("name", ["curve/a/curve.json", "bench/bench.json"])
@pytest.mark.parametrize(
    "content", ["", "[]", '{"table": {"a": [{}]}, "verdict": "", "score": "", "sides": [1]}']
)
def test_a_result_that_cannot_be_read_is_damage(whole: Path, tmp_path: Path, name: str, content: str) -> None:
    run = copied(whole, tmp_path / "run", "tokenizer")
    (run / name).parent.mkdir(parents=True)
    (run / name).write_text(content)
    with pytest.raises(ArtifactError, match=re.escape(name)):
        report.run(run, None, True, False, RUNTIME, silent)


def test_only_reports_are_replaced_and_links_never(whole: Path, tmp_path: Path, capsys: Any) -> None:
    run, shell = copied(whole, tmp_path / "run", "tokenizer"), Shell(capsys)
    mine = tmp_path / "mine.html"
    mine.write_text("<!doctype html>my own page")
    given = ("report", "--run", run, "--output", mine)
    refused = shell(*given)
    assert refused.code == 2
    assert "--force" in refused.err
    assert mine.read_text() == "<!doctype html>my own page"
    assert shell(*given, "--force").code == 0
    assert shell(*given).code == 0  # a report of ours may be replaced
    link = tmp_path / "link.html"
    link.symlink_to(mine)
    assert shell("report", "--run", run, "--output", link, "--force").code == 5
    for nowhere in (tmp_path, tmp_path / "none/report.html"):
        assert shell("report", "--run", run, "--output", nowhere, "--force").code == 2
    assert not list(tmp_path.glob(".tmp-*"))


def test_fault_14_a_report_that_cannot_be_written_is_told_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_model(tmp_path, seed=0)
    monkeypatch.setattr(os, "access", lambda *asked, **how: False)
    monkeypatch.setattr(Opened, "open", lambda *given: pytest.fail("the run was read"))
    with pytest.raises(ResourceError, match="cannot be written"):
        report.run(tmp_path, None, True, False, RUNTIME, silent)


def test_the_command_prints_the_file_and_says_what_is_missing(
    whole: Path, tmp_path: Path, capsys: Any
) -> None:
    run, shell = copied(whole, tmp_path / "run", "tokenizer"), Shell(capsys)
    outcome = shell("report", "--run", run)
    assert outcome.out == f"{run / 'report.html'}\n"
    assert "mlmctl pretrain corpus.txt" in outcome.err
    found = shell("report", "--run", run, "--no-text", "--json").json
    assert (found["status"], found["num_bytes"]) == ("done", (run / "report.html").stat().st_size)
    assert shell("report", "--run", tmp_path / "nowhere").code == 2
    (tmp_path / "empty").mkdir()
    assert shell("report", "--run", tmp_path / "empty").code == 2


def test_missing_libraries_are_asked_for_by_their_extra(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(UsageError, match="jinja2") as error:
        report.run(whole, None, True, False, RUNTIME, silent)
    assert error.value.hint == "pip install 'mlmctl[report]'"


# evaluations of every task

ERRORS: Mapping[str, tuple[Mapping[str, Any], Sequence[str]]] = {
    "classify": (
        {"label": "a", "prediction": "b", "probabilities": {"a": 0.1, "b": 0.9}, "text": "the <text>"},
        ["the <text>", "a", "b", "90 %"],
    ),
    "tags": (
        {"missed": [{"type": "PER", "text": "Ann"}], "wrong": [], "text": "Ann sings"},
        ["Ann sings", "Ann (PER)", "none"],
    ),
    "qa": (
        {
            "question": "Who?",
            "answers": ["Ann", "Ann", "She"],
            "prediction": "",
            "f1": 0.0,
            "context": "Ann sings.",
        },
        ["Who?", "Ann; She", "(no answer)", "Ann sings."],
    ),
    "pairs": (
        {
            "sentence_good": "It is.",
            "sentence_bad": "It are.",
            "score_good": -9.0,
            "score_bad": -7.5,
            "file": "x",
        },
        ["It is.", "It are.", "1.5", "x"],
    ),
}
METRICS: dict[str, Any] = {
    "accuracy": 0.5,
    "f1": 0.25,
    "num_examples": 40,
    "intervals": {"accuracy": {"low": 0.4, "high": 0.6}, "f1": {"low": 0.2, "high": 0.3}},
    "types": {"PER": {"f1": 0.25, "num_entities": 4}},
    "kinds": {"who": {"f1": 25.0, "num_examples": 4}},
    "skipped": {},
}


def evaluated(run: Path, task: str, error: Any, **metrics: Any) -> list[Part]:
    header = Header("evaluate/m/t", {"task": task}, {"data": "d"})
    with publish(run / "evaluate/m/t", header) as draft:
        draft.metrics.update({**METRICS, **metrics})
        (draft.path / "errors.jsonl").write_text(json.dumps(error) + "\n")
    opened = Opened.open(run, status.run(run), HashCache(None), True, silent)
    group = measured.evaluations(opened).parts[1]
    assert isinstance(group, Group)
    return list(group.parts)


@pytest.mark.parametrize("task", ERRORS)
def test_every_task_has_its_errors_tables_and_intervals(tmp_path: Path, task: str) -> None:
    error, words = ERRORS[task]
    parts = evaluated(tmp_path, task, error)
    (shown,) = [part for part in parts if isinstance(part, Mistakes)]
    told = [shown.rows[0][0], *(value for _, value in shown.rows[0][1])]
    assert all(word in told for word in words)
    tables = {part.title: part for part in parts if isinstance(part, Table)}
    assert ("accuracy", "0.5", "0.4 to 0.6") in tables["Metrics"].rows
    assert tables["By type"].rows == [("PER", "0.25", "4")]
    assert page.render("t", [], [Section("e", "Evaluations", parts)])


def test_errors_of_another_form_are_damage(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"errors\.jsonl"):
        evaluated(tmp_path, "classify", {"text": "no label"})


def test_a_measurement_on_masks_is_of_tokens_and_records_no_errors(whole: Path) -> None:
    for has_text in (True, False):
        opened = Opened.open(whole, status.run(whole), HashCache(None), has_text, silent)
        table, *groups = measured.evaluations(opened).parts
        assert isinstance(table, Table)
        found = {row[1]: row[-1] for row in table.rows}
        assert re.fullmatch(r"\d+ masked tokens", found["mlm"])
        assert found["sentiment"] == "40 examples"
        (masks,) = [group for group in groups if isinstance(group, Group) and group.title.endswith("/mlm")]
        assert not any(isinstance(part, Line) for part in masks.parts)


def test_of_many_labels_only_the_worst_confusions_are_shown(tmp_path: Path) -> None:
    labels = {f"label-{n}": {"f1": 0.5} for n in range(30)}
    counts = [[5 if row == column else 0 for column in range(30)] for row in range(30)]
    counts[3][4], counts[7][8] = 2, 9
    parts = evaluated(tmp_path, "classify", ERRORS["classify"][0], labels=labels, confusion=counts)
    assert not any(isinstance(part, Matrix) for part in parts)
    table = next(part for part in parts if isinstance(part, Table) and "confusions" in part.title)
    assert table.rows == [("label-7", "label-8", "9"), ("label-3", "label-4", "2")]


def test_loops_that_ran_without_ours_are_shown_without_a_ratio(whole: Path, tmp_path: Path) -> None:
    run = copied(whole, tmp_path / "run", "tokenizer")
    side = {
        "title": "Trainer",
        "tokens_per_second": {"median": 512.0, "min": 500.0, "max": 520.0},
        "ours_over_this": None,
        "peak_memory_bytes": 10**9,
    }
    (run / "bench").mkdir()
    (run / "bench/bench.json").write_text(json.dumps({"sides": [side]}))
    opened = Opened.open(run, status.run(run), HashCache(None), True, silent)
    table = report.system.section(opened).parts[-1]
    assert isinstance(table, Table)
    ((title, speed, _, times, _),) = table.rows
    assert (title, speed, times) == ("Trainer", "512", "")


# pictures


def test_pictures_are_named_apart_and_take_their_colours_from_the_page() -> None:
    def draw(drawn: Any) -> None:
        drawn.plot([0, 1], [0, 1], color="#0072B2")

    one, other = plots.inline("one", "t", draw), plots.inline("other", "t", draw)
    assert one == plots.inline("one", "t", draw)
    assert one.replace("one-", "other-") == other
    assert "var(--c0)" in one
    assert "var(--axis)" in one
    assert "<style" not in one
    assert not re.search(r"#[0-9a-f]{6}", one.replace("#000000", ""))


def test_the_page_refuses_what_it_is_not_given() -> None:
    with pytest.raises(Exception, match="kind"):
        page.render("t", [], [Section("e", "E", ["no part"])])  # type: ignore[list-item]


# in a real browser

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_SECONDS = 60
POLICY = re.compile(r"<meta http-equiv=.Content-Security-Policy.[^>]*>")
INTRUDER = "<script>document.title = 'ran'</script>"

Browser = Callable[[str], str]


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    """Opens a page from a file and gives the document as it is after all that the page does."""
    named = os.environ.get("MLMCTL_BROWSER")
    found = named or next(filter(None, map(shutil.which, _NAMES)), None)
    if not found:
        pytest.skip("no Chromium here (apt-get install chromium, or set MLMCTL_BROWSER)")
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")

    def document(page: str) -> str:
        path = tmp_path / "page.html"
        path.write_text(page, encoding="utf-8")
        profile = f"--user-data-dir={tmp_path / 'profile'}"
        done = subprocess.run(
            [found, *flags, profile, "--virtual-time-budget=2000", "--dump-dom", path.as_uri()],
            capture_output=True,
            check=True,
            timeout=_SECONDS,
        )
        return done.stdout.decode()

    return document


def title(document: str) -> str:
    found = re.search("<title>(.*?)</title>", document)
    assert found is not None
    return found[1]


def test_fault_53_a_browser_runs_nothing_of_the_data(browser: Browser, text: str) -> None:
    document = browser(text)
    assert title(document) == title(text)
    assert "mlmctl report" in title(document)
    elements = re.sub(r"<style>.*?</style>", "", document, flags=re.S)
    assert not re.search(r"<(script|img|iframe|object|embed|link|form)\b", elements)
    assert not re.search(r"<[^>]*\son\w+\s*=", elements)


def test_the_page_forbids_scripts_even_if_one_got_in(browser: Browser, text: str) -> None:
    intruded = text.replace("</body>", f"{INTRUDER}</body>")
    assert title(browser(intruded)) == title(text)
    unguarded, num_policies = POLICY.subn("", intruded)
    assert num_policies == 1
    assert title(browser(unguarded)) == "ran"  # so this browser does run scripts where it may


@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_is_never_wider_than_the_screen(browser: Browser, text: str, width: int) -> None:
    measure = "document.title = frame.contentDocument.documentElement.scrollWidth"
    frame = (
        f'<iframe id="frame" width="{width}" height="800" style="border: 0" srcdoc="{escape(text)}"></iframe>'
    )
    page = f"<!doctype html><title>-</title>{frame}<script>frame.onload = () => {{ {measure} }}</script>"
    assert int(title(browser(page))) <= width
