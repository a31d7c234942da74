"""A run all of whose texts, labels and names would command whoever shows them unguarded."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from commands import SMALL, WORDS

from mlmctl.cli import main
from mlmctl.manifest import read_manifest

CANARY = "zanzibar"
ATTACKS = (
    "<script>document.title='pwned'</script>",
    "<img src=x onerror=\"document.title='pwned'\">",
    "javascript:document.title='pwned'",
    "\x1b[31mred\x1b[0m \u202egnorw",
    "{{ 7 * 191 }} {% raw %} </style></svg>]]>",
)
LABELS = (f"<script>document.title='pwned'</script>{CANARY}", f'"><img src=x onerror=alert(1)>{CANARY}')


def _mlmctl(*arguments: str | Path) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*map(str, arguments), "--quiet", "--threads", "1"])
    assert caught.value.code == 0


def make_run(root: Path) -> Path:
    """A run folder with everything in it."""
    run = root / "<script>document.title='pwned'<" / "<b onclick=x>run"
    draw = random.Random(0)
    texts = [
        f"{' '.join(draw.choices(WORDS, k=9))} {CANARY} {' '.join(ATTACKS)} {number}" for number in range(150)
    ]
    corpus = root / "<img src=x onerror=alert(1)>.txt"
    corpus.write_text("\n\n".join(texts) + "\n")
    test = root / "<svg onload=alert(1)>.jsonl"
    for path, some in ((root / "train.jsonl", texts[:40]), (test, texts[40:80])):
        rows = [{"text": text, "label": LABELS[place % 2]} for place, text in enumerate(some)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    _mlmctl("pretrain", corpus, "--run", run, "--steps", "4", *SMALL)
    _mlmctl("finetune", "--run", run, "--data", root / "train.jsonl", "--epochs", "1")
    _mlmctl("evaluate", "--run", run, "--data", test)
    _mlmctl("evaluate", "--run", run, "--task", "mlm")
    _write_curve(run, f"from {ATTACKS[0]}")
    return run


def _write_curve(run: Path, *starts: str) -> None:
    rows = [
        {"labels": n, "num_seeds": 2, "mean": 0.6, "deviation": 0.01, "low": 0.5, "high": 0.7}
        for n in (8, 32)
    ]
    folder = run / "curve/<i>curve"
    folder.mkdir(parents=True)
    table = dict.fromkeys(("pretrained", *starts), rows)
    prints = {"pretrained": read_manifest(run / "pretrain").fingerprint}
    verdict = f"worth it: {ATTACKS[1]}"
    found = {"score": "accuracy", "fingerprints": prints, "table": table, "verdict": verdict}
    (folder / "curve.json").write_text(json.dumps(found))
