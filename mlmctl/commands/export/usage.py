"""How an exported model is loaded, as code: each block stands alone, needs no mlmctl, is run by a test."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from .subject import Subject

Block = tuple[str, str]
"""(what the code does, the code)"""


def blocks(subject: Subject, name: str) -> Sequence[Block]:
    """The code for a folder of this name below the working folder."""
    values: dict[str, Any] = {
        "name": quoted(name),
        "mask": subject.mask_token,
        "length": subject.block_length,
        "width": subject.config["hidden_size"],
        "longest": subject.settings.get("max_answer_length", 1) - 1,
        "threshold": subject.settings.get("no_answer_threshold"),
        "origin": "tuned on held-out questions"
        if subject.manifest.metrics.get("num_held_out")
        else "not tuned",
    }
    found = list(_BLOCKS[subject.head])
    if subject.settings.get("has_no_answer"):
        found = [(what, code + _NO_ANSWER) for what, code in found]
    return [(what, _filled(code, values)) for what, code in found]


def onnx_block(subject: Subject, name: str, file: str) -> Block:
    """The code for the ONNX file."""
    what, code = _ONNX
    pair = (
        '"where?", "It is here."' if subject.head == "question_answering" else '["A text.", "Another one."]'
    )
    return what, _filled(code, {"name": quoted(name), "file": quoted(f"{name}/{file}"), "texts": pair})


def quoted(name: str) -> str:
    """As a literal of Python."""
    return json.dumps(name, ensure_ascii=False)


def _filled(code: str, values: dict[str, Any]) -> str:
    """Not by `str.format`: code has braces of its own."""
    for key, value in values.items():
        code = code.replace(f"<{key}>", str(value))
    return code.strip("\n")


_FILL = """
from transformers import pipeline

fill = pipeline("fill-mask", model=<name>)
for found in fill("This is a <mask> text."):
    print(found["token_str"], found["score"])
"""
_VECTORS = """
import torch
from transformers import AutoModel, AutoTokenizer

tokenizer, model = AutoTokenizer.from_pretrained(<name>), AutoModel.from_pretrained(<name>)
texts = ["A text.", "Another one, of more words."]
batch = tokenizer(texts, padding=True, truncation=True, max_length=<length>, return_tensors="pt")
with torch.no_grad():
    hidden = model(**batch).last_hidden_state  # [texts, tokens, <width>]
mask = batch["attention_mask"][:, :, None]
vectors = (hidden * mask).sum(dim=1) / mask.sum(dim=1)  # their means, as of `mlmctl embed`
"""
_CLASSIFY = """
from transformers import pipeline

classify = pipeline("text-classification", model=<name>, truncation=True, max_length=<length>)
print(classify("This is a text."))
"""
# Not the pipeline, which takes for a word what the tokenizer splits: `O'Brien` would be three.
_TAG = """
import re

import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(<name>)
model = AutoModelForTokenClassification.from_pretrained(<name>)
text = "Anna O'Brien moved to Lisbon ."
batch = tokenizer(text, truncation=True, max_length=<length>, return_tensors="pt")
with torch.no_grad():
    best = model(**batch).logits[0].argmax(dim=-1)
for word in re.finditer(r"\\S+", text):
    place = batch.char_to_token(word.start())  # the first piece of a word has its tag
    if place is not None:
        print(word[0], model.config.id2label[int(best[place])])
"""
_ANSWER = """
import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(<name>)
model = AutoModelForQuestionAnswering.from_pretrained(<name>)
question, passage = "Where was paper invented?", "Paper was invented in China."
batch = tokenizer(question, passage, return_tensors="pt")
with torch.no_grad():
    output = model(**batch)
spans = output.start_logits[0][:, None] + output.end_logits[0][None]  # [first, last]
is_passage = torch.tensor([part == 1 for part in batch.sequence_ids(0)])
is_span = torch.ones_like(spans).triu().tril(<longest>) * is_passage[:, None] * is_passage[None]
best = spans.masked_fill(is_span == 0, -torch.inf)
first, last = divmod(int(best.argmax()), best.shape[1])
answer = passage[batch.token_to_chars(first).start : batch.token_to_chars(last).end]
print(answer)
"""
_NO_ANSWER = """
no_answer = torch.sigmoid(spans[0, 0] - best.max()).item()
if no_answer > <threshold>:  # <origin>
    print("there is no answer")
"""
_ONNX = (
    "Without torch, by the ONNX file",
    """
import onnxruntime
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(<name>)
session = onnxruntime.InferenceSession(<file>, providers=["CPUExecutionProvider"])
batch = tokenizer(<texts>, padding=True, return_tensors="np")
outputs = session.run(None, {name: batch[name] for name in ("input_ids", "attention_mask")})
""",
)
_BLOCKS: dict[str, Sequence[Block]] = {
    "masked_lm": [("Fill in hidden words", _FILL), ("Turn texts into vectors", _VECTORS)],
    "sequence_classification": [("Classify texts", _CLASSIFY)],
    "token_classification": [("Find entities in text whose words are set apart by blanks", _TAG)],
    "question_answering": [("Answer a question from a passage", _ANSWER)],
}
