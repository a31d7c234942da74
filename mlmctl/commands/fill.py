"""What an encoder would put in the place of `[MASK]`, whatever its tokenizer calls it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from ..config import RuntimeConfig
from ..engine import architectures
from ..engine.masked_lm import logits_in_parts
from ..errors import DataError
from ..text import vocabulary
from .encoders import open_encoder
from .stdin import check_text

_MASK = "[MASK]"


def run(
    folder: Path, texts: Iterable[str], top_k: int = 5, config: RuntimeConfig | None = None
) -> Iterator[dict[str, Any]]:
    """For each text {text, masks}: for each mask its fillings {token, probability}, the likeliest first.

    ArtifactError if the folder is not a masked-language model; DataError, naming the line, for a text
    without a mask or longer than the model.
    """
    opened = open_encoder(folder, config)
    specials = opened.specials
    tokenizer = vocabulary.load(folder, with_mask=True)
    mask = vocabulary.special_names(tokenizer)["mask"]
    for number, text in enumerate(texts, start=1):
        check_text(text, number)
        inner = tokenizer.encode(text.replace(_MASK, mask), add_special_tokens=False).ids
        ids = [specials.cls, *inner, specials.sep]
        found = _fill(opened.model, tokenizer, ids, specials.mask, top_k, f"line {number}")
        yield {"text": text, "masks": found}


@torch.inference_mode()
def _fill(
    encoder: Any, tokenizer: Tokenizer, ids: list[int], mask_id: int, top_k: int, where: str
) -> list[list[dict[str, Any]]]:
    positions = [place for place, token in enumerate(ids) if token == mask_id]
    if not positions:
        raise DataError(
            "data.no-mask",
            f"no {_MASK} in the text",
            where=where,
            hint=f"write {_MASK} where a word is wanted",
        )
    longest = architectures.of(encoder).num_positions(encoder.config.to_dict())
    if len(ids) > longest:
        raise DataError("data.too-long", f"{len(ids)} tokens, the model reads {longest}", where=where)
    batch = {"input_ids": torch.tensor([ids]), "positions": torch.tensor(positions)}
    batch = {name: tensor.to(encoder.device) for name, tensor in batch.items()}
    found: list[tuple[list[float], list[int]]] = []
    for _, logits in logits_in_parts(encoder, batch):
        values, tokens = logits.softmax(dim=-1).topk(min(top_k, logits.shape[-1]), dim=-1)  # [n, top_k]
        found += zip(values.tolist(), tokens.tolist(), strict=True)
    return [
        [
            {
                "token": tokenizer.decode([token], skip_special_tokens=False),
                "probability": round(value, 6),
            }
            for value, token in zip(values, tokens, strict=True)
        ]
        for values, tokens in found
    ]
