"""The `ocelot` command."""

import os
from typing import Annotated

import typer

from ocelot_cli.console import complain, guard_streams, out
from ocelot_cli.environment import VERBOSE_VARIABLE
from ocelot_cli.lazy import LazyCommands
from ocelot_common.renamed_settings import renamed_settings

app = typer.Typer(
    name="ocelot",
    cls=LazyCommands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Ocelot, a multi-tenant audit log: tenants, tokens, sending, searching.\n\n"
    "Settings come from the environment (.env.example lists them); a running `make dev` in this"
    " folder or above gives defaults. Exit status: 0 done, 1 failed, 2 wrong command line, 3 some"
    " lines came to nothing.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 - it takes long to import

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
    if renamed := renamed_settings(os.environ):
        for fault in renamed:
            complain(fault)
        raise typer.Exit(2)
    if verbose:
        os.environ[VERBOSE_VARIABLE] = "1"


def main() -> None:
    """The entry point."""
    guard_streams()  # also for a traceback, which Python writes once the command line has ended
    app()
