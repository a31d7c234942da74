"""The flags of the command line: one table, and a decorator that gives each command its share of them.

A flag is a short name for one or more `table.key` of the recipe; its value goes through the same strict
reader as a recipe file. `{command}` in a target stands for the command's own table.
"""

from __future__ import annotations

import inspect
import os
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from .call import Call


@dataclass(frozen=True)
class Flag:
    """One flag: what it sets in the recipe, its type, its help."""

    targets: tuple[str, ...]
    type: Any
    help: str
    metavar: str | None = None
    default: str = ""
    """As people are told it; a recipe may say otherwise."""

    @property
    def shown(self) -> str:
        return f"{self.help.rstrip('.')} (default: {self.default})." if self.default else self.help


_FLAGS: dict[str, Flag] = {
    "preset": Flag(
        ("pretrain.preset",), str, "Model shape: tiny, mini, small, base or auto.", "NAME", "mini"
    ),
    "architecture": Flag(
        ("pretrain.architecture",), str, "Family of encoders: modernbert or bert.", "NAME", "modernbert"
    ),
    "init": Flag(("pretrain.init",), str, "Continue this encoder: a folder, or hf:OWNER/NAME.", "DIR"),
    "budget": Flag(("pretrain.budget",), str, "Time for the pretrain stage, e.g. 90s, 1h30m.", "TIME", "10m"),
    "steps": Flag(("pretrain.steps",), int, "Training steps, instead of a budget."),
    "epochs": Flag(
        ("{command}.epochs",),
        float,
        "Passes over the data (unset: pretrain has a budget, finetune goes by the number of examples).",
    ),
    "tokenizer-type": Flag(("tokenizer.type",), str, "wordpiece, or bpe (byte-level).", "TYPE", "wordpiece"),
    "vocab-size": Flag(("tokenizer.vocab_size",), int, "Entries in the vocabulary.", default="8192"),
    "cased": Flag(("tokenizer.cased",), bool, "Keep upper and lower case apart."),
    "tokenizer": Flag(("tokenizer.path",), str, "Use this tokenizer folder instead of training one.", "DIR"),
    "extend-vocab": Flag(("tokenizer.extend",), int, "Add so many entries to the tokenizer used.", "N"),
    "block-length": Flag(("mask.block_length",), int, "Tokens a block.", default="128"),
    "mask-rate": Flag(
        ("mask.rate_start", "mask.rate_end"),
        float,
        "Share of tokens masked, constant.",
        default="0.3 falling to 0.15",
    ),
    "mask-unit": Flag(
        ("mask.unit",), str, "What is hidden as a whole: token, word or span.", "NAME", "token"
    ),
    "near-duplicates": Flag(
        ("mask.near_duplicates",),
        float,
        "Drop documents so similar to an earlier one, e.g. 0.8 (0: off).",
        "T",
    ),
    "unit": Flag(
        ("corpus.unit",), str, "A document is a line, a paragraph or a file.", None, "auto: looked up"
    ),
    "text-column": Flag(
        ("corpus.text_column",), str, "Column with the text, in files that have columns.", "NAME", "text"
    ),
    "encoding": Flag(("corpus.encoding",), str, "Encoding of the text.", "NAME", "utf-8"),
    "encoding-errors": Flag(
        ("corpus.encoding_errors",), str, "strict, or replace (counted).", None, "strict"
    ),
    "seed": Flag(
        ("pretrain.seed", "finetune.seed"), int, "Of initialisation, order, masks and dropout.", default="0"
    ),
    "task": Flag(
        ("{command}.task",),
        str,
        "What the model is for: sentiment, classify, tags, qa (evaluate also: mlm, pairs).",
        "NAME",
        "sentiment",
    ),
    "data": Flag(
        ("{command}.data",), str, "Labelled data: .jsonl .csv .tsv .parquet .conll, SQuAD .json.", "FILE"
    ),
    "test": Flag(("evaluate.data",), str, "Labelled test data, to be compared with the rest.", "FILE"),
    "name": Flag(("{command}.name",), str, "Name of the result's folder.", "NAME"),
    "model": Flag(("{command}.model",), str, "A model folder, its name in the run, or hf:OWNER/NAME.", "DIR"),
    "max-examples": Flag(("{command}.max_examples",), int, "Use a seeded, stratified sample of this size."),
    "on-bad": Flag(
        ("{command}.on_bad",), str, "Bad questions (qa): fail, or skip (counted).", "WHAT", "fail"
    ),
    "from-scratch": Flag(("{command}.from_scratch",), bool, "Random weights: the supervised baseline."),
    "method": Flag(
        ("evaluate.method",),
        str,
        "Pseudo-log-likelihood: original or within-word-l2r.",
        "NAME",
        "within-word-l2r",
    ),
    "baseline": Flag(
        ("evaluate.baseline",), str, "Compare with an earlier evaluation: its folder, or its --json.", "DIR"
    ),
    "threads": Flag(("runtime.threads",), int, "CPU threads (default: all that are ours)."),
    "device": Flag(("runtime.device",), str, "auto, cpu, cuda or mps.", None, "auto"),
}

