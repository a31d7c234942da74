"""Models that others have published: `hf:OWNER/NAME` is the one way to ask for something remote.

Nothing but a name that begins with `hf:` touches the network, and then only configuration, safetensors
and tokenizer files are fetched, and what `mlmctl export` puts beside them: no code, no pickle.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .errors import MlmctlError, ResourceError, UsageError, one_line

PREFIX = "hf:"
_CACHED = "models--"
FILES = (
    "config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "plan.json",
    "task.json",
)
"""What is fetched of a repository. `vocab.txt` is only looked for, to say what is to be done about it."""


def folder(name: str, may_fetch: bool = True) -> Path:
    """The local folder that a model's name means: a path, or `hf:OWNER/NAME`, fetched if it is not yet there.

    Unless `may_fetch`, what is there is taken, and nobody is asked whether it is the newest.

    UsageError for a path that does not exist and for a repository that is unknown or closed; ResourceError
    if the hub cannot be reached.
    """
    if name.startswith(PREFIX):
        return _fetched(name.removeprefix(PREFIX), may_fetch)
    path = Path(name)
    if path.is_dir():
        return path
    what = "is not a folder" if path.exists() else "does not exist"
    remote = name if name.count("/") == 1 and not name.startswith((".", "/", "~")) else "OWNER/NAME"
    hint = f"a folder, or {PREFIX}{remote} for a model on the hub"
    raise UsageError("usage.no-model", what, where=name, hint=hint)


def is_there(name: str) -> bool:
    """Whether `hf:OWNER/NAME` can be had without the hub. UsageError for what is no name of a repository."""
    try:
        folder(name, may_fetch=False)
    except ResourceError:
        return False
    return True


def short_name(name: str) -> str:
    """`OWNER--NAME` for `hf:OWNER/NAME`: what can be the name of a folder."""
    return name.removeprefix(PREFIX).replace("/", "--")


def called(folder: Path) -> str:
    """What people call the model in a folder: its name, that of the run for a run's encoder, and that on the
    hub for one that was fetched (into a folder called by a hash).
    """
    whole = folder.resolve()
    if name := name_of(whole):
        return short_name(name)
    return whole.parent.name if whole.name == "pretrain" else whole.name


def name_of(folder: Path) -> str | None:
    """`hf:OWNER/NAME` of the model in a folder of the hub's cache, `models--OWNER--NAME/snapshots/HASH`."""
    repository = folder.parent.parent.name
    if folder.parent.name != "snapshots" or not repository.startswith(_CACHED):
        return None
    return PREFIX + repository.removeprefix(_CACHED).replace("--", "/", 1)


def _fetched(name: str, may_fetch: bool) -> Path:
    import huggingface_hub
    from huggingface_hub import errors, utils

    where = PREFIX + name
    utils.disable_progress_bars()  # type: ignore[attr-defined]
    try:
        asked: dict[str, Any] = {} if may_fetch else {"local_files_only": True}
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=list(FILES), **asked))
    except errors.HFValidationError:
        hint = f"{PREFIX}OWNER/NAME"
        raise UsageError("usage.no-model", "is no name of a repository", where=where, hint=hint) from None
    except errors.GatedRepoError:
        found, hint = "is open only to those who accepted its terms", "accept them, then: hf auth login"
        raise UsageError("usage.no-model", found, where=where, hint=hint) from None
    except errors.RepositoryNotFoundError:
        raise UsageError("usage.no-model", "is not on the hub, or not public", where=where) from None
    except MlmctlError:  # a signal
        raise
    except Exception as error:  # whatever the HTTP library of this version of the hub's client raises
        raise ResourceError(
            "resource.hub",
            f"cannot be fetched, and is not in the cache: {one_line(error)}",
            where=where,
            hint="try again with a connection, or name a local folder",
        ) from None
