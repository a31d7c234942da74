"""The families of encoders: which stock classes they have, and what differs between them, in one table.

Everything else asks this table and names no family. A new family is one entry. The table itself can be
read without waiting for torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PretrainedConfig, PreTrainedModel

Head = Literal["masked_lm", "sequence_classification", "token_classification", "question_answering"]
"""What sits on top of an encoder."""

Fields = dict[str, Any]
"""Fields of a stock configuration."""

_MAX_FULL_LENGTH = 512
"""Up to here every layer sees the whole block; longer blocks take ModernBERT's windows in two of three.
Also the positions an encoder of shorter blocks has: the ones it has not seen yet can still be learned."""


@dataclass(frozen=True)
class Shape:
    """The size of an encoder."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int


@dataclass(frozen=True)
class RotaryWeights:
    """The matrices between embedding and decoder that pass on what tokens say, of a masked-language model."""

    layers: Sequence[tuple[Tensor, Tensor, float]]
    """Of each layer: queries, keys and values stacked [3 * width, width]; output [width, width]; base of the
    angles."""
    head: Tensor
    """[width, width], before the decoder."""


@dataclass(frozen=True)
class Architecture:
    """One family of encoders."""

    config_class: str
    fields: tuple[str, ...]
    """What is taken over from a config.json, by name; nothing else of it is read."""
    fixed: Mapping[str, Any]
    """What a config.json must say, if it says it: with another value it is not the stock arithmetic."""
    classes: Mapping[Head, str]
    """The class of `transformers` for each head, by name: each family is imported only when it is used."""
    presets: Mapping[str, Shape]
    """The sizes that have a name; none for a family that is only continued and adapted."""
    configure: Callable[[Shape, int, Mapping[str, int]], Fields]
    """(shape, block length, ids of the special tokens by role) -> a new configuration without vocab_size."""
    adjust: Callable[[float], Fields]
    """(rate of dropout) -> what is set for training whatever the encoder's own configuration says."""
    decode: Callable[[Any, Tensor], Tensor]
    """(masked-language model, hidden states [n, hidden_size]) -> logits [n, vocab_size]."""
    num_positions: Callable[[Fields], int]
    """(fields of a configuration) -> the longest input, in tokens."""
    layers: str
    """Stands in the names of all parameters of the layers, and in no others."""
    fused: Mapping[str, int]
    """Ends of the names of matrices that are several stacked along their rows -> how many."""
    rotary: Callable[[Any], RotaryWeights] | None = None
    """(masked-language model) -> its matrices; None for a family whose positions are not rotary."""
    optional: tuple[str, ...] = ()
    """Beginnings of the names of encoder tensors that only some heads use: others' checkpoints lack them."""
    old_names: Mapping[str, str] = field(default_factory=dict)
    """Ends of the names of tensors in early checkpoints -> as they are called now."""
    portable: Callable[[Fields], Fields] = lambda config: {}
    """(saved configuration) -> what another version of `transformers` wants to read beside it."""

    def model_class(self, head: Head) -> type[PreTrainedModel]:
        import transformers

        found: type[PreTrainedModel] = getattr(transformers, self.classes[head])
        return found

    def config(self, fields: Fields) -> PretrainedConfig:
        """A stock configuration; raises what `transformers` raises for a value it cannot take."""
        import transformers

        made: PretrainedConfig = getattr(transformers, self.config_class)(**fields)
        return made


_COMMON = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
    "max_position_embeddings", "pad_token_id", "bos_token_id", "eos_token_id", "initializer_range",
    "tie_word_embeddings", "id2label", "label2id",
)  # fmt: skip
_BERT = ("hidden_act", "type_vocab_size", "layer_norm_eps")
_BERT_FIXED = {"position_embedding_type": "absolute", "is_decoder": False, "add_cross_attention": False}
_MODERNBERT = (
    "cls_token_id", "sep_token_id", "hidden_activation", "initializer_cutoff_factor", "norm_eps", "norm_bias",
    "attention_bias", "mlp_bias", "decoder_bias", "classifier_bias", "classifier_activation", "layer_types",
    "rope_parameters", "local_attention", "global_attn_every_n_layers", "global_rope_theta",
    "local_rope_theta",
)  # fmt: skip


def _classes(prefix: str) -> dict[Head, str]:
    return {
        "masked_lm": f"{prefix}ForMaskedLM",
        "sequence_classification": f"{prefix}ForSequenceClassification",
        "token_classification": f"{prefix}ForTokenClassification",
        "question_answering": f"{prefix}ForQuestionAnswering",
    }


def _common(shape: Shape, block_length: int, ids: Mapping[str, int]) -> Fields:
    tokens = {"pad": "pad", "bos": "cls", "eos": "sep"}
    return {
        **asdict(shape),
        **{f"{name}_token_id": ids[role] for name, role in tokens.items()},
        "max_position_embeddings": max(_MAX_FULL_LENGTH, block_length),
    }


