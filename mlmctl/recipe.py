"""Recipes: TOML files with the tables of `config.Recipe`, and how flags, environment and file combine.

Precedence: flag > environment > recipe > default. Everything is read by one strict reader, whatever it
came from, and every value knows its origin (`mlmctl recipe show --resolved`). In the environment a
value is called `MLMCTL_<TABLE>_<KEY>`, for example `MLMCTL_PRETRAIN_BUDGET=5m`.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from .config import Recipe
from .errors import UsageError, one_line

_MAX_BYTES = 64 * 1024
_DEEP_KEY = re.compile(r"(?<![\w\"'-])(?:[\w\"'-]++[ \t]*+\.[ \t]*+){16}")
_ONE_OF = {"pretrain": ("steps", "epochs", "budget")}
"""Keys of which the highest origin decides: a flag `--budget` overrules `steps` in the recipe."""

_PACKAGED = Path(__file__).parent / "recipes"
_CHECKOUT = Path(__file__).parent.parent / "recipes"


@dataclass(frozen=True)
class Resolved:
    """A complete recipe and, for every `table.key` not left at its default, where its value came from."""

    recipe: Recipe
    origins: Mapping[str, str]


def folder() -> Path:
    """Where the recipes that come with mlmctl are: inside the installed package, or in a checkout."""
    return _PACKAGED if _PACKAGED.is_dir() else _CHECKOUT


def names() -> list[str]:
    """The names that `--recipe NAME` knows."""
    return sorted(path.stem for path in folder().glob("*.toml"))


def find(name: str) -> Path:
    """The file behind `--recipe FILE|NAME`; UsageError if there is none."""
    path = Path(name)
    if path.suffix == ".toml" or "/" in name:
        if not path.is_file():
            raise UsageError("recipe.missing", "there is no such recipe file", where=name)
        return path
    path = folder() / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(names())
        raise UsageError(
            "recipe.unknown", f"no recipe is called {name!r}", hint=f"known: {known}; or a .toml file"
        )
    return path


def read(path: Path) -> dict[str, dict[str, Any]]:
    """The tables of a recipe file, checked; UsageError with the place for anything that is wrong."""
    if path.stat().st_size > _MAX_BYTES:
        raise UsageError("recipe.too-large", f"is larger than {_MAX_BYTES:,} bytes", where=str(path))
    try:
        tables = _loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # not TOML, not UTF-8, or a number of thousands of digits
        raise UsageError("recipe.syntax", f"is not TOML: {one_line(error)}", where=str(path)) from None
    except RecursionError:
        raise UsageError("recipe.syntax", "is nested too deeply", where=str(path)) from None
    _validate(tables, str(path))
    return tables


def summary(path: Path) -> str:
    """What a recipe is for: its first comment line."""
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    return first.lstrip("# ").rstrip(".")


def flatten(resolved: Resolved) -> list[tuple[str, Any, str]]:
    """(table.key, value, origin) for every value there is."""
    tables = resolved.recipe.model_dump(mode="json")
    return [
        (f"{table}.{key}", value, resolved.origins.get(f"{table}.{key}", "default"))
        for table, values in tables.items()
        for key, value in values.items()
    ]


def resolve(
    recipe: str | None, environment: Mapping[str, str], settings: Iterable[str], flags: Mapping[str, Any]
) -> Resolved:
    """Combine a recipe (file or name), MLMCTL_* variables, `--set table.key=value` and flags.

    `flags` maps `table.key` to a typed value. UsageError for an unknown key or a value out of range.
    """
    tables: dict[str, dict[str, Any]] = {}
    origins: dict[str, str] = {}
    if recipe is not None:
        path = find(recipe)
        _merge(tables, origins, read(path), f"recipe {path.name}")
    _merge(tables, origins, _from_environment(environment), "environment")
    _merge(tables, origins, _nested((s, *_setting(s)) for s in settings), "--set")
    _merge(tables, origins, _nested((n, n, v) for n, v in flags.items()), "flag")
    return Resolved(_validate(tables, "the recipe with flags applied" if origins else None), origins)


def _merge(
    tables: dict[str, dict[str, Any]],
    origins: dict[str, str],
    new: Mapping[str, Mapping[str, Any]],
    origin: str,
) -> None:
    for table, values in new.items():
        current = tables.setdefault(table, {})
        rivals = _ONE_OF.get(table, ())
        if any(name in values for name in rivals):
            for name in rivals:
                current.pop(name, None)
                origins.pop(f"{table}.{name}", None)
        current.update(values)
        origins.update({f"{table}.{name}": origin for name in values})


def _nested(items: Iterable[tuple[str, str, Any]]) -> dict[str, dict[str, Any]]:
    tables: dict[str, dict[str, Any]] = {}
    for given, name, value in items:
        table, _, key = name.partition(".")
        if table not in Recipe.model_fields or not key:
            known = ", ".join(Recipe.model_fields)
            raise UsageError("recipe.unknown-key", f"{given!r} names no table", hint=f"tables: {known}")
        tables.setdefault(table, {})[key] = value
    return tables


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError("recipe.setting", f"--set {text!r} has no '='", hint="--set table.key=value")
    name = name.strip()
    return name, _parse(name, value)


def _parse(name: str, text: str) -> Any:
    """A TOML value, or the text itself where the field is a text or the value is no TOML."""
    table, _, key = name.partition(".")
    info = _table_fields(table).get(key)
    if info is not None and info.annotation is str:
        return text
    try:
        return _loads(f"value = {text}")["value"]
    except (ValueError, RecursionError, KeyError):
        return text


def _loads(text: str) -> dict[str, Any]:
    """TOML. ValueError for what is none, and for dotted keys so deep that reading them would take minutes."""
    if _DEEP_KEY.search(text):
        raise ValueError("a key has too many parts")
    return tomllib.loads(text)


def _from_environment(environment: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for table in Recipe.model_fields:
        prefix = f"MLMCTL_{table.upper()}_"
        for variable in sorted(environment):
            if variable.startswith(prefix):
                key = variable.removeprefix(prefix).lower()
                found.setdefault(table, {})[key] = _parse(f"{table}.{key}", environment[variable])
    return found


def _table_fields(table: str) -> Mapping[str, Any]:
    info = Recipe.model_fields.get(table)
    model = info.annotation if info else None
    if isinstance(model, type) and issubclass(model, BaseModel):
        return model.model_fields
    return {}


def _shown(value: Any) -> str:
    try:
        return str(value)[:60]
    except ValueError:  # a number of thousands of digits
        return "such a number"


def _validate(tables: Mapping[str, Any], where: str | None) -> Recipe:
    try:
        return Recipe.model_validate(tables)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = list(
                _table_fields(str(first["loc"][0])) if len(first["loc"]) > 1 else Recipe.model_fields
            )
            close = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else "known: " + ", ".join(known)
            raise UsageError("recipe.unknown-key", f"unknown key {place!r}", where=where, hint=hint) from None
        said = first["msg"].removeprefix("Value error, ")
        found = f"{place}: {said}" if place else said  # a rule between tables has no place
        if "input" in first and not isinstance(first["input"], dict):
            found += f", not {_shown(first['input'])!r}"
        raise UsageError("recipe.value", found, where=where) from None
