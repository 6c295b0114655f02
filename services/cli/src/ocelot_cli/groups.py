"""What the groups and their commands have in common."""

from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]


def command_group(help_text: str, *, example: str) -> typer.Typer:
    """Return a group without commands: completion is installed by `ocelot` alone."""
    return typer.Typer(
        no_args_is_help=True,
        rich_markup_mode=None,
        add_completion=False,
        help=f"{help_text}\n\nExample: {example}",
    )
