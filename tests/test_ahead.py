"""Parts made ahead by other processes: each part is made once, and the first process finds them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlmctl import samples
from mlmctl.config import CorpusConfig
from mlmctl.events import silent
from mlmctl.text import ahead, parts, reading, vocabulary
from mlmctl.text.corpus import Source, resolve
from mlmctl.text.documents import Documents
from mlmctl.text.words import WordCounter

CONFIG = CorpusConfig(unit="line")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    untrained = vocabulary.untrained(cased=False, kind="wordpiece")
    counter = WordCounter(untrained)
    counter.count([samples.path("corpus.txt").read_text(encoding="utf-8")])
    vocabulary.save(vocabulary.train(counter.words, 300, cased=False, kind="wordpiece").to_str(), folder)
    return folder


@pytest.fixture(params=[(5000, 3), (400, 20)], ids=["files with many parts", "files that share parts"])
def sources(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Source]:
    """Files of random words; parts of a few kilobytes."""
    num_lines, num_files = request.param
    monkeypatch.setattr(parts, "PART_CHARACTERS", 2**15)
    monkeypatch.setattr(reading, "CHUNK", 2**12)
    random = np.random.default_rng(0)
    words = samples.path("corpus.txt").read_text(encoding="utf-8").split()
    for number in range(num_files):
        lines = [" ".join(words[i] for i in random.integers(len(words), size=9)) for _ in range(num_lines)]
        (tmp_path / f"{number:02d}.txt").write_text("\n".join(lines))
    return list(resolve([str(tmp_path)], tmp_path / "spool", silent))


def made_by_one(sources: list[Source], tokenizer: Path, folder: Path) -> list[parts.Part]:
    documents = Documents(sources, CONFIG, silent, "")
    groups = parts.groups([source.size for source in sources])
    return list(parts.make(documents, lambda: groups[documents.file], tokenizer, folder))


@pytest.mark.parametrize("num_processes", [1, 2, 3, 7])
def test_the_stretches_of_all_processes_are_the_corpus(
    sources: list[Source], tokenizer: Path, tmp_path: Path, num_processes: int
) -> None:
    whole = made_by_one(sources, tokenizer, tmp_path / "whole")
    assert len(whole) > 10
    names: list[set[str]] = []
    for number in range(num_processes):
        folder = tmp_path / f"ahead-{number}"
        ahead.make(
            sources, CONFIG, (number, num_processes), tokenizer, folder, None, 1, "", is_enough=lambda: False
        )
        names.append({path.name for path in folder.iterdir()})
    assert set().union(*names) == {part.path.name for part in whole}
    shared = sum(map(len, names)) - len(set().union(*names))
    assert shared <= len(whole) - len({part.path.name for part in whole})
    assert min(map(len, names)) >= 1


def test_what_is_there_is_taken_and_what_is_not_is_made(
    sources: list[Source], tokenizer: Path, tmp_path: Path
) -> None:
    whole = made_by_one(sources, tokenizer, tmp_path / "whole")
    folder = tmp_path / "common"
    ahead.make(sources, CONFIG, (1, 2), tokenizer, folder, None, 1, "", is_enough=lambda: False)
    found = made_by_one(sources, tokenizer, folder)
    assert [part.key for part in found] == [part.key for part in whole]
    is_found = [part.num_encoded == 0 for part in found]
    assert 0.25 < np.mean(is_found) < 0.75
    assert is_found == sorted(is_found)  # the second half
    for part, other in zip(found, whole, strict=True):
        assert part.path.read_bytes() == other.path.read_bytes()


def test_no_more_is_made_than_is_asked_for(sources: list[Source], tokenizer: Path, tmp_path: Path) -> None:
    answers = iter([False, False, True])
    ahead.make(
        sources, CONFIG, (0, 1), tokenizer, tmp_path / "p", None, 1, "", is_enough=lambda: next(answers)
    )
    assert len(list((tmp_path / "p").iterdir())) == 2


def test_faulty_text_is_left_to_the_first(tokenizer: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"fine\n" * 10 + b"\xff\xff\n")
    sources = list(resolve([str(tmp_path / "a.txt")], tmp_path / "spool", silent))
    ahead.make(sources, CONFIG, (0, 1), tokenizer, tmp_path / "parts", None, 1, "", is_enough=lambda: False)
