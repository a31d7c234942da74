"""Model folders as other people make them: stock classes with random weights, saved by transformers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import BertWordPieceTokenizer
from transformers import BertTokenizerFast, PreTrainedModel

SIZE = {
    "vocab_size": 96,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
}


def make_stock(folder: Path, name: str = "BertForMaskedLM", **changes: Any) -> PreTrainedModel:
    """Save a model of the stock class `name` into `folder`, weights large enough to tell logits apart."""
    cls = getattr(transformers, name)
    fields = {"pad_token_id": 0, **SIZE, **changes}
    if name.startswith("ModernBert"):
        fields |= {"cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}
    torch.manual_seed(0)
    network: PreTrainedModel = cls(cls.config_class(**fields)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    network.save_pretrained(folder)
    return network


def make_tokenizer(folder: Path, words: Iterable[str], vocab_size: int = SIZE["vocab_size"]) -> None:
    """A WordPiece tokenizer of transformers' own class, with truncation and padding left on."""
    trained = BertWordPieceTokenizer()
    trained.train_from_iterator(list(words) * 3, vocab_size, min_frequency=1, show_progress=False)
    trained.enable_truncation(16)
    trained.enable_padding()
    BertTokenizerFast(tokenizer_object=trained._tokenizer).save_pretrained(folder)
