"""Labelled data: balance, empty and repeated texts, contradictions, leakage into the test set, lengths."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...config import EvaluateConfig, FinetuneConfig, Recipe
from ...errors import DataError
from ...events import Emit, silent
from ...pipeline import inputs
from ...quantities import percent
from ...storage import HashCache
from ...text.corpus import shown
from ...text.lengths import Lengths
from .section import Finding, Section, level_of, percentiles
from .tokenizers import Measured, measure

if TYPE_CHECKING:
    from ...tasks.task import Settings, Task

_MANY_REPEATED = 0.1
_MANY_LOST = 0.01
_MANY_UNKNOWN = 0.01
_LARGEST_LABEL = 0.95
_FEW_EXAMPLES = 5
_MOST_LABELS = 12


def files(recipe: Recipe, temporary: Path, emit: Emit) -> tuple[Path, Path | None]:
    """The files that are meant by the names of data and test data; remote ones are read into `temporary`."""

    def local(stage: str, named: str) -> Path:
        task = recipe.finetune.task
        return inputs.labelled(temporary, stage, task, named, HashCache(None), emit).path

    test = recipe.evaluate.data if recipe.evaluate.task not in ("mlm", "pairs") else ""
    return local("finetune", recipe.finetune.data), local("evaluate", test) if test else None


def look(recipe: Recipe, data: Path, test: Path | None, run_folder: Path) -> Section:
    """The section `labelled`. DataError for a file that cannot be read as its form says."""
    from ...tasks.adapted import TASKS

    task = TASKS[recipe.finetune.task]
    train = _File(task, data, recipe.finetune)
    section = Section("labelled", {"task": task.name, "data": train.facts()}, train.rows(), train.findings())
    measured = measure(recipe, run_folder, train.texts)
    _add_lengths(section, train, measured, recipe)
    if test is not None:
        _add_test(section, train, test, recipe)
    return section


class _File:
    """One labelled file, read as its task reads it; bad questions are left out and told."""

    def __init__(
        self,
        task: Task,
        path: Path,
        config: FinetuneConfig | EvaluateConfig,
        settings: Settings | None = None,
    ) -> None:
        from . import answers

        self.name = shown(str(path))
        lenient = config.model_copy(update={"on_bad": "skip"})
        self.data: Any = task.read(path, lenient, silent, settings)
        self.kind = answers.of(self.data, path)
        self.texts: list[str] = self.kind.texts

    def place(self, number: int) -> str:
        """Where the example with this number (from 0) stands."""
        return f"{self.name}: {self.kind.place(number)}"

    @cached_property
    def _repetitions(self) -> tuple[list[int], list[int]]:
        """Examples that repeat the text of an earlier one; of each text whose answers have nothing in common
        the example that first shows it. Those without a text are never learned from and are in neither.
        """
        common: dict[Hashable, frozenset[Hashable]] = {}
        repeated, contradicting, empty = [], [], set(self.kind.empty)
        for number, (text, answers) in enumerate(zip(self.kind.keys, self.kind.answers, strict=True)):
            if number in empty:
                continue
            if text not in common:
                common[text] = answers
                continue
            repeated.append(number)
            if common[text] and not common[text] & answers:
                contradicting.append(number)
            common[text] &= answers
        return repeated, contradicting

    def facts(self) -> dict[str, Any]:
        repeated, contradicting = self._repetitions
        return {
            "file": self.name,
            "num_examples": len(self.data),
            "num_empty": len(self.kind.empty),
            "num_repeated": len(repeated),
            "num_contradicting": len(contradicting),
            **self.kind.facts,
        }

    def rows(self) -> list[tuple[str, str]]:
        counts = sorted(self.kind.balance.items(), key=lambda item: -item[1])
        total = sum(self.kind.balance.values())
        shown_counts = ", ".join(
            f"{shown(name)} {count:,} ({percent(count / max(1, total))})"
            for name, count in counts[:_MOST_LABELS]
        )
        more = f", and {len(counts) - _MOST_LABELS:,} more" if len(counts) > _MOST_LABELS else ""
        return [
            ("examples", f"{len(self.data):,} in {self.name}"),
            (self.kind.balance_name, shown_counts + more),
        ]

    def findings(self) -> list[Finding]:
        repeated, contradicting = self._repetitions
        num_examples = len(self.data)
        findings = list(self.kind.findings)
        for code, numbers, what, hint in (
            ("doctor.empty-texts", self.kind.empty, "examples have no text", "take them out"),
            ("doctor.contradictions", contradicting, "texts occur with different answers", "decide on one"),
        ):
            if numbers:
                message, where = f"{len(numbers):,} {what}", self.place(numbers[0])
                findings.append(Finding(code, "warning", len(numbers), message, where, hint))
        if repeated:
            share = len(repeated) / num_examples
            message = f"{len(repeated):,} examples ({percent(share)}) repeat an earlier text"
            hint = "take them out: they count twice"
            level = level_of(share, _MANY_REPEATED)
            where = self.place(repeated[0])
            findings.append(Finding("doctor.repeated", level, len(repeated), message, where, hint))
        findings += self._balance()
        return findings

    def _balance(self) -> Iterable[Finding]:
        balance = self.kind.balance
        total = sum(balance.values())
        most = max(balance, key=lambda name: balance[name], default="")
        if len(balance) > 1 and self.kind.is_exclusive and balance[most] / total >= _LARGEST_LABEL:
            message = f"{percent(balance[most] / total)} of the examples have the label {shown(most)!r}"
            hint = "look at macro F1, not at accuracy; label more of the others"
            yield Finding("doctor.label-balance", "warning", balance[most], message, self.name, hint)
        rare = [name for name, count in balance.items() if count < _FEW_EXAMPLES]
        if rare:
            message = f"{len(rare):,} of {len(balance):,} labels have fewer than {_FEW_EXAMPLES} examples: "
            message += ", ".join(shown(name) for name in rare[:_MOST_LABELS])
            hint = "label more of them, or join labels"
            yield Finding("doctor.rare-labels", "warning", len(rare), message, self.name, hint)


def _add_lengths(section: Section, train: _File, measured: Measured, recipe: Recipe) -> None:
    """Lengths in tokens, and what does not fit a window."""
    from ...tasks.adapted import TASKS

    task, fit = TASKS[recipe.finetune.task], measured.fit
    window = recipe.finetune.window_length or recipe.mask.block_length
    settings = task.settings(train.data, recipe.finetune)
    features = task.features(train.data, fit.encoder.tokenizer, fit.encoder.specials, window, settings)
    lengths = Lengths()
    lengths.add(fit.encoder.encode(train.texts).lengths.tolist())
    facts = section.facts["data"]
    cut = {
        name: features.facts[name] for name in ("share_answers_lost", "num_questions_cut") if features.facts
    }
    facts |= {
        "tokenizer": measured.origin,
        "window_length": window,
        "text_tokens": lengths.summary(),
        "share_windowed": round(features.share_windowed, 6),
        "tokens_per_word": round(fit.tokens_per_word, 4),
        "unknown_share": round(fit.unknown_share, 6),
        **{name: round(value, 6) for name, value in cut.items()},
    }
    section.rows += [
        ("tokens a text", f"{percentiles(lengths.summary())} ({measured.origin})"),
        ("longer than a window", f"{percent(features.share_windowed)} of the examples, of {window} tokens"),
        ("pieces a word", f"{fit.tokens_per_word:.2f}, {percent(fit.unknown_share)} of them unknown"),
    ]
    if features.share_windowed:
        count = round(features.share_windowed * len(train.data))
        message = f"{count:,} examples ({percent(features.share_windowed)}) are longer than {window} tokens"
        hint = "they are read in windows; a longer --block-length takes them whole"
        section.findings.append(Finding("doctor.long-texts", "info", count, message, train.name, hint))
    if lost := cut.get("share_answers_lost"):
        message = f"{percent(lost)} of the answers are whole in no window of {window} tokens"
        count, hint = round(lost * section.facts["data"]["num_answerable"]), "a longer window, or doc_stride"
        level = level_of(lost, _MANY_LOST)
        section.findings.append(Finding("doctor.answers-lost", level, count, message, train.name, hint))
    if num_cut := cut.get("num_questions_cut"):
        message = f"{num_cut:,} questions take more than half of a window and are cut"
        section.findings.append(Finding("doctor.questions-cut", "info", num_cut, message, train.name))
    if fit.unknown_share >= _MANY_UNKNOWN:
        count = round(fit.unknown_share * fit.num_tokens)
        message = f"{percent(fit.unknown_share)} of the tokens are unknown ({measured.origin})"
        hint = "an encoder with a tokenizer for this text; --tokenizer-type bpe knows every character"
        section.findings.append(Finding("doctor.unknown-tokens", "warning", count, message, train.name, hint))


def _add_test(section: Section, train: _File, path: Path, recipe: Recipe) -> None:
    """The same of the test data, and what it shares with the training data."""
    from ...tasks.adapted import TASKS

    task = TASKS[recipe.finetune.task]
    try:
        test = _File(task, path, recipe.evaluate, task.settings(train.data, recipe.finetune))
    except DataError as error:
        if error.code not in ("data.unknown-label", "data.unknown-tag"):
            raise
        section.findings.append(
            Finding("doctor.unseen-label", "warning", 1, error.message, error.where or "", error.hint or "")
        )
        try:
            test = _File(task, path, recipe.evaluate)
        except DataError as alone:
            if alone.code != "data.one-class":  # nothing to learn; what is unseen has been said
                raise
            return
    known = np.flatnonzero(np.isin(test.data.hashes, train.data.hashes))
    leaked = np.setdiff1d(known, test.kind.empty)
    section.facts["test"] = test.facts() | {"num_trained_on": len(leaked)}
    section.rows += [(f"test {name}", value) for name, value in test.rows()]
    section.rows.append(("test leakage", f"{len(leaked):,} texts of the test data are in the training data"))
    section.findings += test.findings()
    if len(leaked):
        earlier = int(np.flatnonzero(train.data.hashes == test.data.hashes[leaked[0]])[0])
        share = percent(len(leaked) / len(test.data))
        message = (
            f"{len(leaked):,} test examples ({share}) have a text of the training data, "
            f"the first that of {train.kind.place(earlier)}"
        )
        where, hint = test.place(int(leaked[0])), "take them out of one of the two"
        section.findings.append(Finding("doctor.leakage", "warning", len(leaked), message, where, hint))
