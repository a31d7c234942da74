"""The model card: what a model is, how it is used, and what is known of it, from records alone.

Nothing in it is text of the data, unless examples were asked for. What names of labels, types and files
say is in it.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from huggingface_hub import EvalResult, ModelCardData

from ... import __version__
from ...manifest import Manifest
from ...quantities import is_number, number
from ..markdown import plain, table
from . import training, usage
from .examples import Examples
from .onnx_file import FILE, Checked
from .subject import Subject

PIPELINES = {
    "masked_lm": "fill-mask",
    "sequence_classification": "text-classification",
    "token_classification": "token-classification",
    "question_answering": "question-answering",
}
"""Head -> the hub's name of what it does."""

_MOST_LABELS = 20


@dataclass(frozen=True)
class Edition:
    """What the export adds to what is known of the model."""

    name: str
    """Of the exported folder."""
    language: str | None
    license: str | None
    onnx: Checked | None
    examples: Sequence[Examples]


def render(subject: Subject, edition: Edition) -> str:
    """The card as Markdown with the hub's front matter."""
    sections = [
        ("", _intro(subject, edition)),
        ("How to use it", _use(subject, edition)),
        ("Data", training.data(subject)),
        ("Training", training.configuration(subject)),
        ("Measurements", _measurements(subject)),
        ("Calibration", _calibration(subject)),
        ("Limitations", _limitations(subject, edition)),
        ("Examples", _examples(edition)),
        ("Lineage", _lineage(subject)),
        ("Is this the model?", _verify(edition)),
    ]
    parts = [_front_matter(subject, edition), f"# {plain(edition.name)}"]
    for heading, lines in sections:
        text = "\n".join(lines)
        if text:
            parts += [f"## {heading}"] * bool(heading) + [text]
    return "\n\n".join(parts) + "\n"


def _front_matter(subject: Subject, edition: Edition) -> str:
    pipeline = PIPELINES[subject.head]
    results = [
        EvalResult(pipeline, data, data, metric, round(manifest.metrics[metric], 6))
        for name, manifest in subject.evaluations.items()
        for data in [name.rpartition("/")[2]]
        for metric in manifest.metrics.get("intervals", {})
    ]
    tags = ["mlmctl", subject.model_type, *(["masked-language-model"] if subject.head == "masked_lm" else [])]
    fields = ModelCardData(
        language=edition.language,
        license=edition.license,
        library_name="transformers",
        pipeline_tag=pipeline,
        tags=[*tags, *(["onnx"] if edition.onnx else [])],
        model_name=edition.name if results else None,
        eval_results=results or None,
    )
    open_fields = []
    if edition.license is None:
        open_fields.append("# license: (yours to choose)")
    if edition.language is None:
        open_fields.append("# language: (not known to mlmctl)")
    return "\n".join(["---", fields.to_yaml(line_break="\n"), *open_fields, "---"])


def _intro(subject: Subject, edition: Edition) -> Iterator[str]:
    config = subject.config
    yield (
        f"{_what(subject)} It is a stock `{subject.class_name}` of {config['num_hidden_layers']} layers, "
        f"{config['hidden_size']} wide, with {subject.num_parameters:,} parameters, made with mlmctl "
        f"{__version__}; this card was written from the records of its training."
    )
    yield ""
    left = [] if edition.license else ["under which license it may be used (that of its text has a say)"]
    left += [] if edition.language else ["which languages it is for"]
    left += ["what it is meant for, and what it is not"]
    yield f"Left to whoever publishes it: {', '.join(left)}."


def _what(subject: Subject) -> str:
    settings = subject.settings
    match subject.head:
        case "masked_lm":
            return "A masked language model: it fills in hidden words, and turns texts into vectors."
        case "sequence_classification":
            return f"A classifier of texts: {_names(settings['labels'])}."
        case "token_classification":
            return f"A tagger of words, for entities of the types {_names(settings['types'])}."
    nothing = ", or says that there is none" if settings["has_no_answer"] else ""
    return f"It answers a question with a part of a given passage{nothing}."


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_LABELS:,} more" if len(names) > _MOST_LABELS else ""
    return ", ".join(plain(name) for name in names[:_MOST_LABELS]) + more


def _use(subject: Subject, edition: Edition) -> Iterator[str]:
    yield f"With transformers 4.57 or newer; {plain(edition.name)} is this folder, or its name on the hub."
    blocks = list(usage.blocks(subject, edition.name))
    if edition.onnx:
        blocks.append(usage.onnx_block(subject, edition.name, FILE))
    for what, code in blocks:
        yield from ("", f"{what}:", "", "```python", code, "```")
    if edition.onnx:
        yield ""
        yield from _of_onnx(edition.onnx)


def _of_onnx(checked: Checked) -> Iterator[str]:
    sizes = ", ".join(f"{texts} x {tokens}" for texts, tokens in checked.batches)
    versions = ", ".join(f"{name} {found}" for name, found in checked.versions.items())
    yield (
        f"`{FILE}` (opset {checked.opset}; outputs `{'`, `'.join(checked.outputs)}`; any number of texts and "
        f"tokens) was run beside the model on padded batches of {sizes} tokens: the largest difference of a "
        f"number was {checked.max_difference:.1e} of the largest number, {checked.tolerance:g} being allowed "
        f"({versions})."
    )


