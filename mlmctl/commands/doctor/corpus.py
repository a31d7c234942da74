"""A corpus: what was counted in it, and what of that should be known before anything is trained."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...config import Recipe
from ...events import Emit
from ...pipeline.inputs import SPOOL
from ...quantities import percent, size
from ...text import languages, scripts
from ...text.corpus import resolve, shown
from ...text.survey import NearDuplicates, Survey, survey
from .section import Finding, Section, level_of, percentiles
from .tokenizers import Measured

_MANY_DUPLICATES = 0.1
_MANY_DOCUMENTS = 0.01
_MANY_UNKNOWN = 0.01
_OTHER_LANGUAGE = 0.05
_LEAST_TOLD = 0.0005
"""Of languages and scripts, on the screen."""
_MOST_PASSAGES = 5
_TRACES = {
    "markup": ("have HTML tags or entities", "take the markup out, or keep it: --tokenizer-type bpe"),
    "mojibake": ("have UTF-8 that was read in another encoding", "decode the source again (ftfy repairs)"),
    "replacement": ("have U+FFFD: their text was damaged before", "read the source again"),
    "control": ("have control characters", "WordPiece drops them; --tokenizer-type bpe keeps them"),
}  # fmt: skip
"""Kind of `text.traces` -> what documents have, and what can be done."""


@dataclass(frozen=True)
class Read:
    """What one pass over a corpus found."""

    survey: Survey
    num_files: int
    near: tuple[int, str] | None
    """Documents that are like an earlier one, and where the first is, if this was asked for."""


def read(paths: Sequence[str], recipe: Recipe, run_folder: Path, emit: Emit) -> Read:
    """Read the files; what is remote, and signatures, are kept in a temporary folder meanwhile."""
    column, threshold = recipe.corpus.text_column, recipe.mask.near_duplicates
    with tempfile.TemporaryDirectory(prefix="mlmctl-") as temporary:
        # What the run folder has already read is not read a second time.
        scratch = Path(temporary) / "spool"
        sources = resolve(paths, run_folder / SPOOL, emit, column, scratch)
        near = NearDuplicates(threshold, Path(temporary)) if threshold else None
        found = survey(sources, recipe.corpus, emit, "doctor", near)
        return Read(found, len(sources), near.found() if near else None)


def look(everything: Read, measured: Measured) -> Section:
    """The section `corpus`."""
    found, near = everything.survey, everything.near
    tally, duplicates, fit = found.tally, found.duplicates, measured.fit
    language_shares, letters = languages.shares(found.sample), scripts.count(found.sample)
    script_shares = {name: round(count / letters.total(), 6) for name, count in letters.items()}
    passages = found.boilerplate.passages()[:_MOST_PASSAGES]
    facts: dict[str, Any] = {
        "num_files": everything.num_files,
        **asdict(tally),
        "num_text_bytes": found.num_text_bytes,
        "unit": found.unit,
        "document_characters": found.document_characters.summary(),
        "line_characters": found.line_characters.summary(),
        "duplicate_share": round(duplicates.share, 6),
        "duplicate_share_is_exact": duplicates.is_exact,
        "num_near_duplicates": near and near[0],
        "boilerplate": [passage._asdict() for passage in passages],
        "num_encoding_faults": found.encoding.count,
        "encoding_faults": found.encoding.places,
        "num_documents_with": {kind: found.traces.num_documents[kind] for kind in _TRACES},
        "num_sample_characters": sum(map(len, found.sample)),
        "languages": language_shares,
        "scripts": script_shares,
        "tokenizer": measured.origin,
        "tokens_per_word": round(fit.tokens_per_word, 4),
        "unknown_share": round(fit.unknown_share, 6),
        "predicted_num_tokens": round(fit.tokens_per_byte * found.num_text_bytes),
    }
    return Section("corpus", facts, _rows(facts), _findings(everything, facts, measured))


def _rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    near, exact = facts["num_near_duplicates"], "" if facts["duplicate_share_is_exact"] else ", estimated"
    return [
        ("files", f"{facts['num_files']:,}, {size(facts['num_bytes'])}, {facts['num_lines']:,} lines"),
        ("documents", f"{facts['num_documents']:,}, each a {facts['unit']}; {facts['num_empty']:,} empty"),
        ("characters a document", percentiles(facts["document_characters"])),
        ("characters a line", percentiles(facts["line_characters"])),
        (
            "duplicates",
            f"{percent(facts['duplicate_share'])}{exact}; near ones "
            + ("were not looked for (--near-duplicates 0.8)" if near is None else f"{near:,}"),
        ),
        ("languages, scripts", f"{_shares(facts['languages'])}; {_shares(facts['scripts'])} (of a sample)"),
        ("tokenizer", facts["tokenizer"]),
        (
            "pieces a word",
            f"{facts['tokens_per_word']:.2f}, {percent(facts['unknown_share'])} unknown (of a sample)",
        ),
        ("tokens", f"about {facts['predicted_num_tokens']:,}"),
    ]


def _shares(shares: dict[str, float], most: int = 4) -> str:
    told = [f"{name} {percent(share)}" for name, share in shares.items() if share >= _LEAST_TOLD]
    return ", ".join(told[:most]) or "none"


def _findings(everything: Read, facts: dict[str, Any], measured: Measured) -> list[Finding]:
    findings, found = [], everything.survey
    num_documents = facts["num_documents"]
    if found.encoding.count:
        where, _, what = found.encoding.places[0].partition(": ")
        message = f"{found.encoding.count:,} byte sequences cannot be decoded, first {what}"
        hint = "--encoding NAME, or --encoding-errors replace"
        findings.append(Finding("doctor.encoding", "warning", found.encoding.count, message, where, hint))
    for kind, (message, hint) in _TRACES.items():
        if count := found.traces.num_documents[kind]:
            where, what = found.traces.first[kind]
            level = level_of(count / num_documents, _MANY_DOCUMENTS)
            message = f"{count:,} documents {message}, first {shown(what)}"
            findings.append(Finding(f"doctor.{kind}", level, count, message, where, hint))
    if found.contradiction:
        hint = "--unit line, paragraph or file"
        findings.append(Finding("doctor.unit", "warning", 1, found.contradiction, hint=hint))
    if facts["num_cut"]:
        message = f"{facts['num_cut']:,} documents are longer than a million characters and are cut"
        findings.append(Finding("doctor.cut", "info", facts["num_cut"], message))
    if count := sum(facts["num_filtered"].values()):
        message = f"{count:,} documents do not pass the filters asked for"
        findings.append(Finding("doctor.filtered", "info", count, message))
    findings += _repeats(found, num_documents)
    if everything.near is not None and everything.near[0]:
        count, where = everything.near
        message = f"{count:,} documents ({percent(count / num_documents)}) are like an earlier one"
        level, hint = level_of(count / num_documents, _MANY_DUPLICATES), "mlmctl mask --near-duplicates T"
        findings.append(Finding("doctor.near-duplicates", level, count, message, where, hint))
    known = {name: share for name, share in facts["languages"].items() if name != languages.UNKNOWN}
    other = {name: share for name, share in known.items() if share >= _OTHER_LANGUAGE}
    if len(other) > 1:
        message = f"{len(other)} languages: {_shares(other)}"
        findings.append(
            Finding("doctor.languages", "info", len(other), message, hint="a larger --vocab-size")
        )
    if facts["unknown_share"] >= _MANY_UNKNOWN:
        count = round(facts["unknown_share"] * facts["predicted_num_tokens"])
        message = f"{percent(facts['unknown_share'])} of the tokens are unknown ({measured.origin})"
        hint = "--tokenizer-type bpe knows every character; a larger --vocab-size, or another --tokenizer"
        findings.append(Finding("doctor.unknown-tokens", "warning", count, message, hint=hint))
    return findings


def _repeats(found: Survey, num_documents: int) -> list[Finding]:
    findings = []
    share = found.duplicates.share
    if share:
        most, where = found.duplicates.most_frequent()
        count = round(share * num_documents)
        message = f"{count:,} documents ({percent(share)}) are exact duplicates; one is there {most:,} times"
        findings.append(
            Finding(
                "doctor.duplicates",
                level_of(share, _MANY_DUPLICATES),
                count,
                message,
                where,
                "mlmctl mask removes them; see why they are there",
            )
        )
    if passages := found.boilerplate.passages():
        first = passages[0]
        what = "a line" if first.kind == "line" else f"the {first.kind}"
        message = f"{len(passages):,} passages recur in many documents; {what} of {first.num_documents:,}: "
        findings.append(
            Finding(
                "doctor.boilerplate",
                "warning",
                len(passages),
                message + repr(shown(first.text)),
                first.where,
                "take it out: a model learns nothing from it",
            )
        )
    return findings
