"""From sections to one HTML file that needs nothing else and runs nothing.

Everything that is put into the template is text: Jinja escapes it, and what could command a browser or a
terminal is made visible first. The page forbids scripts and all that comes from elsewhere besides.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import Any

from ... import __version__, extras
from ...unsafe_text import visible
from .parts import Section

MARK = '<meta name="generator" content="mlmctl report">'
"""By which a report is known, and may be replaced by a newer one."""
_TEMPLATE, _STYLE = "page.html.jinja", "page.css"


def check() -> None:
    """UsageError, before anything is read, if a library is missing."""
    for module in ("jinja2", "matplotlib"):
        extras.load(module, "report", "reports")


def render(title: str, headlines: Sequence[tuple[str, str, str]], sections: Sequence[Section]) -> bytes:
    """The page in UTF-8: the same bytes for the same arguments. `headlines` are (name, value, note)."""
    jinja = extras.load("jinja2", "report", "reports")
    environment = jinja.Environment(
        autoescape=True,
        undefined=jinja.StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.from_string(_read(_TEMPLATE))
    page: str = template.render(
        title=title,
        headlines=headlines,
        sections=[section for section in sections if section.missing is None],
        missing=[section for section in sections if section.missing is not None],
        style=_read(_STYLE),
        mark=MARK,
        version=__version__,
    )
    return page.lstrip().encode()


def _finalized(value: Any) -> Any:
    """Text as it may be shown; what the template itself has marked as HTML is left."""
    return visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _read(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
