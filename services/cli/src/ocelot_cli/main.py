"""The `ocelot` command."""

import os
from typing import Annotated

import typer

from ocelot_cli.console import WRONG_USAGE, complain, guard_streams, out
from ocelot_cli.environment import VERBOSE_VARIABLE
from ocelot_cli.lazy import LazyCommands
from ocelot_common.renamed_settings import renamed_settings

app = typer.Typer(
    name="ocelot",
    cls=LazyCommands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Administer Ocelot, a multi-tenant audit log, and send, search and export its"
    " events.\n\nSettings come from the environment; .env.example lists them. If `make dev` runs"
    " in this folder or in one above it, its backends, api and tokens are the"
    " defaults.\n\n\b\nExit status:\n  0  The command succeeded.\n  1  The command failed.\n  2"
    "  The command line or a setting is wrong.\n  3  Some input lines were rejected, or some"
    " exported lines are unreadable.\n  4  The tenant, event, job or other object was not"
    " found.\n  5  The token or the credentials do not permit it.\n  6  The api, MongoDB or"
    " OpenSearch cannot be reached.\n  130  Ctrl-C interrupted the command.\n\nExample: ocelot"
    " tenants create acme",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 - it takes long to import

        out.print(f"ocelot {version('ocelot-audit-cli')}")
        raise typer.Exit


@app.callback()
def options(
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Print the log, and tracebacks of errors.")
    ] = False,
    show_version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Options of every command."""
    del show_version
    if renamed := renamed_settings(os.environ):
        for fault in renamed:
            complain(fault)
        raise typer.Exit(WRONG_USAGE)
    if verbose:
        os.environ[VERBOSE_VARIABLE] = "1"


def main() -> None:
    """The entry point."""
    guard_streams()  # also for a traceback, which Python writes once the command line has ended
    app()
