"""Blocks of ids and the policy of what is hidden in them, each an artifact of its own.

Blocks are costly and depend on corpus, tokenizer and block length only; the policy is cheap. So another
mask rate never tokenizes anything again.
"""

from .blocks import help_with_blocks, run_blocks
from .policy import run_policy

__all__ = ["help_with_blocks", "run_blocks", "run_policy"]
