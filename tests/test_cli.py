"""The command line: one pipeline end to end, the JSON contract, the exit codes."""

from __future__ import annotations

import io
import json
import shutil
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from commands import SMALL, WORDS, Outcome, Shell, write_corpus

from mlmctl.cli import options
from mlmctl.cli.app import _complete_force
from mlmctl.commands import stdin
from mlmctl.config import Recipe
from mlmctl.console import Console
from mlmctl.errors import DataError
from mlmctl.events import Progress
from mlmctl.manifest import read_manifest

RUN_KEYS = {"schema_version", "command", "status", "run", "stages", "artifacts", "metrics"}
PRETRAIN_METRICS = {
    "valid_loss", "valid_accuracy", "unigram_loss", "uniform_loss", "num_parameters", "num_steps",
    "num_train_tokens", "tokens_per_second", "seconds", "peak_memory_bytes",
}  # fmt: skip


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLMCTL_RUN", raising=False)
    return Shell(capsys)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a tiny encoder, made by the command."""
    folder = tmp_path_factory.mktemp("trained")
    corpus = write_corpus(folder / "corpus.txt")
    with pytest.raises(SystemExit) as caught:
        from mlmctl.cli import main

        main(["pretrain", str(corpus), "--run", str(folder / "run"), "--steps", "3", *SMALL, "--quiet"])
    assert caught.value.code == 0
    return folder / "run"


def one_error(outcome: Outcome, code: int) -> str:
    """The single line of an error; asserts the exit code and that there is no traceback."""
    lines = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert outcome.code == code, outcome.err
    assert len(lines) == 1
    assert "Traceback" not in outcome.err
    return lines[0]


def test_a_corpus_folder_that_holds_the_run_folder_stays_the_same_corpus(shell: Shell) -> None:
    write_corpus(Path("c.txt"))
    arguments = ("pretrain", ".", *SMALL, "--steps", "2", "--json")
    assert {stage["status"] for stage in shell(*arguments).json["stages"]} == {"ran"}
    assert {stage["status"] for stage in shell(*arguments).json["stages"]} == {"fresh"}


def test_five_commands_run_end_to_end_with_no_data_named(shell: Shell) -> None:
    small = [*SMALL, "--steps", "2"]
    assert shell("tokenizer", "--vocab-size", "400", "--json").json["metrics"]["vocab_size"] == 400
    masked = shell("mask", "--block-length", "32", "--json").json
    assert [stage["status"] for stage in masked["stages"]] == ["fresh", "ran", "ran"]
    pretrained = shell("pretrain", *small[:2], *small[6:], "--json").json
    assert set(pretrained) - {"warnings"} == RUN_KEYS
    assert set(pretrained["metrics"]) >= PRETRAIN_METRICS
    assert [stage["status"] for stage in pretrained["stages"]] == ["fresh", "fresh", "fresh", "ran"]
    adapted = shell("finetune", "--task", "sentiment", "--max-examples", "20", "--epochs", "1", "--json")
    assert "built-in" in adapted.json["warnings"][0]
    measured = shell("evaluate", "--task", "sentiment", "--json").json
    assert 0 <= measured["metrics"]["accuracy"] <= 1
    assert Path(measured["artifacts"]["evaluate/sentiment/sentiment-test"], "predictions.jsonl").is_file()
    manifest = json.loads(Path("run/finetune/sentiment/manifest.json").read_text())
    assert manifest["details"]["built_in_data"] is True
    states = {row["name"]: row["state"] for row in shell("status", "--json").json["artifacts"]}
    assert set(states.values()) == {"ok"}
    assert len(states) == 6


def test_question_answering_runs_end_to_end_with_no_data_named(shell: Shell, trained: Path) -> None:
    run = ("--run", trained, "--task", "qa", "--json")
    adapted = shell("finetune", *run, "--epochs", "1").json
    assert "built-in qa set" in adapted["warnings"][0]
    assert adapted["metrics"]["share_answers_lost"] < 0.5  # in letters more than words
    measured = shell("evaluate", *run).json
    assert measured["metrics"].keys() >= {"exact_match", "f1", "num_examples", "kinds"}
    folder = Path(measured["artifacts"]["evaluate/qa/qa-test"])
    assert len(json.loads((folder / "predictions.json").read_text())) == 40
    gated = shell("evaluate", *run, "--fail-under", "f1=101")
    assert (gated.code, gated.json["error"]["code"]) == (3, "gate.failed")


def test_fault_40_bad_questions_are_refused_or_skipped_by_a_flag(shell: Shell, trained: Path) -> None:
    asked = {"question": "Which river?", "context": "the old river", "answers": ["the old river"]}
    data = trained.parent / "qa.jsonl"
    data.write_text(f"{json.dumps(asked)}\n" * 3 + json.dumps({**asked, "answers": ["sea"]}) + "\n")
    run = ("--run", trained, "--task", "qa", "--data", data, "--name", "skips", "--epochs", "1")
    assert "1 of 4 questions are bad" in one_error(shell("finetune", *run), 4)
    adapted = shell("finetune", *run, "--on-bad", "skip", "--json").json
    assert (adapted["metrics"]["num_examples"], adapted["metrics"]["num_skipped"]) == (3, 1)
    again = shell("finetune", *run, "--on-bad", "skip", "--json").json
    assert again["stages"][-1]["status"] == "fresh"
    assert again["warnings"] == adapted["warnings"]  # as long as the result stands


def test_the_same_command_again_has_nothing_to_do(shell: Shell, trained: Path) -> None:
    corpus = trained.parent / "corpus.txt"
    again = shell("pretrain", corpus, "--run", trained, "--steps", "3", *SMALL, "--json").json
    assert {stage["status"] for stage in again["stages"]} == {"fresh"}
    assert set(again["metrics"]) >= PRETRAIN_METRICS


def test_fault_02_a_kill_between_blocks_and_policy_changes_nothing(shell: Shell, tmp_path: Path) -> None:
    asked = (
        "mask",
        write_corpus(tmp_path / "c.txt"),
        "--vocab-size",
        "120",
        "--block-length",
        "32",
        "--json",
    )
    whole = shell(*asked).json
    shutil.rmtree(tmp_path / "run/mask/policy")
    again = shell(*asked).json
    assert [stage["status"] for stage in again["stages"]] == ["fresh", "fresh", "ran"]
    assert again["stages"][-1]["fingerprint"] == whole["stages"][-1]["fingerprint"]


def test_fault_04_what_a_kill_left_of_a_finished_stage_is_cleaned(shell: Shell, tmp_path: Path) -> None:
    asked = ("tokenizer", write_corpus(tmp_path / "c.txt"), "--vocab-size", "120", "--json")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_module("mlmctl.pipeline.execute"), "tidy", lambda *arguments: None)
        shell(*asked)
    assert list(tmp_path.glob("run/.work/tokenizer-*"))
    assert shell(*asked).json["stages"][0]["status"] == "fresh"
    assert not list(tmp_path.glob("run/.work/tokenizer-*"))


def test_more_steps_continue_and_fewer_are_refused(shell: Shell, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c.txt")
    shell("pretrain", corpus, "--steps", "3", *SMALL)
    longer = shell("pretrain", corpus, "--steps", "10", *SMALL, "--json").json
    assert [stage["status"] for stage in longer["stages"]] == ["fresh"] * 3 + ["resumed"]
    kept = [path.name for path in tmp_path.glob("run/.work/*/checkpoints/*")]
    assert kept == ["step-00000004"]  # the one before the decay, from which more could be continued
    assert "this run has 10" in one_error(shell("pretrain", corpus, "--steps", "3", *SMALL), 2)


def test_another_rate_or_unit_tokenizes_nothing_again(shell: Shell, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c.txt")
    shell("mask", corpus, "--vocab-size", "100", "--block-length", "32")
    for flag, value in (("--mask-rate", "0.2"), ("--mask-unit", "span"), ("--mask-unit", "word")):
        made = shell("mask", flag, value, "--json").json
        assert [stage["status"] for stage in made["stages"]] == ["fresh", "fresh", "ran"]
    assert made["metrics"]["words_hidden_whole"] == 1
    assert json.loads(Path("run/mask/policy/policy.json").read_text())["rate_end"] == 0.2
    assert "mask.unit" in one_error(shell("mask", "--mask-unit", "sentence"), 2)


def test_near_duplicates_and_filters_are_in_the_keys(shell: Shell, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c.txt")
    shell("mask", corpus, "--vocab-size", "100", "--block-length", "32")
    made = shell("mask", "--near-duplicates", "0.8", "--json").json
    assert [stage["status"] for stage in made["stages"]] == ["fresh", "ran", "ran"]
    made = shell("mask", "--json").json  # nobody says it again, and it stays
    assert [stage["status"] for stage in made["stages"]] == ["fresh"] * 3
    made = shell("mask", "--near-duplicates", "0", "--set", "corpus.min_words=5", "--json").json
    assert [stage["status"] for stage in made["stages"]] == ["ran"] * 3
    assert made["metrics"]["num_near_duplicates"] == 0
    assert "from 0.5 to 1" in one_error(shell("mask", "--near-duplicates", "0.3"), 2)
    assert "dropped" in one_error(shell("mask", "--set", "corpus.min_words=5000"), 4)


def test_a_pinned_tokenizer_is_used_as_it_is(shell: Shell, trained: Path, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "other.txt", 50)
    made = shell("mask", corpus, "--tokenizer", trained / "tokenizer", "--block-length", "16", "--json")
    assert made.code == 0
    assert (
        Path("run/tokenizer/tokenizer.json").read_bytes()
        == (trained / "tokenizer/tokenizer.json").read_bytes()
    )
    again = shell("mask", "--json").json
    assert {stage["status"] for stage in again["stages"]} == {"fresh"}


def test_byte_level_from_corpus_to_filled_word(shell: Shell, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c.txt")
    small = [*SMALL, "--vocab-size", "300"]
    made = shell("pretrain", corpus, "--tokenizer-type", "bpe", "--steps", "2", *small, "--json")
    assert made.code == 0, made.err
    found = shell("tokenizer", "--json").json["metrics"]
    assert (found["unknown_share"], found["vocab_size"]) == (0, 300)
    preview = shell("mask", "--preview", "1").out
    assert any(f" {word} " in preview for word in WORDS)
    assert "Ġ" not in preview
    (filled,) = shell("fill", "the [MASK] sings.", "--json").json["masks"]
    assert not any("Ġ" in filling["token"] for filling in filled)


def test_a_dry_run_plans_and_writes_nothing(shell: Shell, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c.txt")
    planned = shell("pretrain", corpus, "--dry-run", "--json").json
    assert [stage["action"] for stage in planned["stages"]] == ["run"] * 4
    assert not (tmp_path / "run").exists()


def test_fill_and_predict_answer_line_by_line(
    shell: Shell, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled = shell("fill", "the [MASK] sings", "--run", trained, "--top-k", "3", "--json").json
    assert len(filled["masks"][0]) == 3
    assert "no [MASK]" in one_error(shell("fill", "no hole", "--run", trained), 4)
    assert "not valid Unicode" in one_error(shell("fill", "\udcff [MASK]", "--run", trained), 4)
    monkeypatch.setattr("sys.stdin", _stdin("a good day\na bad day\n"))
    shell("finetune", "--run", trained, "--max-examples", "8", "--epochs", "1", "-q")
    answers = [json.loads(line) for line in shell("predict", "--run", trained, "--json").out.splitlines()]
    assert [set(answer) for answer in answers] == [{"schema_version", "label", "score", "probabilities"}] * 2


def test_fault_27_bytes_on_standard_input_that_are_not_utf8_have_their_line(
    shell: Shell, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a good day\rgr\xc3\xbcn\ncaf\xe9\n")))
    line = one_error(shell("embed", "--run", trained), 4)
    assert "standard input, line 3" in line
    assert "byte 0xe9 is not UTF-8" in line


def test_fault_28_a_byte_order_mark_on_standard_input_is_no_text(
    shell: Shell, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []
    for mark in (b"", b"\xef\xbb\xbf"):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(mark + b'{"text": "a good day"}\n')))
        told.append(shell("embed", "--run", trained).out)
    assert told[0] == told[1] != ""


def test_the_frozen_masks_are_no_other_text(shell: Shell, trained: Path) -> None:
    line = one_error(shell("evaluate", "--run", trained, "--task", "mlm", "--data", "held-out.txt"), 2)
    assert "frozen masks" in line
    named = shell("evaluate", "--run", trained, "--task", "mlm", "--name", "again", "--json").json
    assert named["artifacts"]["evaluate/pretrain/again"]


def test_what_data_is_called_reaches_no_terminal_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    Console().table(("label", "a\x1b]0;b\tc"), [("[/d]", "1")])
    assert capsys.readouterr().out.splitlines() == ["label\ta ]0;b c", "[/d]\t1"]


def test_a_name_on_a_progress_bar_is_no_markup(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")  # of rich: standard error is taken for a terminal
    console = Console()
    console.emit(Progress("evaluate/a[/b]", 1, 2, "examples [old]"))
    console.close()
    assert "evaluate/a[/b]" in capsys.readouterr().err


def test_embed_gives_the_same_numbers_in_every_form(
    shell: Shell, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def embedded(*arguments: str) -> Outcome:
        monkeypatch.setattr("sys.stdin", _stdin("the river sings\n\ngreen stone\n"))
        return shell("embed", "--run", trained, *arguments)

    rows = [json.loads(line) for line in embedded("--json").out.splitlines()]
    assert [set(row) for row in rows] == [{"schema_version", "embedding"}] * 3
    plain = [[float(cell) for cell in line.split("\t")] for line in embedded().out.splitlines()]
    assert plain == [row["embedding"] for row in rows]
    assert len(plain[0]) == 16
    written = embedded("--output", "out.npy", "--json").json
    assert (written["num_texts"], written["hidden_size"], written["output"]) == (3, 16, "out.npy")
    assert np.load("out.npy").astype(np.float64).tolist() == np.float32(plain).astype(np.float64).tolist()
    assert ".npy" in one_error(embedded("--output", "out.csv"), 2)
    assert "mean" in one_error(embedded("--pooling", "max"), 2)


def test_preview_and_export_show_what_is_masked(shell: Shell, trained: Path, tmp_path: Path) -> None:
    preview = shell("mask", "--run", trained, "--preview", "2").out
    assert preview.count("[CLS]") == 2
    assert "[MASK←" in preview
    shell("mask", "--run", trained, "--export", tmp_path / "out.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert all(len(row["input_ids"]) == len(row["labels"]) for row in rows)
    assert any(label != -100 for label in rows[0]["labels"])


def test_a_preview_is_no_json(shell: Shell, tmp_path: Path) -> None:
    outcome = shell("mask", "--preview", "2", "--json")
    assert (outcome.code, outcome.json["error"]["code"]) == (2, "usage.preview")


def test_the_defaults_that_are_told_are_those_of_the_recipe() -> None:
    recipe, num_told = Recipe(), 0
    for flag in options._FLAGS.values():
        values = []
        for target in flag.targets:
            table, field = target.format(command="finetune").split(".")
            values.append(str(getattr(getattr(recipe, table), field)))
        if flag.default:
            num_told += 1
            assert flag.default.partition(":")[0] == " falling to ".join(dict.fromkeys(values))
    assert num_told > 10


def test_a_limit_on_a_loss_is_refused_before_anything_is_evaluated(shell: Shell) -> None:
    outcome = shell("evaluate", "--task", "mlm", "--fail-under", "valid_loss=3", "--json")
    assert (outcome.code, outcome.json["error"]["code"]) == (2, "usage.metric")


def test_a_gate_fails_with_3_and_still_gives_the_metrics(shell: Shell, trained: Path) -> None:
    shell("finetune", "--run", trained, "--max-examples", "10", "--epochs", "1", "--name", "gate")
    failed = shell("evaluate", "--run", trained, "--model", "gate", "--fail-under", "accuracy=1.1", "--json")
    assert failed.code == 3
    assert failed.json["error"]["code"] == "gate.failed"
    assert "accuracy" in failed.json["metrics"]
    passed = shell("evaluate", "--run", trained, "--model", "gate", "--fail-under", "accuracy=0.0")
    assert passed.code == 0
    unknown = shell("evaluate", "--run", trained, "--model", "gate", "--fail-under", "accurracy=0.5")
    assert "accuracy" in one_error(unknown, 2)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["pretrain", "nothing-here.txt"], 2),
        (["pretrain", "owner/corpus"], 2),
        (["pretrain", "--preset", "huge"], 2),
        (["pretrain", "--budget", "soon"], 2),
        (["pretrain", "--no-such-flag"], 2),
        (["no-such-command"], 2),
        (["finetune", "--task", "poetry"], 2),
        (["finetune", "--data", "missing.jsonl"], 2),
        (["finetune"], 5),
        (["evaluate"], 5),
        (["fill", "x [MASK]"], 5),
        (["embed"], 5),
        (["status", "--run", "nowhere"], 2),
        (["recipe", "check", "nothing.toml"], 2),
        (["finetune", "--name", "../outside"], 2),
    ],
)
def test_what_is_wrong_is_one_line_and_a_json_object(shell: Shell, arguments: list[str], code: int) -> None:
    one_error(shell(*arguments), code)
    failed = shell(*arguments, "--json")
    assert failed.code == code
    assert failed.json["status"] == "error"
    assert set(failed.json["error"]) == {"code", "message", "where", "hint"}


def test_fault_27_latin1_is_refused_and_the_hint_works(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes("\n\n".join(["the old house in the café by the river " * 3] * 30).encode("latin-1"))
    line = one_error(shell("tokenizer", path, "--vocab-size", "100"), 4)
    assert "latin.txt" in line
    assert "--encoding" in line
    assert shell("tokenizer", path, "--vocab-size", "100", "--encoding", "latin-1").code == 0


@pytest.mark.parametrize("content", [b"", b"  \n\t\n \n"])
def test_fault_30_nothing_to_read_is_refused(shell: Shell, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "empty.txt").write_bytes(content)
    one_error(shell("tokenizer", "empty.txt"), 4)
    (tmp_path / "folder").mkdir()
    one_error(shell("tokenizer", "folder"), 4)
    (tmp_path / "link.txt").symlink_to("nowhere")
    one_error(shell("tokenizer", "link.txt"), 4)


def test_fault_32_a_corpus_shorter_than_a_block_works_or_is_refused(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text(
        "the quiet river under the old stone house sings over the light\n" * 3
    )
    refused = shell("pretrain", "short.txt", "--steps", "2", *SMALL)
    if refused.code:
        assert "tokens" in one_error(refused, 4)
    (tmp_path / "one.txt").write_text("one two\n")
    assert "tokens" in one_error(shell("pretrain", "one.txt", "--steps", "2", *SMALL), 4)


def test_fault_22_a_damaged_tokenizer_is_named_before_anything_is_computed(
    shell: Shell, tmp_path: Path
) -> None:
    corpus = write_corpus(tmp_path / "c.txt")
    shell("mask", corpus, "--vocab-size", "100", "--block-length", "32")
    path = tmp_path / "run/tokenizer/tokenizer.json"
    path.write_text(path.read_text().replace("river", "rivet"))
    assert "tokenizer.json" in one_error(
        shell("mask", corpus, "--vocab-size", "100", "--block-length", "32"), 5
    )


def test_fault_16_and_53_odd_names_work_and_are_shown_harmlessly(shell: Shell, tmp_path: Path) -> None:
    odd = tmp_path / "a b\n\x1b[31mred.txt"
    write_corpus(odd)
    made = shell("tokenizer", odd, "--run", tmp_path / "run with blanks", "--vocab-size", "100")
    assert made.code == 0
    assert "\x1b" not in made.out + made.err
    missing = shell("tokenizer", "\x1b[31mgone.txt")
    assert "\x1b" not in one_error(missing, 2)


def test_a_corpus_that_is_gone_is_told(shell: Shell, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c.txt")
    shell("mask", corpus, "--vocab-size", "100", "--block-length", "32")
    corpus.unlink()
    assert shell("mask").code == 0
    assert "corpus is gone" in one_error(shell("mask", "--block-length", "16"), 4)


def test_standard_input_is_the_same_as_the_file(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = write_corpus(tmp_path / "c.txt")
    shell("tokenizer", corpus, "--vocab-size", "100", "--run", "a")
    monkeypatch.setattr("sys.stdin", _stdin(corpus.read_text()))
    assert shell("tokenizer", "-", "--vocab-size", "100", "--run", "b").code == 0
    content = [Path(run, "tokenizer/tokenizer.json").read_bytes() for run in "ab"]
    assert content[0] == content[1]


def test_force_alone_means_the_own_stage() -> None:
    assert _complete_force(["mask", "--force"]) == ["mask", "--force", "own"]
    assert _complete_force(["mask", "--force", "--json"]) == ["mask", "--force", "own", "--json"]
    assert _complete_force(["run", "--force", "pretrain"]) == ["run", "--force", "pretrain"]
    assert _complete_force(["export", "--force", "--json"]) == ["export", "--force", "--json"]


def test_force_makes_a_stage_again(shell: Shell, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c.txt")
    shell("mask", corpus, "--vocab-size", "100", "--block-length", "32")
    stages = shell("mask", corpus, "--vocab-size", "100", "--block-length", "32", "--force", "--json").json
    assert [stage["status"] for stage in stages["stages"]] == ["fresh", "ran", "ran"]


def test_what_is_forced_is_made_as_it_was(shell: Shell, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c.txt")
    shell("mask", corpus, "--vocab-size", "100", "--block-length", "32")
    before = {name: read_manifest(Path("run", name)).key for name in ("tokenizer", "mask/blocks")}
    stages = shell("mask", "--force", "--json").json["stages"]
    assert [stage["status"] for stage in stages] == ["fresh", "ran", "ran"]
    assert {name: read_manifest(Path("run", name)).key for name in before} == before
    next(Path("run/mask/blocks").glob("*.npy")).write_bytes(b"")  # the manifest still says how it was made
    stages = shell("mask", "--force", "--json").json["stages"]
    assert [stage["status"] for stage in stages] == ["fresh", "ran", "ran"]
    assert {name: read_manifest(Path("run", name)).key for name in before} == before
    Path("run/tokenizer/manifest.json").write_text("{")
    assert shell("tokenizer", "--vocab-size", "100", "--force").code == 0
    assert {name: read_manifest(Path("run", name)).key for name in before} == before
    Path("run/mask/blocks/manifest.json").write_text("{")  # nothing can be taken from it
    assert "--force" in shell("mask").err
    again = shell("mask", corpus, "--block-length", "32", "--force", "--json").json["stages"]
    assert [stage["status"] for stage in again] == ["fresh", "ran", "ran"]
    assert {name: read_manifest(Path("run", name)).key for name in before} == before


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["a", "", "b"], ["a", "", "b"]),
        (["", " ", "b"], ["", " ", "b"]),
        (["", ""], ["", ""]),
        (['{"text": "a"}', "", '{"text": ""}', " "], ["a", ""]),
        (["", '{"text": "a", "n": 1}'], ["a"]),
        (['{"text": "a"', "b"], ['{"text": "a"', "b"]),
        (["[1]"], ["[1]"]),
    ],
)
def test_lines_are_text_or_json_objects(lines: list[str], found: list[str]) -> None:
    assert list(stdin.texts(f"{line}\n" for line in lines)) == found


@pytest.mark.parametrize("line", ['{"sentence": "a"}', '{"text": null}', '{"text": 1}'])
def test_json_without_the_column_is_no_plain_text(line: str) -> None:
    with pytest.raises(DataError, match=r"line 2: .* strings under 'text' .jq"):
        list(stdin.texts(["\n", line]))


def test_blank_lines_between_questions_are_passed_over() -> None:
    row = {"question": "who?", "context": "me"}
    lines = ["\n", json.dumps(row) + "\n", " \n", json.dumps({**row, "id": 7})]
    assert list(stdin.rows(lines, ("question", "context"))) == [row, {**row, "id": "7"}]
    with pytest.raises(DataError, match="line 1"):
        list(stdin.rows(["who?"], ("question", "context")))


def test_recipes_are_listed_shown_and_checked(shell: Shell) -> None:
    listed = [row["name"] for row in shell("recipe", "list", "--json").json["recipes"]]
    assert "quick" in listed
    for name in listed:
        assert shell("recipe", "check", name).code == 0
    values = shell("recipe", "show", "quick", "--resolved", "--budget", "2m", "--json").json["values"]
    origins = {row["key"]: row["origin"] for row in values}
    assert origins["pretrain.preset"] == "recipe quick.toml"
    assert origins["pretrain.budget"] == "flag"
    assert origins["mask.block_length"] == "default"


def test_doctor_tells_the_machine_and_the_corpus(shell: Shell, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c.txt")
    facts = shell("doctor", corpus, "--json").json
    assert facts["machine"]["num_threads"] >= 1
    assert facts["corpus"]["num_documents"] == 120
    assert facts["plan"]["num_parameters"] > 0
    assert "plan" not in shell("doctor", "--json").json
    assert not (tmp_path / "run").exists()


class _Input:
    """A standard input: text for `sys.stdin`, bytes behind it."""

    def __init__(self, text: str) -> None:
        self.buffer = io.BytesIO(text.encode())

    def reconfigure(self, **changes: str) -> None:
        pass

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self.buffer.read().decode().splitlines(keepends=True))

    def isatty(self) -> bool:
        return False


def _stdin(text: str) -> _Input:
    return _Input(text)
