"""What the encoder would put in the place of hidden words, in text that it was not trained on."""

from __future__ import annotations

from ...artifact import open_artifact
from ...config import RuntimeConfig
from ...quantities import percent
from .opened import Opened
from .parts import Fillings, Line, Section

_READS = ("tokenizer", "mask/blocks", "mask/policy", "pretrain")
_NUM_SENTENCES = 8
_MOST_BLOCKS = 64
_NUM_GUESSES = 4


def section(run: Opened, runtime: RuntimeConfig) -> Section:
    """Some sentences of the validation split; the encoder is loaded for them."""
    section = Section("fillings", "What the model fills in")
    if "pretrain" not in run.manifests:
        line = Line("No encoder yet that could fill anything in:", run.command("pretrain corpus.txt"))
        return Section(section.id, section.title, missing=line)
    if not run.has_text:
        return Section(section.id, section.title, [Line("Left out (--no-text).")])
    misfit = run.misfit(*_READS)
    if misfit:
        return Section(section.id, section.title, [Line(f"Nothing is filled in: {misfit}.")])
    return Section(section.id, section.title, [Fillings(_filled(run, runtime))])


def _filled(run: Opened, config: RuntimeConfig) -> list[tuple[str, str, str, list[tuple[str, str]]]]:
    from ...engine import evaluate_mlm, runtime
    from ...tasks.pretrained import open_pretrained

    for name in _READS:  # a remembered hash may have answered for them: not enough to compute from
        open_artifact(run.folder / name)
    device = runtime.prepare(config).device
    opened = open_pretrained(run.folder / "pretrain", device)
    masks = evaluate_mlm.FrozenMasks.open(run.folder / "mask/policy", run.folder / "mask/blocks")
    rows = []
    for number in range(min(_MOST_BLOCKS, len(masks.labels))):
        found = evaluate_mlm.filled(opened.model, masks, opened.tokenizer, number, device, _NUM_GUESSES)
        if found is not None:
            guesses = [(word, percent(round(share, 2))) for word, share in found.guesses]
            rows.append((found.left, found.right, found.truth, guesses))
        if len(rows) == _NUM_SENTENCES:
            break
    return rows