CORPUS = ("unit", "text-column", "encoding", "encoding-errors")
TOKENIZER = (*CORPUS, "tokenizer-type", "vocab-size", "cased", "tokenizer", "extend-vocab", "threads")
MASK = (*TOKENIZER, "block-length", "mask-rate", "mask-unit", "near-duplicates")
PRETRAIN = (*MASK, "preset", "architecture", "init", "budget", "steps", "epochs", "seed", "device")
FINETUNE = (
    "task", "data", "name", "model", "max-examples", "on-bad", "from-scratch", "epochs", "seed", "threads",
    "device",
)  # fmt: skip
DOCTOR = (*PRETRAIN, "task", "data", "test")
EVALUATE = (
    "task", "data", "name", "model", "max-examples", "method", "on-bad", "baseline", "threads", "device",
)  # fmt: skip

_RUN = Annotated[
    Path, typer.Option("--run", envvar="MLMCTL_RUN", metavar="DIR", help="The folder all stages share.")
]
_RECIPE = Annotated[str | None, typer.Option("--recipe", metavar="FILE|NAME", help="A recipe.")]
_SET = Annotated[
    list[str] | None, typer.Option("--set", metavar="TABLE.KEY=VALUE", help="Set any recipe value.")
]
_FORCE = Annotated[
    list[str] | None,
    typer.Option("--force", metavar="[STAGE]", help="Make this stage again and replace what it made."),
]
_DRY = Annotated[bool, typer.Option("--dry-run", help="Print what would be done; write nothing.")]
_REFRESH = Annotated[bool, typer.Option("--refresh", help="Read remote input again that was read before.")]
_JSON = Annotated[
    bool, typer.Option("--json", help="JSON on standard output: one object, or one a line of input.")
]
_QUIET = Annotated[bool, typer.Option("--quiet", "-q", help="Errors and warnings only.")]
_VERBOSE = Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")]
_DEBUG = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]

_SPEECH = {"json": _JSON, "quiet": _QUIET, "verbose": _VERBOSE, "debug": _DEBUG}
_SHARED = {"run": _RUN, "recipe": _RECIPE, "settings": _SET, **_SPEECH}
_STAGE = {**_SHARED, "force": _FORCE, "dry_run": _DRY, "refresh": _REFRESH}


with_stages: set[str] = set()
"""Commands whose `--force` takes the name of a stage."""


def command(
    app: typer.Typer,
    name: str,
    *,
    panel: str,
    flags: tuple[str, ...] = (),
    stage: bool = False,
    divided: bool = False,
    run: str = "run",
    tables: Mapping[str, str] | None = None,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register `function(call, ...)` as a command with the options every command has, and `flags`.

    Its other parameters stay as they are; `stage=True` adds `--force`, `--dry-run` and `--refresh`;
    `divided=True` lets several ranks do it, as they may every stage; `run` is the run folder where none is
    named; `tables` says of flags which table `{command}` stands for, if not the command's own.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        hints = typing.get_type_hints(function, include_extras=True)
        own = [
            parameter.replace(annotation=hints[parameter.name])
            for parameter in list(inspect.signature(function).parameters.values())[1:]
        ]
        chosen = {flag: _FLAGS[flag] for flag in flags}

        def wrapper(**values: Any) -> None:
            given = {flag: values.pop(_identifier(flag)) for flag in chosen}
            arguments = {parameter.name: values.pop(parameter.name) for parameter in own}
            recipe_flags = {
                target.format(command=(tables or {}).get(flag, name)): value
                for flag, value in given.items()
                if value is not None and value is not False
                for target in _FLAGS[flag].targets
            }
            given_to: dict[str, Any] = {
                "flags": recipe_flags,
                "environment": os.environ,
                "is_divided": stage or divided,
            }
            call = Call(command=name, **given_to, **values)
            call.invoke(function, arguments)

        if stage:
            with_stages.add(name)
        contract = _STAGE if stage else _SHARED
        parameters = [
            *own,
            *(_parameter(_identifier(flag), _annotation(flag, f)) for flag, f in chosen.items()),
        ]
        parameters += [_parameter(option, annotation, Path(run)) for option, annotation in contract.items()]
        wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        wrapper.__doc__ = function.__doc__
        app.command(name, rich_help_panel=panel, no_args_is_help=False)(wrapper)
        return function

    return register


def _identifier(flag: str) -> str:
    return flag.replace("-", "_")


def _annotation(name: str, flag: Flag) -> Any:
    if flag.type is bool:
        return Annotated[bool, typer.Option(f"--{name}", help=flag.shown)]
    option = typer.Option(f"--{name}", help=flag.shown, metavar=flag.metavar)
    return Annotated[flag.type | None, option]


def _parameter(name: str, annotation: Any, run: Path | None = None) -> inspect.Parameter:
    """An option that is off, not given, or (`--run`) the folder `run` unless the user says otherwise."""
    default = run if name == "run" else False if typing.get_args(annotation)[0] is bool else None
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