def _modernbert(shape: Shape, block_length: int, ids: Mapping[str, int]) -> Fields:
    is_short = block_length <= _MAX_FULL_LENGTH
    return {
        **_common(shape, block_length, ids),
        "cls_token_id": ids["cls"],
        "sep_token_id": ids["sep"],
        "global_attn_every_n_layers": 1 if is_short else 3,
        "global_rope_theta": 10_000.0 if is_short else 160_000.0,
        "local_rope_theta": 10_000.0,
        "reference_compile": False,
    }


def _modernbert_adjust(dropout: float) -> Fields:
    return {
        "embedding_dropout": 0.0,
        "attention_dropout": 0.0,
        "mlp_dropout": 0.0,
        "classifier_dropout": dropout,
        "classifier_pooling": "mean",
    }


def _modernbert_rotary(model: Any) -> RotaryWeights:
    config: Any = model.config
    bases = _modernbert_portable(vars(config)) | vars(config)  # transformers 5 and 4
    layers = []
    for number, layer in enumerate(model.base_model.layers):
        is_full = number % config.global_attn_every_n_layers == 0
        base = bases["global_rope_theta" if is_full else "local_rope_theta"]
        layers.append((layer.attn.Wqkv.weight, layer.attn.Wo.weight, float(base)))
    return RotaryWeights(layers, model.head.dense.weight)


def _modernbert_portable(config: Fields) -> Fields:
    """transformers 4 and 5 name windows and rotary bases differently; the file has both names."""
    rope = config.get("rope_parameters") or {}
    bases = {}
    if "full_attention" in rope:
        bases["global_rope_theta"] = rope["full_attention"]["rope_theta"]
        bases["local_rope_theta"] = rope["sliding_attention"]["rope_theta"]
    return {**bases, "reference_compile": False}  # transformers 4 would compile where it can


def _roberta(shape: Shape, block_length: int, ids: Mapping[str, int]) -> Fields:
    fields = _common(shape, block_length, ids)
    fields["max_position_embeddings"] += (
        ids["pad"] + 1
    )  # the first position has the number after the padding's
    return fields


def _bert_adjust(dropout: float) -> Fields:
    # Dropout of attention weights draws a random number for each pair of tokens and is not worth it here.
    return {
        "hidden_dropout_prob": dropout,
        "attention_probs_dropout_prob": 0.0,
        "classifier_dropout": dropout,
    }


ARCHITECTURES: dict[str, Architecture] = {
    "modernbert": Architecture(
        config_class="ModernBertConfig",
        fields=_COMMON + _MODERNBERT,
        fixed={"rope_scaling": None},
        classes=_classes("ModernBert"),
        presets={  # parameters at a vocabulary of 8,192 (base: of 30,522)
            "tiny": Shape(128, 2, 2, 384),  # 1.5 million
            "mini": Shape(256, 4, 4, 640),  # 5.2 million
            "small": Shape(512, 6, 8, 1024),  # 20 million
            "base": Shape(768, 12, 12, 2048),  # 109 million
        },
        configure=_modernbert,
        adjust=_modernbert_adjust,
        decode=lambda model, hidden: model.decoder(model.head(hidden)),
        num_positions=lambda config: config["max_position_embeddings"],
        layers=".layers.",
        fused={"attn.Wqkv.weight": 3, "mlp.Wi.weight": 2},
        rotary=_modernbert_rotary,
        portable=_modernbert_portable,
    ),
    "bert": Architecture(
        config_class="BertConfig",
        fields=_COMMON + _BERT,
        fixed=_BERT_FIXED,
        classes=_classes("Bert"),
        presets={  # half as wide again inside as ModernBERT, whose gate is a third matrix: as many parameters
            "tiny": Shape(128, 2, 2, 576),  # 1.6 million
            "mini": Shape(256, 4, 4, 960),  # 5.3 million
            "small": Shape(512, 6, 8, 1536),  # 20 million
            "base": Shape(768, 12, 12, 3072),  # 110 million: BERT-base
        },
        configure=_common,
        adjust=_bert_adjust,
        decode=lambda model, hidden: model.cls(hidden),
        num_positions=lambda config: config["max_position_embeddings"],
        layers=".layer.",
        fused={},
        optional=("bert.pooler.",),
        old_names={"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"},
    ),
    "roberta": Architecture(
        config_class="RobertaConfig",
        fields=_COMMON + _BERT,
        fixed=_BERT_FIXED,
        classes=_classes("Roberta"),
        presets={},
        configure=_roberta,
        adjust=_bert_adjust,
        decode=lambda model, hidden: model.lm_head(hidden),
        num_positions=lambda config: config["max_position_embeddings"] - config.get("pad_token_id", 1) - 1,
        layers=".layer.",
        fused={},
        optional=("roberta.pooler.",),
    ),
}
"""By `model_type` of the stock configuration."""


def of(model: nn.Module) -> Architecture:
    """The family of a stock model."""
    return ARCHITECTURES[model.config.model_type]  # type: ignore[index,union-attr]