def _measurements(subject: Subject) -> Iterator[str]:
    pretrained = subject.encoder
    if pretrained:
        yield "The encoder on held-out text of its corpus, 15 % of the tokens hidden, before any fine-tuning:"
        yield ""
        names = ("valid_loss", "valid_accuracy", "unigram_loss", "uniform_loss")
        rows = [(name, number(pretrained.metrics[name])) for name in names if name in pretrained.metrics]
        yield from table(("metric", "value"), rows, numbers=(1,))
        yield ""
        yield "Losses are nats a token; `unigram_loss` is that of guessing by frequency."
        yield ""
    if not subject.evaluations:
        yield "It was not measured on test data: `mlmctl evaluate` does, and another export tells of it."
        return
    for name, manifest in subject.evaluations.items():
        yield from _evaluation(name.rpartition("/")[2], manifest)
    yield "Intervals are of 95 %, over draws of other test examples, the model being fixed (BCa bootstrap)."


def _evaluation(data: str, manifest: Manifest) -> Iterator[str]:
    metrics, fingerprint = manifest.metrics, manifest.inputs.get("data")
    intervals = metrics.get("intervals", {})
    # Minimal pairs may be many files.
    kind = "fingerprint" if manifest.config["task"] == "pairs" else "SHA-256"
    of_content = f" ({kind} `{fingerprint}`)" if fingerprint else ""
    yield f"On {plain(data)}{of_content}:"
    yield ""
    rest = [name for name, value in metrics.items() if name not in intervals and is_number(value)]
    rows = []
    for name in [*intervals, *rest]:
        ends = intervals.get(name)
        told = f"{number(ends['low'])} to {number(ends['high'])}" if ends else ""
        rows.append((name, number(metrics[name]), told))
    yield from table(("metric", "value", "95 % interval"), rows, numbers=(1, 2))
    yield ""
    trained_on = metrics.get("num_trained_on")
    if trained_on:
        yield f"{trained_on:,} of these test texts were in its training data: the result flatters."
        yield ""


def _calibration(subject: Subject) -> Iterator[str]:
    if subject.head != "sequence_classification":
        return
    metrics = subject.manifest.metrics
    if "temperature" in metrics:
        on_test = "; on test data it is `ece` above" if subject.evaluations else ""
        yield (
            f"Its probabilities were calibrated on {metrics['num_held_out']:,} held-out examples: all logits "
            f"are divided by {number(metrics['temperature'])}, which is in the weights. The expected "
            f"calibration error on those was {number(metrics['held_out_ece_before'])} before and "
            f"{number(metrics['held_out_ece'])} after{on_test}."
        )
    else:
        yield (
            "Its probabilities are not calibrated: there were too few labelled examples to hold some out. "
            "Such models are surer of their answers than they should be."
        )


def _limitations(subject: Subject, edition: Edition) -> Iterator[str]:
    yield from (f"- {sentence}" for sentence in training.limits(subject))
    yield (
        f"- It was trained on texts of at most {subject.block_length:,} tokens, and has positions for "
        f"{subject.num_positions:,}. What is beyond the former it has never seen; `mlmctl` reads longer "
        "texts in windows, the code above cuts them or does not look."
    )
    if edition.language:
        yield f"- Nearly all of its held-out text is in one language, `{edition.language}` (by common words)."
    yield "- Whatever its text says, it has learned, prejudices too. Nothing was done about that."
    kept = "beyond the examples below, it" if edition.examples else "it"
    yield (
        "- What it gives away of its data: its vocabulary was made of the corpus (or came with the encoder "
        "it began from), in the order of how frequent the pieces are, and holds its frequent words whole, "
        "which can be names. Names of labels and types are those of the data. Weights can hold what was "
        f"seen often. Of the text itself {kept} contains nothing."
    )


def _examples(edition: Edition) -> Iterator[str]:
    for each in edition.examples:
        yield from (f"{plain(each.heading)}:", "", *(f"- {plain(line)}" for line in each.lines), "")


def _lineage(subject: Subject) -> Iterator[str]:
    yield "Each part was made from the ones in its last column; a fingerprint is of content alone."
    yield ""
    rows = [(link.name, link.fingerprint, ", ".join(link.made_from)) for link in subject.chain.values()]
    yield from table(("part", "fingerprint (SHA-256)", "made from"), rows)


def _verify(edition: Edition) -> Iterator[str]:
    yield "Every file is compared with its hash in `manifest.json` by"
    yield from (
        "",
        "```",
        f"mlmctl verify --run {shlex.quote(edition.name)}",
        "```",
        "",
        "or, without mlmctl, by",
        "",
    )
    yield from ("```python", _VERIFY.replace("<name>", usage.quoted(edition.name)), "```", "")
    yield (
        "A card that was edited since is named by it. The last fingerprint above is that of the model in the "
        "run it was made in, where `mlmctl verify` follows the chain back to the corpus."
    )


_VERIFY = """import hashlib, json, pathlib

folder = pathlib.Path(<name>)
for file, recorded in json.loads((folder / "manifest.json").read_bytes())["outputs"].items():
    found = hashlib.sha256((folder / file).read_bytes()).hexdigest()
    print("ok" if found == recorded["sha256"] else "CHANGED", file)"""
