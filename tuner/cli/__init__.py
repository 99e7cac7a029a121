"""The command `tuner`: what it can do, and how every mistake is told in one line.

Nothing but click is imported before a command is chosen, so that `tuner --help` answers at once.
Exit status: 0 done, 1 failed, 2 usage, 3 done but some trials failed, 130 interrupted.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

import click

COMMANDS = {
    "run": ("tuner.cli.search", "Run a search: train trials until the budget is spent."),
    "resume": ("tuner.cli.search", "Go on with a run, whatever ended it."),
    "study": (
        "tuner.cli.study",
        "Carry out a study: pilot, census, searches and confirmation.",
    ),
    "status": ("tuner.cli.runs", "Show how a run is going, or how it went."),
    "list": ("tuner.cli.runs", "List the runs of a folder, the newest last."),
    "export": ("tuner.cli.runs", "Write the trials of one or more runs as a table."),
    "tensorboard": ("tuner.cli.runs", "Show a run's curves in TensorBoard, on this machine only."),
    "compare": (
        "tuner.cli.compare",
        "Say how much tuning dynamic injection saves compared with periodic.",
    ),
    "simulate": (
        "tuner.cli.simulate",
        "Replay searches over recorded curves: what they cost until they reach a target.",
    ),
    "report": (
        "tuner.cli.report",
        "Make one HTML file from runs or trial tables: the answer, and all behind it.",
    ),
    "show": ("tuner.cli.explain", "Explain a search space, or what a run was and found."),
    "spaces": ("tuner.cli.explain", "List the search spaces that come with the product."),
    "data": ("tuner.cli.data", "Pack a data set and say what is in it."),
    "bench": ("tuner.cli.bench", "Measure how fast trials and searches run here."),
    "submit": (
        "tuner.cli.submit",
        "Hand a search to a server: it waits for its GPUs, trains, and is kept.",
    ),
    "jobs": (
        "tuner.cli.remote",
        "List your searches on a server, the newest first; or show one.",
    ),
    "logs": ("tuner.cli.remote", "Print what a search on a server writes."),
    "stop": ("tuner.cli.remote", "Stop a search on a server; it can be resumed."),
    "pause": (
        "tuner.cli.remote",
        "Let a search on a server free its GPUs until it is resumed.",
    ),
    "fetch": ("tuner.cli.remote", "Bring the record and the report of a search here, as a run."),
    "serve": (
        "tuner.cli.serve",
        "Take searches from users, queue them fairly, and show them on a page.",
    ),
    "user": ("tuner.cli.serve", "Manage who may use the service of this machine."),
    "doctor": ("tuner.cli.machine", "Check this machine, and say how to mend what is wrong."),
    "completion": (
        "tuner.cli.completion",
        "Print what makes a shell complete commands, options and names.",
    ),
}
"""Every command with the module that holds it and its one line of help."""

USAGE, FAILED, SOME_FAILED, INTERRUPTED = 2, 1, 3, 130


class Commands(click.Group):
    """The commands, each imported when it is called; and the one place where errors are told."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order in which a user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import and return a command."""
        if name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(COMMANDS[name][0]), f"{name}_command")
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; say what is meant if it is unknown."""
        if args[0] not in COMMANDS:
            from search_spaces.model import UserError, did_you_mean

            raise UserError(did_you_mean("command", args[0], COMMANDS))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        """Run the command line and leave with its exit status."""
        arguments = list(sys.argv[1:] if args is None else args)
        if "_TUNER_COMPLETE" in os.environ:  # a shell asks; see tuner/cli/completing.py
            from tuner.cli.completing import register

            register()
        extra = {**extra, "standalone_mode": False, "obj": ["tuner", *arguments]}
        try:
            status = super().main(arguments, "tuner", **extra)
        except Exception as error:
            status = _told(error, arguments)
        sys.exit(status if isinstance(status, int) else 0)


def _told(error: Exception, arguments: list[str]) -> int:
    """Tell an error in one line on stderr, with the traceback if asked, and return the status."""
    from search_spaces.model import UserError

    if "--debug" in arguments:
        traceback.print_exception(error)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.ctx.get_help() if error.ctx else error.format_message())
        return USAGE
    if isinstance(error, click.Abort):
        click.echo("Interrupted.", err=True)
        return INTERRUPTED
    if isinstance(error, UserError):
        message, status = str(error), USAGE
    elif isinstance(error, click.ClickException):
        message, status = error.format_message(), error.exit_code
        if isinstance(error, click.UsageError) and error.ctx is not None:
            message = message.rstrip().replace("\n\t", " ")
            stop = "" if message.endswith((".", "?", ")")) else "."
            message += f"{stop} Try `{error.ctx.command_path} --help`."
    else:
        text = " ".join(str(error).split())
        message = f"Unexpected error: {type(error).__name__}: {text}; --debug shows the traceback."
        status = FAILED
    line = " ".join(message.splitlines()).encode("utf-8", "backslashreplace").decode()
    click.echo(line, err=True)
    return status


def _print_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        from importlib import metadata

        click.echo(f"tuner {metadata.version('tuner')}")
        ctx.exit()


@click.command(cls=Commands, context_settings={"max_content_width": 80})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version,
    help="Print the version.",
)  # fmt: skip
def cli() -> None:
    """Measure how much tuning dynamic injection saves compared with periodic.

    Start with `tuner run`: it needs no data, and takes some minutes on two CPU cores.
    """


def main() -> NoReturn:
    """Run the command line: the entry point of the installed script `tuner`."""
    cli.main()
