"""Continue a stock BERT with mlmctl, extend its vocabulary, and check the logits at every step.

    python scripts/continue_bert.py CORPUS FOLDER [--steps 100] [--extend-vocab 500]

Makes a BERT with `transformers` (random weights, a WordPiece tokenizer trained on CORPUS by `tokenizers`),
continues it with `mlmctl pretrain --init`, continues the result with an extended vocabulary, and loads each
with stock classes. Every "ok" is an assertion; the script ends with 1 at the first that fails.
"""

from __future__ import annotations

import argparse
import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import BertWordPieceTokenizer, Tokenizer
from transformers import AutoModelForMaskedLM, AutoTokenizer, BertConfig, BertForMaskedLM, BertTokenizerFast

from mlmctl.engine import evaluate_mlm, initial, model
from mlmctl.engine.masked_lm import sparse_logits
from mlmctl.text import extension, vocabulary
from mlmctl.text.blocks import Blocks

VOCAB_SIZE, HIDDEN_SIZE, LAYERS, BLOCK = 2000, 128, 2, 128
TOLERANCE = 1e-5


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("corpus", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--extend-vocab", type=int, default=500)
    asked = parser.parse_args()
    stock, first, second = (asked.folder / name for name in ("stock", "continued", "extended"))
    make_stock(asked.corpus, stock)

    print("1. The stock BERT, before anything is done")
    same_logits(stock)

    print(f"2. Continued for {asked.steps} steps")
    found = mlmctl("pretrain", asked.corpus, "--init", stock, "--run", first, "--steps", asked.steps)
    starts_where_it_was(stock, first)
    tell_learning(first, found)
    same_logits(first / "pretrain")

    print(f"3. Its vocabulary extended by {asked.extend_vocab} tokens, before the first step")
    extended = ("--init", first / "pretrain", "--extend-vocab", asked.extend_vocab)
    of_first = ("--tokenizer", first / "pretrain", "--extend-vocab", asked.extend_vocab)
    mlmctl("mask", asked.corpus, *of_first, "--run", second)
    grown_as_it_should(first / "pretrain", second)
    tell_pieces(asked.corpus, first / "tokenizer", second / "tokenizer")

    print(f"4. Continued for {asked.steps} steps with the extended vocabulary")
    found = mlmctl("pretrain", asked.corpus, *extended, "--run", second, "--steps", asked.steps)
    tell_learning(second, found)
    same_logits(second / "pretrain")


def make_stock(corpus: Path, folder: Path) -> None:
    """A BERT of random weights and its tokenizer, made and saved without mlmctl."""
    tokenizer = BertWordPieceTokenizer()
    tokenizer.train_from_iterator(lines(corpus), VOCAB_SIZE, show_progress=False)
    BertTokenizerFast(tokenizer_object=tokenizer._tokenizer).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=HIDDEN_SIZE,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        intermediate_size=4 * HIDDEN_SIZE,
    )
    BertForMaskedLM(config).save_pretrained(folder)


def same_logits(folder: Path) -> None:
    """mlmctl's loading, attention and sparse head give the logits of stock classes, on a padded batch."""
    ours, report = model.load(folder, "masked_lm")
    assert not report.new, report
    stock = AutoModelForMaskedLM.from_pretrained(folder, attn_implementation="eager").eval()
    batch = AutoTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors="pt")
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    real = inputs["attention_mask"].bool()
    assert not real.all()
    places = real.flatten().nonzero().squeeze(1)
    with torch.no_grad():
        wanted = stock(**inputs).logits[real]
        dense = ours(**inputs).logits[real]
        sparse = sparse_logits(ours, {**inputs, "positions": places})
    check("our dense logits equal stock's", dense, wanted)
    check("our sparse logits equal stock's", sparse, wanted)


