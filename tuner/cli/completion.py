"""`tuner completion`: what makes a shell ask `tuner` how a line may go on."""

from __future__ import annotations

import click

from tuner.cli.completing import CLASSES, VARIABLE
from tuner.cli.options import Command


@click.command("completion", cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> int:
    """Print what makes a shell complete commands, options and names.

    Put into ~/.bashrc: eval "$(tuner completion bash)". Into ~/.zshrc, after compinit: eval
    "$(tuner completion zsh)". Into ~/.config/fish/config.fish: tuner completion fish | source
    """
    from tuner.cli import cli

    click.echo(CLASSES[shell](cli, {}, "tuner", VARIABLE).source())
    return 0
