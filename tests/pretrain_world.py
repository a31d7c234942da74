"""A tiny world for tests of the engine: blocks, frozen masks and a tokenizer, made without other stages."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from mlmctl.config import PretrainConfig, RuntimeConfig
from mlmctl.events import Event
from mlmctl.stages.stage import Stage
from mlmctl.storage import sha256_file
from mlmctl.text import policy, vocabulary
from mlmctl.text.blocks import Blocks, BlockWriter
from mlmctl.text.specials import NAMES, Specials
from mlmctl.text.units import TOKENS, Units

LENGTH = 16
VOCAB_SIZE = 96
SPECIALS = Specials(0, 1, 2, 3, 4, VOCAB_SIZE)


def make_inputs(root: Path, num_documents: int = 40, units: Units = TOKENS) -> dict[str, Path]:
    """Folders `mask/blocks`, `mask/policy`, `tokenizer` of a language of repeated number sequences.

    Tokens are words to the tokenizer; by the stored bits half of them continue a word.
    """
    folders = {name: root / name for name in ("mask/blocks", "mask/policy", "tokenizer")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    facts = {
        "dtype": "uint16",
        "block_length": LENGTH,
        "special_ids": SPECIALS.to_json(),
        "vocab_size": VOCAB_SIZE,
        "unigrams": "unigrams.npy",
        "num_documents": num_documents,
        "valid_bytes": 1000,
    }
    counts = np.zeros(VOCAB_SIZE, np.int64)
    random = np.random.default_rng(0)
    for split, number in (("train", num_documents), ("valid", 6)):
        with BlockWriter(folders["mask/blocks"], split, LENGTH, SPECIALS) as writer:
            for _ in range(number):
                document = 5 + (random.integers(90) + np.arange(random.integers(5, 40))) % (VOCAB_SIZE - 5)
                writer.add(document.astype(np.int64), np.array([len(document)]), document % 10 < 5)
        facts |= {f"num_{split}_blocks": writer.num_blocks, f"num_{split}_tokens": writer.num_tokens}
        counts = writer.counts if split == "train" else counts
    np.save(folders["mask/blocks"] / "unigrams.npy", counts)
    vocab = dict(zip(NAMES.values(), range(5), strict=True))
    letters = "abcdefghij"
    vocab |= {f"word{letters[n // 10]}{letters[n % 10]}": n for n in range(5, VOCAB_SIZE)}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.add_special_tokens(list(NAMES.values()))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.save(str(folders["tokenizer"] / "tokenizer.json"))
    vocabulary.fitted(folders["tokenizer"]).save(folders["tokenizer"])
    facts["tokenizer_sha256"] = sha256_file(folders["tokenizer"] / "tokenizer.json")
    (folders["mask/blocks"] / "blocks.json").write_text(json.dumps(facts))

    valid = Blocks.open(folders["mask/blocks"], "valid")
    numbers = policy.frozen_numbers(valid, 100, 0)
    masked = policy.sample(valid, numbers, policy.VALID_RATE, 0).masked
    folder = folders["mask/policy"]
    np.save(folder / "valid.input_ids.npy", masked.input_ids.astype(np.uint16))
    np.save(folder / "valid.labels.npy", masked.dense_labels().astype(np.int32))
    rules = policy.Policy(0.3, 0.15, units, 0, len(numbers))
    (folder / "policy.json").write_text(json.dumps(rules.to_json(valid)))

    return folders


def config(**changes: object) -> PretrainConfig:
    """A model of a few thousand parameters and short steps of three micro-batches' worth of tokens."""
    settings: dict[str, object] = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "tokens_per_step": 6 * LENGTH,
        "steps": 12,
        "warmup_steps": 2,
        "decay_fraction": 0.5,
    }
    return PretrainConfig(**{**settings, **changes})


@dataclass
class Run:
    """A stage's folders and what it said."""

    root: Path
    inputs: dict[str, Path]
    events: list[Event] = field(default_factory=list)

    def stage(self, out: str = "out") -> Stage:
        """A stage whose result goes to a new folder `out`; its work folder is found again."""
        (self.root / out).mkdir(parents=True)
        work = self.root / "work"
        work.mkdir(exist_ok=True)
        return Stage(
            name="pretrain",
            inputs=self.inputs,
            out=self.root / out,
            work=work,
            emit=self.events.append,
            runtime=RuntimeConfig(threads=1),
        )