def starts_where_it_was(stock: Path, run: Path) -> None:
    """The first evaluation, before any step, is the loss of the stock model by its own dense forward pass."""
    masks = evaluate_mlm.FrozenMasks.open(run / "mask/policy", run / "mask/blocks")
    num_blocks = min(len(masks.labels), 16_384 // BLOCK)
    input_ids = torch.from_numpy(masks.input_ids[:num_blocks].astype(np.int64))
    network = AutoModelForMaskedLM.from_pretrained(stock).eval()
    with torch.no_grad():
        dense = network(
            input_ids=input_ids,
            attention_mask=(input_ids != masks.specials.pad).long(),
            labels=torch.from_numpy(masks.labels[:num_blocks].astype(np.int64)),
        ).loss
    check("the loss before the first step is the stock model's", losses(run)[0], dense)


def grown_as_it_should(base: Path, run: Path) -> None:
    """Rows of new tokens are means of their pieces', old rows are the same bits, old logits are unchanged."""
    pieces = extension.between(base, run / "tokenizer")
    blocks = Blocks.open(run / "mask/blocks", "train")
    start = initial.continued(base, run / "tokenizer", blocks.specials, 0, torch.device("cpu"))
    grown, old = start.make(), AutoModelForMaskedLM.from_pretrained(base).eval()
    num_old = old.config.vocab_size
    tables: list[tuple[str, Callable[[Any], torch.Tensor]]] = [
        ("embedding", lambda network: network.get_input_embeddings().weight),
        ("decoder", lambda network: network.get_output_embeddings().weight),
        ("bias", lambda network: network.get_output_embeddings().bias),
    ]
    for name, table in tables:
        rows, old_rows = table(grown), table(old)
        assert torch.equal(rows[:num_old], old_rows), name
        assert all(torch.equal(rows[new], old_rows[list(ids)].mean(dim=0)) for new, ids in pieces.items()), (
            name
        )
        print(
            f"  ok  {name}: {num_old:,} old rows bit for bit, {len(pieces):,} new ones means of their pieces"
        )
    batch = AutoTokenizer.from_pretrained(base)(TEXTS, padding=True, return_tensors="pt")  # no new tokens
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        real = inputs["attention_mask"].bool()
        check(
            "logits of old tokens are those of before",
            grown(**inputs).logits[real][:, :num_old],
            old(**inputs).logits[real],
        )


def tell_pieces(corpus: Path, base: Path, grown: Path) -> None:
    words = [word for line in lines(corpus)[:20_000] for word in line.split()]
    counts = []
    for folder in (base, grown):
        tokenizer: Tokenizer = vocabulary.load(folder)
        counts.append(
            sum(len(e.ids) for e in tokenizer.encode_batch(words, add_special_tokens=False)) / len(words)
        )
    assert counts[1] < counts[0]
    print(f"  ok  pieces a word (between blanks): {counts[0]:.3f} before, {counts[1]:.3f} after")


def tell_learning(run: Path, found: dict[str, Any]) -> None:
    before, after = losses(run)[0], found["metrics"]["valid_loss"]
    assert after < before
    unigram = found["metrics"]["unigram_loss"]
    print(f"  ok  loss {before:.3f} before the first step, {after:.3f} after (unigram {unigram:.3f})")


def losses(run: Path) -> list[float]:
    """Of every evaluation on the way."""
    found = [json.loads(line) for line in (run / "pretrain/metrics.jsonl").read_text().splitlines()]
    return [row["valid_loss"] for row in found if "valid_loss" in row]


def mlmctl(*arguments: object) -> dict[str, Any]:
    """Run a command; its JSON object. SystemExit with its message if it fails."""
    command = [sys.executable, "-m", "mlmctl", *map(str, arguments), "--json", "--quiet"]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        raise SystemExit(made.stderr)
    result: dict[str, Any] = json.loads(made.stdout)
    return result


def check(what: str, found: Any, wanted: Any) -> None:
    difference = float((torch.as_tensor(found) - torch.as_tensor(wanted)).abs().max())
    assert difference < TOLERANCE, f"{what}: they differ by {difference}"
    print(f"  ok  {what} (largest difference {difference:.1e})")


def lines(corpus: Path) -> list[str]:
    opened = gzip.open if corpus.suffix == ".gz" else open
    with opened(corpus, "rt", encoding="utf-8") as file:
        return [line for line in file.read(2**23).splitlines() if line.strip()]


TEXTS = [
    "The iterator protocol lets a for loop walk over any object that knows its own next item.",
    "Short.",
    "A borrowed reference must not outlive the value that it points to, which the compiler checks.",
]


if __name__ == "__main__":
    main()
