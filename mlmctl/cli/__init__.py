"""The command line: typer and nothing else; every command is a thin function over a plain one."""

# The order of these imports is the order of the groups in `mlmctl --help`.
from . import stages  # isort: skip
from . import use  # isort: skip
from . import look  # isort: skip
from . import measure  # isort: skip
from . import project  # isort: skip
from .app import main

__all__ = ["look", "main", "measure", "project", "stages", "use"]
