"""Quality gates: a real drop fails with 3, noise passes, other test data is 5, and the summary says it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from commands import Outcome, Shell
from encoders import make_data, make_encoder, run_finetune
from evaluated import make_evaluation

from mlmctl.artifact import publish
from mlmctl.commands import evaluations
from mlmctl.commands.evaluations import Evaluation
from mlmctl.commands.gate import Gate, Verdict
from mlmctl.errors import ArtifactError, UsageError
from mlmctl.manifest import Header
from mlmctl.measure import gates


def judge(new: Evaluation, baseline: Path, **most: float) -> Verdict:
    gate = Gate.of({}, most, str(baseline))
    return gate.judge(new.path, new.manifest.metrics)


def test_a_real_drop_fails_and_noise_passes(tmp_path: Path) -> None:
    baseline = make_evaluation(tmp_path / "base", 340).path
    dropped = judge(make_evaluation(tmp_path / "dropped", 280), baseline, accuracy=0.05)
    assert len(dropped.failures) == 1
    assert "accuracy is worse by 0.1500, more than 0.05" in dropped.failures[0]
    noisy = judge(make_evaluation(tmp_path / "noisy", 335, seed=1), baseline, accuracy=0.0)
    assert (noisy.failures, len(noisy.doubts)) == ([], 1)
    better = judge(make_evaluation(tmp_path / "better", 360, seed=1), baseline, accuracy=0.0)
    assert (better.failures, better.doubts) == ([], [])
    assert better.differences["accuracy"].difference == pytest.approx(0.05)
    assert better.differences.keys() == {"accuracy", "macro_f1"}


def test_a_drop_is_of_a_metric_and_from_something(tmp_path: Path) -> None:
    new = make_evaluation(tmp_path / "new", 300)
    with pytest.raises(UsageError, match="no metric is named 'ece'") as error:
        judge(new, make_evaluation(tmp_path / "base", 300).path, ece=0.1)
    assert "accuracy, macro_f1" in str(error.value)
    with pytest.raises(UsageError, match="needs a baseline"):
        Gate.of({}, {"accuracy": 0.1}, "")


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"data": "e"}, "its test data was e.jsonl, with another content than d.jsonl"),
        ({"num_examples": 300}, "it has 300 examples, not 400"),
        ({"task": "tags"}, "its task is tags, not sentiment"),
    ],
)
def test_other_test_data_is_refused_with_what_differs(
    tmp_path: Path, changes: dict[str, Any], found: str
) -> None:
    baseline = make_evaluation(tmp_path / "base", 200, **changes)
    with pytest.raises(ArtifactError) as error:
        judge(make_evaluation(tmp_path / "new", 300), baseline.path)
    assert error.value.exit_code == 5
    assert found in error.value.message


def test_other_rows_of_the_same_data_are_found(tmp_path: Path) -> None:
    new = make_evaluation(tmp_path / "new", 300)
    rows = [dict(row) for row in new.rows]
    rows[7]["row"] = 999
    assert evaluations.what_differs(new, Evaluation(new.path, new.manifest, rows)) == [
        "its example 8 has another row"
    ]
    assert evaluations.what_differs(new, new) == []


def test_a_baseline_is_a_folder_or_what_evaluate_has_printed(tmp_path: Path) -> None:
    base = make_evaluation(tmp_path / "base", 300)
    told = {
        "stages": [{"name": "evaluate/m/d", "fingerprint": base.manifest.fingerprint}],
        "artifacts": {"evaluate/m/d": str(base.path)},
    }
    path = tmp_path / "base.json"
    path.write_text(json.dumps(told))
    assert evaluations.named(str(path)).manifest == evaluations.named(str(base.path)).manifest
    shutil.rmtree(base.path)
    with pytest.raises(ArtifactError, match="which is not there"):
        evaluations.named(str(path))
    make_evaluation(tmp_path / "base", 299)
    with pytest.raises(ArtifactError, match="another evaluation than the one that is now in"):
        evaluations.named(str(path))
    for content in ("{}", "no JSON", "[1]", '{"stages": [], "artifacts": {}}'):
        path.write_text(content)
        with pytest.raises(UsageError, match="tells of no evaluation"):
            evaluations.named(str(path))
    with pytest.raises(UsageError, match="does not exist"):
        evaluations.named(str(tmp_path / "nowhere"))


def test_fault_20_a_damaged_or_foreign_baseline_is_refused(tmp_path: Path) -> None:
    base = make_evaluation(tmp_path / "base", 300)
    path = base.path / "predictions.jsonl"
    path.write_text(path.read_text().replace('"prediction": "a"', '"prediction": "b"'))
    with pytest.raises(ArtifactError, match="SHA-256"):
        evaluations.named(str(base.path))
    with publish(tmp_path / "encoder", Header("pretrain", {})):
        pass
    with pytest.raises(ArtifactError, match="not an evaluation"):
        evaluations.named(str(tmp_path / "encoder"))


def test_the_summary_is_markdown_whatever_the_names(tmp_path: Path) -> None:
    baseline = make_evaluation(tmp_path / "base", 340).path
    new = make_evaluation(tmp_path / "new", 280)
    gate = Gate.of({"accuracy": 0.5}, {"accuracy": 0.05}, str(baseline))
    verdict = gate.judge(new.path, new.manifest.metrics)
    intervals = {"accuracy": {"low": 0.65, "high": 0.74}}
    metrics = {**new.manifest.metrics, "intervals": intervals}
    text = gate.markdown("evaluate/a|b`<i>*/d", metrics, verdict)
    heading, _, *table = text.splitlines()
    assert heading == r"### evaluate/a\|b\`&lt;i&gt;\*/d: failed"
    assert table[2].startswith("| accuracy | 0.7 | 0.65 to 0.74 | 0.85 | -0.15 (")
    assert table[2].endswith("| at least 0.5, worse by 0.05 at most |")
    assert len({line.count("|") for line in table[:3]}) == 1
    assert "- **accuracy is worse by 0.1500" in text
    assert "400 examples." in text
    assert ": measured" in Gate({}, {}).markdown("x", metrics, Verdict())
    assert ": passed" in Gate({"accuracy": 0.1}, {}).markdown("x", metrics, Verdict())


def test_counts_are_told_in_full() -> None:
    metrics = {"num_examples": 67349, "tokens": 1234567.8}
    gate = Gate({"num_examples": 70000.0, "tokens": 1000001.0}, {})
    failures = gates.check(metrics, gate.fail_under)
    assert failures == ["num_examples is 67,349, below 70,000"]
    text = gate.markdown("x", metrics, Verdict(failures))
    assert "| num_examples | 67,349 |" in text
    assert "| tokens | 1,234,568 |" in text
    assert "| at least 1,000,001 |" in text


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLMCTL_RUN", raising=False)
    return Shell(capsys)


def test_evaluate_compares_with_an_earlier_evaluation(shell: Shell, tmp_path: Path) -> None:
    encoder = make_encoder(Path("run/pretrain"))
    train, test = make_data(tmp_path / "d.jsonl"), make_data(tmp_path / "t.jsonl", 200, seed=1)
    run_finetune(Path("run/finetune/good"), encoder, train)
    run_finetune(Path("run/finetune/bad"), encoder, train, epochs=0.2, learning_rate=1e-5)

    def evaluate(model: str, *more: str | Path) -> Outcome:
        return shell("evaluate", "--model", model, "--data", test, *more)

    first = evaluate("good", "--json")
    Path("first.json").write_text(first.out)
    ends = first.json["metrics"]["intervals"]["accuracy"]
    assert 0 <= ends["low"] <= first.json["metrics"]["accuracy"] <= ends["high"] <= 1
    assert "comparison" not in first.json

    same = ("--baseline", "first.json", "--max-drop", "accuracy=0.0")
    refused = evaluate("good", *same)
    assert refused.code == 2  # it would replace what it is compared with
    assert "is where this evaluation is written" in refused.err
    failed = evaluate("bad", *same, "--markdown", "summary.md", "--json")
    assert (failed.code, failed.json["error"]["code"]) == (3, "gate.failed")
    found = failed.json["comparison"]["metrics"]["accuracy"]
    assert found["difference"] == failed.json["metrics"]["accuracy"] - first.json["metrics"]["accuracy"]
    assert found["high"] < 0
    assert found["p_value"] < 0.01
    passed = evaluate("bad", *same[:2], "--max-drop", "accuracy=0.9", "--markdown", "summary.md")
    assert passed.code == 0, passed.err
    assert "accuracy\t" in passed.out
    summary = Path("summary.md").read_text()
    assert summary.count("### evaluate/bad/t: ") == 2  # the second is appended
    assert ": failed" in summary
    assert ": passed" in summary
    shutil.copytree("run/evaluate/good/t", "kept")
    assert evaluate("good", "--baseline", "kept", "--max-drop", "accuracy=0").code == 0
    again = evaluate("good", "--baseline", "kept", "--json").json
    assert [stage["status"] for stage in again["stages"]] == ["fresh"]  # neither is in the key
    assert again["comparison"]["metrics"]["macro_f1"]["p_value"] == 1.0
    other = make_data(tmp_path / "u.jsonl", 200, seed=2)
    assert shell("evaluate", "--model", "good", "--data", other, "--baseline", "kept").code == 5
    assert evaluate("good", "--max-drop", "accuracy=0.1").code == 2
    assert evaluate("good", "--max-drop", "accuracy").code == 2
