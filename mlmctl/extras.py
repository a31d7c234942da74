"""Libraries that only some users need: imported when they are, asked for by name where they are missing."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from .errors import UsageError


def load(module: str, extra: str, what: str) -> Any:
    """The module; UsageError that names the extra of the package to install. `what` needs it: a plural."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise _missing(module, extra, what) from None


def check(module: str, extra: str, what: str) -> None:
    """Raise as `load` does, without importing the module: for those that another process will use."""
    if importlib.util.find_spec(module) is None:
        raise _missing(module, extra, what)


def _missing(module: str, extra: str, what: str) -> UsageError:
    return UsageError(
        "usage.missing-extra",
        f"{what} need the package {module}, which is not installed",
        hint=f"pip install 'mlmctl[{extra}]'",
    )
