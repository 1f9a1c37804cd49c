"""The command line: `sartor --help`."""

from __future__ import annotations

import warnings
from typing import Annotated

import typer

from sartor.cli._face import Face
from sartor.cli.adapt import adapt
from sartor.cli.batch import batch
from sartor.cli.bench import bench
from sartor.cli.check import check
from sartor.cli.cite import cite
from sartor.cli.data import app as data
from sartor.cli.decide import decide
from sartor.cli.demo import demo
from sartor.cli.draw import app as draw
from sartor.cli.evaluate import evaluate
from sartor.cli.federate import federate
from sartor.cli.fit import fit
from sartor.cli.keys import app as keys
from sartor.cli.leaderboard import leaderboard
from sartor.cli.mcp import mcp
from sartor.cli.memory import app as memory
from sartor.cli.profile import app as profile
from sartor.cli.recognize import app as recognize
from sartor.cli.recommend import recommend
from sartor.cli.search import search
from sartor.cli.serve import serve
from sartor.cli.systems import systems
from sartor.cli.writers import writers

__all__ = ["app", "main"]

app = typer.Typer(
    name="sartor",
    cls=Face,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Errors are one sentence; add --debug anywhere for the whole story.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from sartor import __version__

        typer.echo(f"sartor {__version__}")
        raise typer.Exit


@app.callback()
def root(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False) -> None:
    """Learn what everyone shares once, and a small state per person; measure by how much it fits each person."""


app.command("demo", rich_help_panel="Start here")(demo)
app.command("fit", rich_help_panel="Work")(fit)
app.command("adapt", rich_help_panel="Work")(adapt)
app.command("recommend", rich_help_panel="Work")(recommend)
app.command("search", rich_help_panel="Work")(search)
app.command("decide", rich_help_panel="Work")(decide)
app.command("evaluate", rich_help_panel="Measure")(evaluate)
app.command("federate", rich_help_panel="Measure")(federate)
app.command("check", rich_help_panel="Measure")(check)
app.command("bench", rich_help_panel="Measure")(bench)
app.command("leaderboard", rich_help_panel="Measure")(leaderboard)
app.command("writers", rich_help_panel="Measure")(writers)
app.command("systems", rich_help_panel="Look up")(systems)
app.command("cite", rich_help_panel="Look up")(cite)
app.add_typer(data, name="data", rich_help_panel="Work")
app.add_typer(draw, name="draw", rich_help_panel="Work")
app.add_typer(recognize, name="recognize", rich_help_panel="Work")
app.command("serve", rich_help_panel="Serve")(serve)
app.command("mcp", rich_help_panel="Serve")(mcp)
app.add_typer(profile, name="profile", rich_help_panel="Serve")
app.add_typer(memory, name="memory", rich_help_panel="Serve")
app.add_typer(keys, name="keys", rich_help_panel="Serve")
app.command("batch", rich_help_panel="Serve")(batch)


def main() -> None:
    """The entry point of the `sartor` command."""
    # What they say is among the notes of every result; the place in our code says nothing to who runs a command.
    warnings.filterwarnings("ignore", category=UserWarning, module="sartor")
    app(prog_name="sartor")
