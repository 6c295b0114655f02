"""Command groups that are imported when they are used.

Those that work on the backends bring three client libraries with them, which take over a second to
import; `ocelot send` and `ocelot search` need none of them. Typed Any where Typer's own copy of
click is meant, which it does not export.
"""

from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperGroup

from ocelot_cli.console import guarded_streams

_GROUPS: Final = {
    "tenants": "ocelot_cli.commands.tenants",
    "token": "ocelot_cli.commands.tokens",
    "queue-keys": "ocelot_cli.commands.queue_keys",
    "dead-letters": "ocelot_cli.commands.dead_letters",
    "jobs": "ocelot_cli.commands.jobs",
    "holds": "ocelot_cli.commands.holds",
}


class LazyGroups(TyperGroup):
    """The commands of the application, and groups that are modules with an `app`."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line, its usage errors and prompts guarded, too."""
        with guarded_streams():
            return super().main(*args, **kwargs)

    def list_commands(self, ctx: Any) -> list[str]:
        """All names, groups last."""
        return [*super().list_commands(ctx), *_GROUPS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command or group of a name."""
        module = _GROUPS.get(cmd_name)
        if module is None:
            return super().get_command(ctx, cmd_name)
        group = typer.main.get_command(import_module(module).app)
        group.name = cmd_name
        return group
