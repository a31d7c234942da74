"""Print docs/commands.md: every command with its own help, so that the reference cannot drift."""

from __future__ import annotations

import os
import subprocess
import sys

os.environ.update(COLUMNS="100", NO_COLOR="1", TERM="dumb")
COMMANDS = (
    "tokenizer", "mask", "pretrain", "finetune", "evaluate", "fill", "predict", "embed", "score", "doctor",
    "status", "verify", "compare", "report", "bench", "curve", "run", "recipe list", "recipe show",
    "recipe check", "demo", "export",
)  # fmt: skip


def help_of(command: str) -> str:
    """What `mlmctl COMMAND --help` prints."""
    result = subprocess.run(
        [sys.executable, "-m", "mlmctl", *command.split(), "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.rstrip() for line in result.stdout.strip().splitlines()]
    return "\n".join(lines).replace("python -m mlmctl", "mlmctl")


def main() -> None:
    print("# Commands\n\nMade by `make docs` from the commands' own help; do not edit.")
    for command in COMMANDS:
        print(f"\n## `mlmctl {command}`\n\n```\n{help_of(command)}\n```")


if __name__ == "__main__":
    main()
