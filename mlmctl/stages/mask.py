"""Blocks of ids and the policy of what is hidden in them.

Reads   the corpus, tokenizer/.
Writes  mask/blocks/: packed blocks of a training and a validation split (see `text.blocks`);
        mask/policy/: policy.json, the frozen validation masks (valid.input_ids.npy, valid.labels.npy),
        audit.json.

Blocks are costly and depend on corpus, tokenizer and block length only; the policy is cheap. So another
mask rate never tokenizes anything again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..config import CorpusConfig, MaskConfig
from ..engine.machine import num_threads
from ..errors import DataError
from ..events import Emit, Event, Note, Progress
from ..storage import check_space, sha256_file
from ..text import ahead, near_duplicates, parts, policy, splitting, vocabulary, workers
from ..text.audit import audit
from ..text.blocks import SPLITS, UNIGRAMS, Blocks, BlockWriter, id_dtype
from ..text.corpus import Source, text_bytes
from ..text.documents import Documents
from ..text.earlier import Record
from ..text.encoding import Encoder
from ..text.npy import write_array
from ..text.splitting import DROPPED, TRAIN, VALID, Fates
from ..text.units import Units
from .stage import Stage

_MIN_TOKENS = 16
"""Fewer in the whole corpus cannot be split and trained on."""

_MANY_DUPLICATES = 0.1
_SHARE_TOLERANCE = 0.2


def run_blocks(config: MaskConfig, corpus: CorpusConfig, stage: Stage) -> dict[str, Any]:
    """Tokenize into parts (in the work folder), then deduplicate, split and pack them.

    A run that was killed takes the finished parts as they are, and the blocks are the same bytes. Blocks that
    are about to be replaced, if they were made with the same tokenizer, give their parts back. Further ranks
    make parts ahead (`help_with_blocks`).
    """
    check_space(stage.work, _bytes_needed(stage.sources, bool(config.near_duplicates)))
    signed_by = near_duplicates.method() if config.near_duplicates else ""
    tokenizer = stage.inputs["tokenizer"]
    encoder = Encoder(vocabulary.load(tokenizer))
    # What the tokenizer stage said of the corpus a moment ago is not said again.
    emit = _warnings_only(stage.emit) if (tokenizer / "corpus.json").exists() else stage.emit
    documents = Documents(stage.sources, corpus, emit, stage.name)
    tokenizer_hash = sha256_file(tokenizer / "tokenizer.json")
    groups = parts.groups([source.size for source in stage.sources])
    made = list(
        parts.make(
            documents,
            lambda: groups[documents.file],
            tokenizer,
            stage.work / "parts",
            stage.previous(),
            workers.number(_num_threads(stage), text_bytes(stage.sources)),
            signed_by,
        )
    )
    stage.dismiss()
    num_encoded = sum(part.num_encoded for part in made)
    if num_encoded < documents.tally.num_documents:
        found = f"{num_encoded:,} of {documents.tally.num_documents:,} documents were tokenized"
        stage.emit(Note(f"{found}, the ids of the others were there"))
    fates = splitting.decide(made, config.valid_fraction, stage.work / "splitting", config.near_duplicates)
    num_tokens = _check_length(made, fates)
    valid_bytes, counts = _pack(config, encoder, made, fates, num_tokens, stage)

    num_documents = documents.tally.num_documents
    facts = {
        "num_documents": num_documents,
        "num_filtered": documents.tally.num_filtered,
        "num_duplicates": fates.num_duplicates,
        "num_near_duplicates": fates.num_near_duplicates,
        "num_without_tokens": fates.num_without_tokens,
        "num_train_documents": fates.num_train,
        "num_valid_documents": fates.num_valid,
        **counts,
        "valid_bytes": valid_bytes,
    }
    write_array(stage.out / UNIGRAMS, facts.pop("unigrams"))
    layout = {
        "block_length": config.block_length,
        "dtype": id_dtype(encoder.specials.vocab_size).name,
        "vocab_size": encoder.specials.vocab_size,
        "special_ids": encoder.specials.to_json(),
        "unigrams": UNIGRAMS,
        "unit": documents.unit,
        "tokenizer_sha256": tokenizer_hash,
    }
    _write_json(stage.out / "blocks.json", {**layout, **facts})
    _tell_removed(stage.emit, fates.num_duplicates, num_documents, "duplicates")
    alike = f"near-duplicates (similarity {config.near_duplicates:g} or more)"
    _tell_removed(stage.emit, fates.num_near_duplicates, num_documents, alike)
    stage.emit(
        Note(
            f"{facts['num_train_blocks']:,} blocks of {config.block_length} tokens to train on, "
            f"{facts['num_valid_blocks']:,} to validate; {facts['unknown_share']:.3%} unknown tokens"
        )
    )
    return facts


def help_with_blocks(corpus: CorpusConfig, with_signatures: bool, stage: Stage) -> None:
    """What ranks but the first do for `run_blocks`: the parts of a stretch of the corpus."""
    ahead.make(
        stage.sources,
        corpus,
        (stage.ranks.rank, stage.ranks.world_size),
        stage.inputs["tokenizer"],
        stage.work / "parts",
        stage.previous(),
        _num_threads(stage),
        near_duplicates.method() if with_signatures else "",
        stage.is_dismissed,
    )


def run_policy(config: MaskConfig, stage: Stage) -> dict[str, Any]:
    """Freeze the validation masks, and audit them and a sample of the training masks."""
    folder = stage.inputs["mask/blocks"]
    train, valid = (Blocks.open(folder, split) for split in SPLITS)
    vocab = vocabulary.load(stage.inputs["tokenizer"]).get_vocab(with_added_tokens=True)
    tokens = {i: token for token, i in vocab.items()}
    frozen_numbers, some_numbers = (
        policy.frozen_numbers(blocks, config.num_valid_blocks, config.seed) for blocks in (valid, train)
    )
    rules = policy.Policy(
        config.rate_start,
        config.rate_end,
        Units(config.unit, config.span_length),
        config.seed,
        len(frozen_numbers),
    )
    frozen = policy.sample(valid, frozen_numbers, policy.VALID_RATE, config.seed)
    dtype = valid.ids.dtype
    write_array(stage.out / "valid.input_ids.npy", frozen.masked.input_ids.astype(dtype))
    labels = frozen.masked.dense_labels().astype(np.int32)
    write_array(stage.out / "valid.labels.npy", labels)
    _write_json(stage.out / "policy.json", rules.to_json(valid))
    drawn = policy.sample(train, some_numbers, config.rate_start, config.seed, rules.units)
    of_valid, of_train = (audit(each, valid.specials, tokens) for each in (frozen, drawn))
    _write_json(stage.out / "audit.json", {"valid": of_valid, "train": of_train})
    _tell_share(stage.emit, config, of_train)
    return {
        "num_frozen_blocks": len(frozen_numbers),
        "num_frozen_labels": of_valid["num_masked"],
        "masked_share": of_valid["masked_share"],
        "train_masked_share": of_train["masked_share"],
        "words_hidden_whole": of_train["masked_words"]["share_hidden_whole"],
    }


def _num_threads(stage: Stage) -> int:
    return num_threads(stage.runtime, stage.ranks.place.local_world_size)


def _tell_removed(emit: Emit, num_removed: int, num_documents: int, what: str) -> None:
    if num_removed:
        share = num_removed / num_documents
        text = f"{num_removed:,} of {num_documents:,} documents ({share:.1%}) are {what}: removed"
        emit(Note(text, "warning" if share > _MANY_DUPLICATES else "info"))


def _tell_share(emit: Emit, config: MaskConfig, found: dict[str, Any]) -> None:
    """A warning if much more or much less is masked than was asked, for words or blocks do not fit it."""
    share, asked = found["masked_share"], config.rate_start
    if found["num_maskable"] and abs(share - asked) > _SHARE_TOLERANCE * asked:
        length = found["masked_units"]["mean_tokens"]
        emit(
            Note(
                f"{share:.1%} of the tokens are masked, not {asked:.1%}: what is hidden at once has "
                f"{length:.1f} tokens on average, a block {config.block_length}",
                "warning",
            )
        )


def _pack(
    config: MaskConfig,
    encoder: Encoder,
    made: list[parts.Part],
    fates: Fates,
    num_tokens: int,
    stage: Stage,
) -> tuple[int, dict[str, Any]]:
    """Write both splits, removing the parts; (bytes of text in `valid`, counts of blocks and tokens)."""
    layout = (config.block_length, encoder.specials)
    valid_bytes = start = 0
    with (
        BlockWriter(stage.out, "train", *layout) as train,
        BlockWriter(stage.out, "valid", *layout) as valid,
        Record(stage.out) as record,
    ):
        last = {part.path: number for number, part in enumerate(made)}
        for done, part in enumerate(made):
            fate = np.array(fates.of[start : start + part.num_documents])
            start += part.num_documents
            ids, lengths, is_start = part.ids(), part.lengths(), part.is_start()
            places = *train.place, *valid.place
            if not fates.num_valid and (fate == TRAIN).any():
                valid_bytes = _cut_single(config, part, fate, train, valid)
                fate[:] = DROPPED  # it is in no split as a whole
            else:
                of_token = np.repeat(fate, lengths)
                for writer, which in ((train, TRAIN), (valid, VALID)):
                    chosen = of_token == which
                    writer.add(ids[chosen], lengths[fate == which], is_start[chosen])
                valid_bytes += int(part.num_bytes()[fate == VALID].sum())
            record.add(part.key, lengths, fate, places)
            if last[part.path] == done:
                part.path.unlink()  # or the disk would hold everything twice
            stage.emit(Progress(stage.name, done + 1, len(made), "parts", "packing"))
    unigrams = train.counts * encoder.specials.is_ordinary
    num_unknown = int(train.counts[encoder.specials.unk] + valid.counts[encoder.specials.unk])
    return valid_bytes, {
        "num_train_blocks": train.num_blocks,
        "num_valid_blocks": valid.num_blocks,
        "num_train_tokens": train.num_tokens,
        "num_valid_tokens": valid.num_tokens,
        "unknown_share": round(num_unknown / num_tokens, 6),
        "unigrams": unigrams,
    }


def _cut_single(
    config: MaskConfig, part: parts.Part, fate: np.ndarray[Any, Any], train: BlockWriter, valid: BlockWriter
) -> int:
    """The only document: its end is `valid`, cut where a word starts; the bytes of it, by share of tokens."""
    chosen = np.repeat(fate == TRAIN, part.lengths())
    ids, is_start = part.ids()[chosen], part.is_start()[chosen]
    total = len(ids)
    at = total - min(
        max(round(config.valid_fraction * total), min(total // 4, config.block_length)), total // 2
    )
    starts = np.flatnonzero(is_start)
    at = int(starts[np.argmin(np.abs(starts - at))]) or at
    for writer, piece in ((train, slice(0, at)), (valid, slice(at, total))):
        writer.add(ids[piece], np.array([len(ids[piece])]), is_start[piece])
    return round(int(part.num_bytes()[fate == TRAIN].sum()) * (total - at) / total)


def _check_length(made: Sequence[parts.Part], fates: Fates) -> int:
    """The number of tokens kept; DataError if it is too small to be split."""
    num_tokens = start = 0
    for part in made:
        fate = fates.of[start : start + part.num_documents]
        num_tokens += int(part.lengths()[fate > 0].sum())
        start += part.num_documents
    if not num_tokens:
        raise DataError("data.empty", "nothing is left of the text after normalisation")
    if num_tokens < _MIN_TOKENS:
        raise DataError(
            "data.too-short",
            f"the corpus has {num_tokens} tokens; at least {_MIN_TOKENS} are needed to train and validate",
            hint="name more text",
        )
    return num_tokens


def _warnings_only(emit: Emit) -> Emit:
    def emit_all_but_infos(event: Event) -> None:
        if not (isinstance(event, Note) and event.level == "info"):
            emit(event)

    return emit_all_but_infos


def _bytes_needed(sources: Sequence[Source], with_signatures: bool) -> int:
    """Parts, which become blocks: about a token in four bytes of text, two bytes each; and some room.

    Signatures: 256 bytes a document, of which there is about one in a kilobyte.
    """
    return int((1.0 if with_signatures else 0.7) * text_bytes(sources)) + 2**20


def _write_json(path: Path, value: Any) -> None:
    path.write_bytes(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n")
