"""Prove that what mlmctl writes loads in stock transformers, with the same logits.

    python scripts/stock_check.py write RUN_FOLDER REFERENCE.npz    where mlmctl is installed
    python scripts/stock_check.py read  RUN_FOLDER REFERENCE.npz    where it is not: transformers 5 or 4

`write` records what mlmctl's own loading and attention give for a padded batch; `read` does the same
with AutoTokenizer, the AutoModel class of every head and the pipelines there are in both versions, and fails
if any logit differs by more than 1e-5 of the largest (`scripts/stock_check.sh` runs both, in three
environments).
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

TEXTS = [
    "A film that knows exactly what it wants to say, and says it twice.",
    "Dull.",
    "The second half drags, but the actors are good enough that nobody in the room seemed to mind it much.",
    "Ein Satz mit Umlauten: schön, größer; 电影, кино, 🎬!",
]
MASKED = "the film was [MASK] ."
SIMPLE = "anna saw the old man in london and went to paris"
"""Words that are separated by blanks, for the tags."""
TOLERANCE = 1e-5


HEADS = {
    "ForMaskedLM": "masked_lm",
    "ForSequenceClassification": "sequence_classification",
    "ForTokenClassification": "token_classification",
    "ForQuestionAnswering": "question_answering",
}
"""End of the class a folder was written for, and of its AutoModel class -> our name of the head."""


def write(run: Path, reference: Path) -> None:
    """Logits of the pretrained and the fine-tuned models by mlmctl's own path, padded batch."""
    from transformers import AutoTokenizer

    from mlmctl.commands import fill, predict
    from mlmctl.config import RuntimeConfig
    from mlmctl.engine import model

    arrays: dict[str, np.ndarray] = {}
    for name, kind in models(run):
        loaded, _ = model.load(run / name, HEADS[kind])
        batch = AutoTokenizer.from_pretrained(run / name)(TEXTS, padding=True, return_tensors="pt")
        arrays[f"{name}/logits"] = logits_of(loaded.eval(), batch)
        arrays[f"{name}/input_ids"] = batch["input_ids"].numpy()
        arrays[f"{name}/attention_mask"] = batch["attention_mask"].numpy()
        if kind == "ForTokenClassification":
            (row,) = predict.run(run / name, [SIMPLE], 8, RuntimeConfig())
            arrays[f"{name}/tags"] = np.array(row["tags"])
        if kind == "ForSequenceClassification":
            rows = list(predict.run(run / name, iter(TEXTS), 8, RuntimeConfig()))
            arrays[f"{name}/labels"] = np.array([row["label"] for row in rows])
            arrays[f"{name}/scores"] = np.array([row["score"] for row in rows])
    filled = next(iter(fill.run(run / "pretrain", [MASKED], 5, RuntimeConfig())))
    arrays["fill/tokens"] = np.array([row["token"] for row in filled["masks"][0]])
    arrays["fill/probabilities"] = np.array([row["probability"] for row in filled["masks"][0]])
    np.savez(reference, **arrays)


def read(run: Path, reference: Path) -> None:
    """The same with stock classes only; AssertionError where they differ."""
    assert importlib.util.find_spec("mlmctl") is None, "mlmctl is importable: this environment proves nothing"
    import transformers
    from transformers import AutoTokenizer, pipeline

    arrays = np.load(reference)
    worst = 0.0
    for name, kind in models(run):
        tokenizer = AutoTokenizer.from_pretrained(run / name)
        batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
        assert np.array_equal(batch["input_ids"].numpy(), arrays[f"{name}/input_ids"]), f"{name}: ids differ"
        cls = getattr(transformers, f"AutoModel{kind}")
        logits = logits_of(cls.from_pretrained(run / name, dtype=torch.float32).eval(), batch)
        # What a model says at padding means nothing, and implementations differ there.
        real = batch["attention_mask"].numpy().astype(bool) if logits.ndim == 3 else slice(None)
        difference = float(np.abs(logits[real] - arrays[f"{name}/logits"][real]).max())
        worst = max(worst, difference)
        assert difference < TOLERANCE * max(1.0, float(np.abs(logits[real]).max())), (
            f"{name}: logits differ by {difference}"
        )
        if kind == "ForTokenClassification":
            tag = pipeline("token-classification", model=str(run / name), ignore_labels=[])
            first = [piece["entity"] for piece in tag(SIMPLE) if f" {SIMPLE}"[piece["start"]] == " "]
            # B- and I- may differ: mlmctl begins an entity that the model only continues.
            types, ours = ([t.partition("-")[2] for t in some] for some in (first, arrays[f"{name}/tags"]))
            assert types == ours, f"{name}: {first}"
        if kind == "ForSequenceClassification":
            answers = pipeline("text-classification", model=str(run / name))(TEXTS)
            assert [a["label"] for a in answers] == list(arrays[f"{name}/labels"]), f"{name}: {answers}"
            assert np.allclose([a["score"] for a in answers], arrays[f"{name}/scores"], atol=1e-4)
    answers = pipeline("fill-mask", model=str(run / "pretrain"), top_k=5)(MASKED)
    assert [a["token_str"] for a in answers] == list(arrays["fill/tokens"]), answers
    assert np.allclose([a["score"] for a in answers], arrays["fill/probabilities"], atol=1e-5)
    versions = {"transformers": transformers.__version__, "torch": torch.__version__}
    names = [name for name, _ in models(run)]
    print(json.dumps({"same": True, "models": names, "worst_logit_difference": worst, **versions}))


def logits_of(model: Any, batch: Any) -> np.ndarray:
    """Logits [B, num_labels], or [B, L, ...]: of every token, or of being first and last of an answer."""
    with torch.no_grad():
        output = model(**batch)
    if "start_logits" in output:
        return torch.stack([output.start_logits, output.end_logits], dim=-1).numpy()
    return output.logits.numpy()


def models(run: Path) -> list[tuple[str, str]]:
    """The model folders of a run and the end of the name of the class each was written for."""
    found = [
        "pretrain",
        *sorted(path.parent.relative_to(run).as_posix() for path in run.glob("finetune/*/config.json")),
    ]
    classes = (json.loads((run / name / "config.json").read_text())["architectures"][0] for name in found)
    return [(name, cls[cls.index("For") :]) for name, cls in zip(found, classes, strict=True)]


if __name__ == "__main__":
    {"write": write, "read": read}[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
