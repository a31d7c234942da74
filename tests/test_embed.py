"""Embeddings: what stock transformers computes, whatever the batch, in order, whole or absent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from encoders import make_data, make_encoder, run_finetune
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

from mlmctl.commands import embed
from mlmctl.errors import ArtifactError, DataError, UsageError
from mlmctl.events import silent
from mlmctl.tasks.inference import by_length

TEXTS = ["great film", "", "the plot was dull and the cast awful", "a film", "great film and a lovely plot"]
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("encoder") / "pretrain")


def embedded(folder: Path, texts: list[str], **options: Any) -> NDArray[np.float32]:
    found = embed.run(folder, texts, **options)
    return np.concatenate([np.zeros((0, found.hidden_size), np.float32), *found.pieces])


@torch.no_grad()
def stock(
    folder: Path, texts: list[str], pooling: str = "mean", layer: int | None = None
) -> NDArray[np.float32]:
    """Mean over the attention mask, as the model cards of sentence encoders have it."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    output = model(**batch, output_hidden_states=True)
    hidden = output.last_hidden_state if layer is None else output.hidden_states[layer]
    mask = batch["attention_mask"].unsqueeze(-1)
    pooled = hidden[:, 0] if pooling == "cls" else (hidden * mask).sum(1) / mask.sum(1)
    return np.asarray(pooled)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("architecture", ["modernbert", "bert"])
def test_embeddings_are_those_of_stock_transformers(tmp_path: Path, architecture: str, pooling: str) -> None:
    encoder = make_encoder(tmp_path / "pretrain", architecture=architecture)
    ours = embedded(encoder, TEXTS, pooling=pooling)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, stock(encoder, TEXTS, pooling), atol=TOLERANCE)


@pytest.mark.parametrize("architecture", ["modernbert", "bert"])
def test_embeddings_of_a_layer_are_those_of_stock_transformers(tmp_path: Path, architecture: str) -> None:
    encoder = make_encoder(tmp_path / "pretrain", architecture=architecture)
    found = [embedded(encoder, TEXTS, layer=layer) for layer in (0, 1, 2)]
    for layer, ours in zip((0, 1, None), found, strict=True):
        np.testing.assert_allclose(ours, stock(encoder, TEXTS, layer=layer), atol=TOLERANCE)
    assert np.abs(found[0] - found[1]).max() > 100 * TOLERANCE < np.abs(found[1] - found[2]).max()


def test_the_embeddings_of_layer_0_are_the_means_of_the_tokens_alone(encoder: Path) -> None:
    there, back = embedded(encoder, ["great film and a plot", "plot film a great and"], layer=0)
    np.testing.assert_allclose(there, back, atol=TOLERANCE)  # no order


def test_a_layer_that_is_not_there_is_refused(encoder: Path) -> None:
    with pytest.raises(UsageError, match=r"no layer 9.*0 \(the embeddings\) to \d"):
        embed.run(encoder, TEXTS, layer=9)


def test_a_text_gets_the_same_numbers_in_any_company(encoder: Path) -> None:
    draw = np.random.default_rng(0)
    texts = [" ".join(draw.choice(TEXTS[2].split(), n)) for n in draw.integers(0, 60, 50)]
    together = embedded(encoder, texts)
    np.testing.assert_allclose(embedded(encoder, texts, batch_size=7), together, atol=TOLERANCE)
    np.testing.assert_allclose(embedded(encoder, texts[::-1])[::-1], together, atol=TOLERANCE)


def test_a_long_text_is_the_mean_over_all_tokens_of_its_windows(encoder: Path) -> None:
    words = ("the film was a plot and " * 6).split()[:31]  # three windows of at most 14 words: 10, 10, 11
    windows = [" ".join(words[a:b]) for a, b in ((0, 10), (10, 20), (20, 31))]
    parts = stock(encoder, windows)
    expected = (12 * parts[0] + 12 * parts[1] + 13 * parts[2]) / 37
    np.testing.assert_allclose(embedded(encoder, [" ".join(words)])[0], expected, atol=TOLERANCE)


def test_normalized_embeddings_point_the_same_way_and_have_length_one(encoder: Path) -> None:
    plain, unit = embedded(encoder, TEXTS), embedded(encoder, TEXTS, normalize=True)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(unit * np.linalg.norm(plain, axis=1, keepdims=True), plain, atol=TOLERANCE)


def test_a_fine_tuned_model_embeds_with_the_encoder_below_its_head(encoder: Path, tmp_path: Path) -> None:
    run_finetune(tmp_path / "toy", encoder, make_data(tmp_path / "train.jsonl", 20), epochs=1.0)
    ours = embedded(tmp_path / "toy", TEXTS)
    np.testing.assert_allclose(ours, stock(tmp_path / "toy", TEXTS), atol=TOLERANCE)
    assert np.abs(ours - embedded(encoder, TEXTS)).max() > 100 * TOLERANCE


def test_no_more_lines_are_read_than_are_answered(encoder: Path) -> None:
    read = []

    def lines() -> Iterator[str]:
        for n in range(10):
            read.append(n)
            yield json.dumps({"text": TEXTS[n % 5]}) + "\n"

    pieces = embed.run(encoder, lines(), batch_size=4).pieces
    first = next(pieces)
    assert len(read) == 4
    np.testing.assert_allclose(np.concatenate([first, *pieces]), embedded(encoder, TEXTS * 2), atol=TOLERANCE)


def test_the_array_on_disk_is_the_embeddings(encoder: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.npy"
    assert embed.save(embed.run(encoder, TEXTS, batch_size=2), path, silent) == 5
    np.testing.assert_allclose(np.load(path, allow_pickle=False), embedded(encoder, TEXTS), atol=TOLERANCE)
    assert embed.save(embed.run(encoder, []), path, silent) == 0
    assert np.load(path).shape == (0, 32)


def test_fault_12_an_array_is_whole_or_absent(encoder: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.npy"
    broken = ['{"text": "great"}'] * 3 + ["no JSON"]
    with pytest.raises(DataError, match="line 4"):
        embed.save(embed.run(encoder, broken, batch_size=2), path, silent)
    assert list(tmp_path.iterdir()) == []
    path.write_bytes(b"older")
    with pytest.raises(DataError):
        embed.save(embed.run(encoder, broken, batch_size=2), path, silent)
    assert path.read_bytes() == b"older"


@pytest.mark.parametrize("name", ["out.jsonl", "nowhere/out.npy", "folder.npy"])
def test_a_place_where_no_array_can_be_written_is_refused_first(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.npy").mkdir()
    with pytest.raises(UsageError):
        embed.check_output(tmp_path / name)


def test_fault_20_a_damaged_encoder_embeds_nothing(tmp_path: Path) -> None:
    encoder = make_encoder(tmp_path / "pretrain")
    content = bytearray((encoder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (encoder / "model.safetensors").write_bytes(content)
    with pytest.raises(ArtifactError, match="SHA-256"):
        embed.run(encoder, TEXTS)


def test_batches_by_length_hold_every_window_and_few_tokens() -> None:
    lengths = np.random.default_rng(0).integers(1, 300, 500)
    lengths[7] = 5000
    batches = list(by_length(lengths, 64))
    assert sorted(np.concatenate(batches).tolist()) == list(range(500))
    for numbers in batches:
        assert len(numbers) <= 64
        assert len(numbers) == 1 or -(-lengths[numbers].max() // 8) * 8 * len(numbers) <= 2048
    assert max(map(len, batches)) > 20
    assert list(by_length(lengths[:0], 64)) == []
