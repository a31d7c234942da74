"""SIGKILL while the first two stages work: the rerun's artifacts are those of an unbroken run."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

PROGRAM = """
import sys
from pathlib import Path
from mlmctl.artifact import publish
from mlmctl.manifest import Header
from mlmctl.config import CorpusConfig, MaskConfig, TokenizerConfig
from mlmctl.events import silent
from mlmctl.stages import mask, tokenizer
from mlmctl.stages.stage import Stage
from mlmctl.text import parts
from mlmctl.text.corpus import resolve

root = Path(sys.argv[1])
parts.PART_CHARACTERS = 15_000
sources = resolve([str(root.parent / "corpus.txt")], root / "spool", silent)
def say(event):
    if "were tokenized" in getattr(event, "message", ""):
        print(event.message)
def make(name, reads, run):
    if (root / name).exists():
        return
    work = root / ".work" / name
    work.mkdir(parents=True, exist_ok=True)
    with publish(root / name, Header(name, {})) as draft:
        inputs = {read: root / read for read in reads}
        run(Stage(name, inputs, draft.path, work, sources=sources, emit=say))
make("tokenizer", [], lambda stage: tokenizer.run(TokenizerConfig(vocab_size=300), CorpusConfig(), stage))
make("blocks", ["tokenizer"], lambda stage: mask.run_blocks(MaskConfig(), CorpusConfig(), stage))
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kill")
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefgh"), rng.integers(2, 7))) for _ in range(3000)]
    lines = [" ".join(rng.choice(words, 20)) for _ in range(3000)]
    (folder / "corpus.txt").write_text("\n".join(lines) + "\n")
    return folder


def contents(run: Path) -> dict[str, bytes]:
    files = [*(run / "tokenizer").iterdir(), *(run / "blocks").iterdir()]
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def unbroken(corpus: Path) -> dict[str, bytes]:
    subprocess.run([sys.executable, "-c", PROGRAM, corpus / "unbroken"], check=True)
    return contents(corpus / "unbroken")


def killed_when(run: Path, pattern: str, count: int) -> None:
    """Start the program and kill it as soon as so many paths match; it must not have come to its end."""
    run.mkdir()
    with subprocess.Popen([sys.executable, "-c", PROGRAM, run]) as process:
        deadline = time.monotonic() + 60
        while len(list(run.glob(pattern))) < count and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("name", "pattern", "count"),
    [
        ("fault-01-tokenizer", ".tmp-tokenizer-*", 1),
        ("fault-02-parts", ".work/blocks/parts/[0-9a-f]*", 4),
        ("fault-02-packing", ".tmp-blocks-*/train.npy", 1),
    ],
)
def test_faults_01_and_02_sigkill_changes_nothing(
    corpus: Path, unbroken: dict[str, bytes], name: str, pattern: str, count: int
) -> None:
    run = corpus / name
    killed_when(run, pattern, count)
    assert not (run / ("tokenizer" if "tokenizer" in name else "blocks")).exists()
    kept = list(run.glob(".work/blocks/parts/[0-9a-f]*"))
    again = subprocess.run([sys.executable, "-c", PROGRAM, run], check=True, capture_output=True, text=True)
    assert contents(run) == unbroken
    if "parts" in name:
        assert len(kept) >= count
        assert int(again.stdout.split()[0].replace(",", "")) < 3000
