"""What all tests share: the optional real data, and a process that stays on one thread."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes is the machine's business: a timing is a benchmark, never a test.
settings.register_profile("untimed", deadline=None)
settings.register_profile("fuzz", deadline=None, max_examples=400, print_blob=True)  # see `make fuzz`
settings.load_profile("untimed")

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"
if "PYTEST_XDIST_WORKER" in os.environ:  # the processes of tests have a core each
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["NO_COLOR"] = "1"

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real corpora and labelled sets beside the checkout, or a skip."""
    folder = Path(os.environ.get("MLMCTL_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder} (set MLMCTL_SHARED_DATA)")
    return folder


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus, labelled data and a run of all five stages: copy what you change."""
    from commands import SMALL, write_corpus
    from encoders import make_data

    from mlmctl.cli import main

    folder = tmp_path_factory.mktemp("whole")
    write_corpus(folder / "corpus.txt")
    make_data(folder / "train.jsonl")
    make_data(folder / "test.jsonl", seed=1)
    run = ("--run", str(folder / "run"), "--threads", "1", "-q")
    finetune = ("--data", str(folder / "train.jsonl"), "--set", "finetune.epochs=1")
    for command in (
        ("pretrain", str(folder / "corpus.txt"), "--steps", "2", *SMALL, *run),
        ("finetune", *finetune, *run),
        ("evaluate", "--data", str(folder / "test.jsonl"), *run),
        ("evaluate", "--task", "mlm", *run),
    ):
        with pytest.raises(SystemExit) as caught:
            main(list(command))
        assert not caught.value.code
    return folder
