"""Nothing in the package can run what it reads: no pickle, no eval, no shell, no code of a stranger's."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import REPOSITORY

PACKAGE = REPOSITORY / "mlmctl"
SOURCES = sorted(PACKAGE.rglob("*.py"))

MODULES = {
    "pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "imp", "runpy",
    "yaml", "tarfile", "zipfile",
}  # fmt: skip
NAMES = {
    "eval", "exec", "compile", "__import__", "input", "torch.load", "torch.save", "torch.hub",
    "torch.jit.load", "torch.package", "os.system", "os.popen", "subprocess.getoutput",
    "shutil.unpack_archive",
}  # fmt: skip
METHODS = {"from_pretrained", "load_module", "exec_module", "read_pickle", "unpickle"}
ARRAYS = {"np.load", "np.save", "numpy.load", "numpy.save"}
WORDS = {"allow_pickle": "False", "shell": "False", "trust_remote_code": "False", "weights_only": "True"}
"""Keyword -> the only value it may have."""

ALLOWED = {
    "commands/bench/stock.py": {"AutoTokenizer.from_pretrained"},
    "commands/export/onnx_file.py": {"family.model_class(head).from_pretrained"},
}
"""Both read what the same process has just written: what `mlmctl bench` measures itself against a tokenizer,
`export` the model that it has verified and copied, by the stock class that is named for its family."""


def faults(source: str) -> Iterator[str]:
    """Everything in a file that could run what somebody else wrote."""
    sound = set()
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Call):
            given = {word.arg: ast.unparse(word.value) for word in node.keywords}
            if given.get("allow_pickle") == "False":
                sound.add(node.func)
            yield from (
                f"{word}={given[word]}" for word in WORDS.keys() & given if given[word] != WORDS[word]
            )
        elif isinstance(node, ast.Attribute | ast.Name) and node not in sound:
            name = ast.unparse(node)
            names = [name] if not isinstance(node, ast.Name) or name in NAMES else []
            if name in ARRAYS or name.rpartition(".")[2] in METHODS:
                yield name
        for name in names:
            parents = name.split(".")
            is_module = isinstance(node, ast.Import | ast.ImportFrom) and parents[0] in MODULES
            if is_module or any(".".join(parents[:n]) in NAMES for n in range(1, len(parents) + 1)):
                yield name


@pytest.mark.parametrize(
    "bad",
    [
        "import pickle",
        "from pickle import loads",
        "import yaml",
        "from torch import load",
        "import torch\ntorch.load('x', weights_only=True)",
        "import torch\nread = torch.load",
        "import torch\ntorch.hub.load('x')",
        "eval('1')",
        "exec('1')",
        "run = [exec]",
        "import numpy as np\nnp.load('x')",
        "import numpy as np\npartial(np.load, 'x')",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "import subprocess\nsubprocess.run('ls', shell=True)",
        "import os\nos.system('ls')",
        "from os import system",
        "AutoModel.from_pretrained('x')",
        "f(trust_remote_code=True)",
        "f(weights_only=False)",
    ],
)
def test_what_could_run_code_is_seen(bad: str) -> None:
    assert list(faults(bad))


@pytest.mark.parametrize(
    "good", ["import re\nre.compile('x')", "model.eval()", "np.load('x', allow_pickle=False)", "a.input_ids"]
)
def test_what_cannot_is_not(good: str) -> None:
    assert not list(faults(good))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_fault_47_nothing_in_the_package_can_run_what_it_reads(path: Path) -> None:
    allowed = ALLOWED.get(path.relative_to(PACKAGE).as_posix(), set())
    assert set(faults(path.read_text(encoding="utf-8"))) <= allowed


def test_fault_46_determinism_is_never_switched_off() -> None:
    for path in SOURCES:
        source = path.read_text(encoding="utf-8")
        assert "use_deterministic_algorithms(False" not in source
        assert "warn_only" not in source
