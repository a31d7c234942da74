"""The corpus as blocks of ids: tokenized, freed of duplicates, split and packed.

Reads:  the corpus, tokenizer/
Writes: mask/blocks/: packed blocks of a training and a validation split (see `text.blocks`)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...config import CorpusConfig, MaskConfig
from ...engine.machine import num_threads
from ...events import Emit, Event, Note, silent
from ...json_files import indented
from ...storage import check_space, folder_size, sha256_file
from ...text import ahead, near_duplicates, parts, splitting, vocabulary, workers
from ...text.blocks import UNIGRAMS, id_dtype
from ...text.compression import CHUNK
from ...text.corpus import COMPRESSED_RATIO, Source, text_bytes
from ...text.documents import Documents
from ...text.encoding import Encoder
from ...text.npy import write_array
from ..stage import Stage
from .pack import check_length, pack

_MANY_DUPLICATES = 0.1
_SAMPLE_BYTES = 2**20
_DOCUMENT_BYTES = 68
"""In its part, while hashes are sorted, in `documents.npy`, and its `[SEP]`."""
_MARGIN = 1.1


def run_blocks(config: MaskConfig, corpus: CorpusConfig, stage: Stage) -> dict[str, Any]:
    """Tokenize into parts (in the work folder), then deduplicate, split and pack them.

    A run that was killed takes the finished parts as they are, and the blocks are the same bytes. Blocks that
    are about to be replaced, if they were made with the same tokenizer, give their parts back. Further ranks
    make parts ahead (`help_with_blocks`).
    """
    signed_by = near_duplicates.method() if config.near_duplicates else ""
    tokenizer = stage.inputs["tokenizer"]
    encoder = Encoder(vocabulary.load(tokenizer))
    needed = _bytes_needed(stage.sources, config, corpus, encoder)
    check_space(stage.work, needed, held=folder_size(stage.work))
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
    num_tokens = check_length(made, fates)
    valid_bytes, counts = pack(config, encoder, made, fates, num_tokens, stage)

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
    (stage.out / "blocks.json").write_bytes(indented({**layout, **facts}, sort_keys=True))
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


def _num_threads(stage: Stage) -> int:
    return num_threads(stage.runtime, stage.ranks.place.local_world_size)


def _tell_removed(emit: Emit, num_removed: int, num_documents: int, what: str) -> None:
    if num_removed:
        share = num_removed / num_documents
        text = f"{num_removed:,} of {num_documents:,} documents ({share:.1%}) are {what}: removed"
        emit(Note(text, "warning" if share > _MANY_DUPLICATES else "info"))


def _warnings_only(emit: Emit) -> Emit:
    def emit_all_but_infos(event: Event) -> None:
        if not (isinstance(event, Note) and event.level == "info"):
            emit(event)

    return emit_all_but_infos


def _bytes_needed(
    sources: Sequence[Source], config: MaskConfig, corpus: CorpusConfig, encoder: Encoder
) -> int:
    """Parts, which become blocks, and what splitting sorts; all text is taken to be as its first MiB, and all
    that is compressed as the first MiB on disk.

    A document takes as much as dozens of its tokens, so that how long they are decides.
    """
    sample, num_bytes, num_passed = [], 0, 0
    documents = Documents(sources, corpus, silent, "mask")
    for document in documents:
        size = len(document.encode())
        num_passed += size
        if num_bytes < _SAMPLE_BYTES:
            sample.append(document)
            num_bytes += size
        elif documents.position >= _SAMPLE_BYTES:
            break
    packed = max(COMPRESSED_RATIO, num_passed / max(1, documents.position))
    plain = min(1.0, num_passed / max(1, documents.position - CHUNK))  # of rows the text may be a small part
    num_text_bytes = sum(source.size * (packed if source.is_compressed else plain) for source in sources)
    of_document = _DOCUMENT_BYTES
    if config.near_duplicates:
        num_bands, _ = near_duplicates.bands(config.near_duplicates)
        of_document += 2 * near_duplicates.NUM_PLACES + 16 * num_bands
    of_place = id_dtype(encoder.specials.vocab_size).itemsize + 1 / 8
    of_token = of_place * config.block_length / (config.block_length - 2)
    needed = of_document * len(sample) + of_token * len(encoder.encode(sample).ids)
    return int(_MARGIN * needed * num_text_bytes / max(1, num_bytes)) + 2**20
