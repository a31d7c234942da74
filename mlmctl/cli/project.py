"""Commands about the whole project: run, recipe list/show/check, demo, export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options
from .app import app
from .call import Call
from .gate import FailUnder, Markdown, MaxDrop, gate
from .stages import Corpus, show

if TYPE_CHECKING:
    from ..pipeline import Node

_PANEL = "Project"
recipes = typer.Typer(no_args_is_help=True, help="Recipes: list, show, check.")
app.add_typer(recipes, name="recipe", rich_help_panel=_PANEL)

Name = Annotated[str | None, typer.Argument(metavar="[FILE|NAME]", help="A recipe file or name.")]


_EPOCHS = {"epochs": "pretrain"}


@options.command(app, "run", panel=_PANEL, flags=(*options.PRETRAIN, "baseline"), stage=True, tables=_EPOCHS)
def run(
    call: Call,
    corpus: Corpus = None,
    fail_under: FailUnder = None,
    max_drop: MaxDrop = None,
    markdown: Markdown = None,
) -> None:
    """All five stages of a recipe; what is fresh is skipped."""
    from ..pipeline import evaluate_node, finetune_node, measured, pretrain_nodes

    recipe, asked = call.adopted(), gate(call, fail_under, max_drop, markdown)
    evaluation = measured(call.run, recipe, call.resolved.origins)

    def nodes(cache: Any) -> list[Node]:
        emit = call.console.emit
        made = [
            *pretrain_nodes(call.run, recipe, "pretrain", corpus or [], cache, emit, not call.dry_run),
            finetune_node(call.run, recipe.finetune, cache, emit, not call.dry_run),
            evaluate_node(call.run, evaluation, cache, emit, not call.dry_run),
        ]
        asked.check_target(call.run / made[-1].name)
        return made

    show(call, call.execute(nodes), asked, markdown)


@options.command(recipes, "list", panel=_PANEL)
def list_recipes(call: Call) -> None:
    """The recipes that come with mlmctl."""
    from .. import recipe

    rows = [(name, recipe.summary(recipe.find(name))) for name in recipe.names()]
    if not call.json:
        call.console.table(("recipe", "for"), rows)
    call.done({"recipes": [{"name": name, "summary": summary} for name, summary in rows]})


@options.command(recipes, "show", panel=_PANEL, flags=options.PRETRAIN, tables=_EPOCHS)
def show_recipe(
    call: Call,
    name: Name = None,
    resolved: Annotated[bool, typer.Option("--resolved", help="Every value and where it came from.")] = False,
) -> None:
    """A recipe as a file, or with --resolved every value and its origin."""
    from .. import recipe

    call.recipe = name or call.recipe
    found = call.resolved
    if not resolved and call.recipe and not call.json:
        for line in recipe.find(call.recipe).read_text(encoding="utf-8").splitlines():
            call.console.line(line)
        return
    values = recipe.flatten(found)
    if not call.json:
        call.console.table(("key", "value", "from"), [(k, repr(v), origin) for k, v, origin in values])
    call.done({"values": [{"key": k, "value": v, "origin": origin} for k, v, origin in values]})


@options.command(recipes, "check", panel=_PANEL)
def check(call: Call, name: Name = None) -> None:
    """Read a recipe strictly and say what is wrong with it."""
    call.recipe = name or call.recipe
    _ = call.resolved
    if not call.json:
        call.console.line(f"{call.recipe or 'defaults'}: no fault found")
    call.done({"recipe": call.recipe})


@options.command(app, "demo", panel=_PANEL, flags=("threads", "device"), run="demo")
def demo(call: Call) -> None:
    """See it work in a few minutes: an invented world, pretrained against from scratch."""
    from ..commands import demo

    result = demo.run(call.run, call.resolved.recipe.runtime, call.console.emit)
    if not call.json:
        call.console.table(("labels", "pretrained", "from scratch"), demo.rows(result))
        call.console.line("")
        for sentence in demo.explanation(result):
            call.console.line(sentence)
    call.done(result)


@options.command(app, "export", panel=_PANEL, flags=("threads", "device"))
def export(
    call: Call,
    output: Annotated[
        Path, typer.Option("--output", metavar="DIR", help="The folder to make, outside of the run folder.")
    ],
    model: Annotated[
        str, typer.Option("--model", metavar="NAME", help="pretrain, or the name of a fine-tuned model.")
    ] = "pretrain",
    onnx: Annotated[
        bool, typer.Option("--onnx", help="Also one ONNX file, compared with the model.")
    ] = False,
    with_examples: Annotated[
        bool, typer.Option("--with-examples", help="Let the card show text of the data.")
    ] = False,
    license: Annotated[
        str | None, typer.Option("--license", metavar="NAME", help="The hub's name of one, e.g. apache-2.0.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace another export that is there.")] = False,
) -> None:
    """A model of the run as a folder to publish: for stock transformers, with a card."""
    from ..commands import export

    asked = export.Options(with_examples, onnx, license)
    config = call.resolved.recipe.runtime
    made = export.run(call.run, model, output, asked, config, force, call.console.emit)
    found = made.to_json()
    if not call.json:
        call.console.facts(export.facts(made))
    call.done({"run": str(call.run), **found})
