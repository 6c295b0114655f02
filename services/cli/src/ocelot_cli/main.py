"""The `ocelot` command."""

import os
from importlib.metadata import version
from typing import Annotated

import typer

from ocelot_cli.commands import exporting, searching, sending
from ocelot_cli.console import guard_streams, out
from ocelot_cli.lazy import LazyGroups
from ocelot_cli.running import VERBOSE_VARIABLE

app = typer.Typer(
    name="ocelot",
    cls=LazyGroups,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Ocelot, a multi-tenant audit log: tenants, tokens, sending, searching.\n\n"
    "Settings come from the environment (.env.example lists them); a running `make dev` in this"
    " folder or above gives defaults. Exit status: 0 done, 1 failed, 2 wrong command line, 3 some"
    " lines came to nothing.",
)
app.command()(sending.send)
app.command(name="import")(sending.import_)
app.command()(searching.search)
app.command()(searching.stats)
app.command()(searching.get)
app.command()(exporting.export)


def _show_version(wanted: bool) -> None:
    if wanted:
        out.print(f"ocelot {version('ocelot-cli')}")
        raise typer.Exit


@app.callback()
def options(
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show the log, and tracebacks of errors.")
    ] = False,
    show_version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Options of every command."""
    del show_version
    if verbose:
        os.environ[VERBOSE_VARIABLE] = "1"


def main() -> None:
    """The entry point."""
    guard_streams()  # also for a traceback, which Python writes once the command line has ended
    app()
