"""Commands and groups that are imported when they are used.

Each brings libraries with it: those that work on the backends three clients, which take a second to
import, the others an HTTP client. Typed Any where Typer's own copy of click is meant, which it does
not export.
"""

from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperGroup
from typer.models import CommandInfo

from ocelot_cli.console import guarded_streams

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


class LazyCommands(TyperGroup):
    """The commands of the application, and then its groups."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line, its usage errors and prompts guarded, too."""
        with guarded_streams():
            return super().main(*args, **kwargs)

    def list_commands(self, ctx: Any) -> list[str]:
        """All names, groups last."""
        del ctx
        return [*_COMMANDS, *_GROUPS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command or group of a name."""
        cmd_name = _ALIASES.get(cmd_name, cmd_name)
        if cmd_name in _COMMANDS:
            module, function = _COMMANDS[cmd_name]
            info = CommandInfo(cmd_name, callback=getattr(import_module(module), function))
            return typer.main.get_command_from_info(
                info, pretty_exceptions_short=True, rich_markup_mode=None
            )
        if cmd_name in _GROUPS:
            group = typer.main.get_command(import_module(_GROUPS[cmd_name]).app)
            group.name = cmd_name
            return group
        return super().get_command(ctx, cmd_name)
