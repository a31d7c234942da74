"""Libraries that only some users need: imported when they are, asked for by name where they are missing."""

from __future__ import annotations

import importlib
from typing import Any

from .errors import UsageError


def load(module: str, extra: str, what: str) -> Any:
    """The module; UsageError that names the extra of the package to install. `what` needs it: a plural."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise UsageError(
            "usage.missing-extra",
            f"{what} need the package {module}, which is not installed",
            hint=f"pip install 'mlmctl[{extra}]'",
        ) from None
