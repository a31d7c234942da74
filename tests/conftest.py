"""What all tests share: the optional real data, and a process that stays on one thread."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes is the machine's business: a timing is a benchmark, never a test.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["NO_COLOR"] = "1"

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real corpora and labelled sets beside the checkout, or a skip."""
    folder = Path(os.environ.get("MLMCTL_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder} (set MLMCTL_SHARED_DATA)")
    return folder
