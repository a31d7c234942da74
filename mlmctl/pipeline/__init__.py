"""Which stage is fresh, stale or resumable; locks the run folder, opens, runs and seals artifacts."""

from .adopt import adopt
from .decisions import Decision, decide, header_of
from .evaluations import evaluate_node, measured
from .execute import StageReport, execute, preview
from .folders import hash_cache
from .inputs import encoder_folder, model_folder
from .nodes import Node, finetune_name, finetune_node, pretrain_nodes

__all__ = [
    "Decision",
    "Node",
    "StageReport",
    "adopt",
    "decide",
    "encoder_folder",
    "evaluate_node",
    "execute",
    "finetune_name",
    "finetune_node",
    "hash_cache",
    "header_of",
    "measured",
    "model_folder",
    "pretrain_nodes",
    "preview",
]
