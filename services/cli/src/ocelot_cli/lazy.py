"""Commands and groups that are imported when they are used.

Each brings libraries with it: those that work on the backends three clients, which take a second to
import, the others an HTTP client. The help of the application therefore has its own summaries of
the commands, and imports none. Typed Any where Typer's own copy of click is meant, which it does
not export.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperGroup
from typer.models import CommandInfo

from ocelot_cli.console import guarded_streams

#: One line of help per command and group, short enough for 80 columns.
_SUMMARIES: Final = {
    "send": "Send events from NDJSON files, one JSON object per line.",
    "import": "Import audit logs of other systems with a mapping.",
    "search": "Find events.",
    "stats": "Count events over time or by value.",
    "get": "Print one event.",
    "export": "Write all matching events to a file and verify it.",
    "tenants": "Create, list, suspend and delete tenants.",
    "tokens": "Create signing keys and tokens.",
    "queue-keys": "Create, list and retire keys that sign queue messages.",
    "dead-letters": "List, retry, accept and discard dead letters.",
    "jobs": "List, show and cancel jobs, and rebuild search indices.",
    "holds": "Place, list and lift legal holds.",
}
#: The module and the function of each command, in the order of the help.
_COMMANDS: Final = {
    "send": ("ocelot_cli.commands.sending", "send"),
    "import": ("ocelot_cli.commands.sending", "import_"),
    "search": ("ocelot_cli.commands.searching", "search"),
    "stats": ("ocelot_cli.commands.searching", "stats"),
    "get": ("ocelot_cli.commands.searching", "get"),
    "export": ("ocelot_cli.commands.exporting", "export"),
}
#: The module of each group, which has it as `app`.
_GROUPS: Final = {
    "tenants": "ocelot_cli.commands.tenants",
    "tokens": "ocelot_cli.commands.tokens",
    "queue-keys": "ocelot_cli.commands.queue_keys",
    "dead-letters": "ocelot_cli.commands.dead_letters",
    "jobs": "ocelot_cli.commands.jobs",
    "holds": "ocelot_cli.commands.holds",
}
#: Old names of groups, which the help does not list. Removed in 0.2.
_ALIASES: Final = {"token": "tokens"}
#: Begins the last paragraph of every command's help.
_EXAMPLE: Final = "\n\nExample: "


class LazyCommands(TyperGroup):
    """The commands of the application, and then its groups."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line, its usage errors and prompts guarded, too."""
        _finish(self)
        with guarded_streams():
            return super().main(*args, **kwargs)

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Read the command line; `--help` prints here."""
        with _closed_pipe_is_no_error():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with _closed_pipe_is_no_error():
            return super().invoke(ctx)

    def list_commands(self, ctx: Any) -> list[str]:
        """All names, groups last."""
        del ctx
        return [*_COMMANDS, *_GROUPS]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write one line per command, without importing it."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _SUMMARIES[name]) for name in self.list_commands(ctx)])

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command or group of a name."""
        cmd_name = _ALIASES.get(cmd_name, cmd_name)
        if cmd_name in _COMMANDS:
            module, function = _COMMANDS[cmd_name]
            info = CommandInfo(cmd_name, callback=getattr(import_module(module), function))
            return _finish(
                typer.main.get_command_from_info(
                    info, pretty_exceptions_short=True, rich_markup_mode=None
                )
            )
        if cmd_name in _GROUPS:
            group = typer.main.get_command(import_module(_GROUPS[cmd_name]).app)
            group.name = cmd_name
            return _finish(group)
        return super().get_command(ctx, cmd_name)


def _finish(command: Any) -> Any:
    """Complete the help of a command, or of a group and its commands.

    Every option that takes a value names it: Typer would show Python's type, `<list[str]>`. The
    line of an example is not wrapped, so that it can be copied.
    """
    for parameter in command.params:
        if parameter.metavar is None and not getattr(parameter, "is_flag", False):
            kind = parameter.type_descriptor
            parameter.metavar = (
                f"[{'|'.join(each.value for each in kind.choices)}]"
                if kind.is_choice
                else parameter.name.rpartition("_")[2].upper()
            )
        if parameter.param_type_name == "argument":
            parameter.display_type_rich = _no_type
    if command.help:
        command.help = command.help.replace(_EXAMPLE, f"\n\n\b{_EXAMPLE[1:]}")
    for inner in getattr(command, "commands", {}).values():
        _finish(inner)
    return command


def _no_type(ctx: Any) -> None:
    """Show no type: an argument's name and help tell what it is."""
    del ctx


@contextmanager
def _closed_pipe_is_no_error() -> Iterator[None]:
    """End quietly, with status 0, when the reader of stdout has seen enough: `… | head`."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes stdout once more at its end, which would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit from None
