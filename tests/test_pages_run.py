"""The README and the tutorial can be followed: each of their commands is run, in order, on small files.

The text, the budgets and the model are small here; nothing else is changed. A line may be a pipeline:
what comes before and after `mlmctl` in it is run by a shell, `mlmctl` itself in this process.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from commands import write_corpus
from conftest import REPOSITORY
from stock import make_stock, make_tokenizer

from mlmctl import samples
from mlmctl.cli import main

SMALL = {
    "MLMCTL_PRETRAIN_BUDGET": "2s",
    "MLMCTL_PRETRAIN_HIDDEN_SIZE": "16",
    "MLMCTL_PRETRAIN_NUM_HIDDEN_LAYERS": "1",
    "MLMCTL_PRETRAIN_NUM_ATTENTION_HEADS": "2",
    "MLMCTL_PRETRAIN_INTERMEDIATE_SIZE": "16",
    "MLMCTL_PRETRAIN_TOKENS_PER_STEP": "256",
    "MLMCTL_TOKENIZER_VOCAB_SIZE": "400",
    "MLMCTL_MASK_BLOCK_LENGTH": "64",
    "MLMCTL_FINETUNE_EPOCHS": "1",
    "MLMCTL_FINETUNE_MAX_EXAMPLES": "32",
    "MLMCTL_EVALUATE_MAX_EXAMPLES": "16",
}
OF_THE_ENCODER = tuple(name for name in SMALL if name.endswith(("SIZE", "LAYERS", "HEADS")))
"""What cannot be chosen for an encoder that is continued, or whose size is chosen."""
SHORTER = {"10m": "2s", "30m": "3s"}
"""Budgets."""
GATE = re.compile(r"=[\d.]+$")
GATES = {"--fail-under": "=0", "--max-drop": "=1"}
"""What these models cannot meet, and what they can."""

NOT_RUN = ("mlmctl demo", "mlmctl bench")
"""Minutes of work, held by their own tests."""


class Folder:
    """A working folder with the files that the pages name, and a way to run their lines."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self.path, self._capsys, self._patch = path, capsys, patch
        text = write_corpus(path / "corpus.txt").read_text() + samples.path("corpus.txt").read_text()
        (path / "corpus.txt").write_text(text)
        for name in ("reviews.txt.gz", "big.txt.gz"):
            with gzip.open(path / name, "wt") as file:
                file.write(text)
        shutil.copy(samples.path("sentiment-train.jsonl"), path / "train.jsonl")
        shutil.copy(samples.path("sentiment-test.jsonl"), path / "test.jsonl")
        shutil.copy(samples.path("qa.json"), path / "train.json")
        shutil.copy(samples.path("qa-test.json"), path / "dev.json")
        asked = {"question": "Where was paper invented?", "context": "Paper was invented in China."}
        (path / "questions.jsonl").write_text(json.dumps(asked) + "\n")
        for part in ("train", "test"):
            rows = map(json.loads, samples.path(f"tags-{part}.jsonl").read_text().splitlines())
            sentences = (
                "".join(f"{w}\t{t}\n" for w, t in zip(r["tokens"], r["tags"], strict=True)) for r in rows
            )
            (path / f"{part}.conll").write_text("\n".join(sentences))
        make_stock(path / "encoder", vocab_size=400)
        make_tokenizer(path / "encoder", text.split(), vocab_size=400)
        patch.setattr(huggingface_hub, "snapshot_download", lambda name, **named: str(path / "encoder"))
        texts = ["the old stone house", "a bird sings over the river", ""]
        for name in ("texts.txt", "sentences.txt"):
            (path / name).write_text("\n".join(texts) + "\n")
        (path / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        (path / "blimp").mkdir()
        pair = {"sentence_good": "the bird sings", "sentence_bad": "the sings bird"}
        (path / "blimp" / "order.jsonl").write_text(json.dumps(pair) + "\n")

    def run(self, line: str) -> None:
        """Run one line of a page; AssertionError with what was printed unless it ends with 0."""
        output = ""
        if line.startswith("cp "):
            self._shell(line, "")
            return
        segments = re.split(r"\s\|\s", line)
        at = next(n for n, segment in enumerate(segments) if segment.strip().startswith("mlmctl"))
        before, after = segments[:at], segments[at + 1 :]
        if before:
            output = self._shell(" | ".join(before), "")
        output = self._mlmctl(segments[at], output)
        if after and shutil.which(after[0].split()[0]):
            self._shell(" | ".join(after), output)

    def _mlmctl(self, segment: str, given: str) -> str:
        words = [SHORTER.get(w, w) for w in shlex.split(segment, comments=True)[1:]]
        for name, value in SMALL.items():
            if {"--init", "auto"} & set(words) and name in OF_THE_ENCODER:
                self._patch.delenv(name, raising=False)
            else:
                self._patch.setenv(name, value)
        for flag, lenient in GATES.items():
            places = {n + 1 for n, word in enumerate(words) if word == flag}
            words = [GATE.sub(lenient, word) if n in places else word for n, word in enumerate(words)]
        if "<" in words:
            words, (_, name) = words[:-2], words[-2:]
            given = (self.path / name).read_text()
        raw = io.BytesIO(given.encode())
        self._patch.setattr(sys, "stdin", io.TextIOWrapper(raw, encoding="utf-8"))
        with pytest.raises(SystemExit) as caught:
            main(words)
        told = self._capsys.readouterr()
        assert caught.value.code == 0, f"{segment}\n{told.err}"
        return told.out

    def _shell(self, command: str, given: str) -> str:
        done = subprocess.run(
            ["bash", "-c", command], input=given, capture_output=True, text=True, cwd=self.path, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        return done.stdout


@pytest.fixture
def folder(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.chdir(tmp_path)
    return Folder(tmp_path, capsys, monkeypatch)


def lines(page: str) -> Iterator[str]:
    """The lines of the page's plain code blocks that call mlmctl or cp; a TOML block becomes its file."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    for kind, block in re.findall(r"```(\w*)\n(.+?)```", text, flags=re.S):
        if kind == "toml":
            name = re.match(r"# (\S+\.toml)", block)
            if name:
                Path(name[1]).write_text(block)
        if not kind:
            joined = block.replace("\\\n", " ")
            yield from (line for line in joined.splitlines() if re.search(r"(^|\| )mlmctl |^cp ", line))


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md"])
def test_every_command_of_the_page_runs(page: str, folder: Folder) -> None:
    num_run = 0
    if page == "README.md":  # its recipe is the tutorial's
        list(lines("docs/tutorial.md"))
    for line in lines(page):
        if not line.startswith(NOT_RUN):
            folder.run(line)
            num_run += 1
    assert num_run > 4
