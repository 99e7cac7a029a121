"""What several commands share: options, and how a run is named on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from search_spaces.model import UserError, did_you_mean
from trainables.data.cache import default_cache

FuncT = TypeVar("FuncT", bound=Callable[..., Any])


class Command(click.Command):
    """A command that also takes --debug, wherever it stands; `Commands.main` looks for it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        text = "Show the traceback of an error."
        self.params.append(click.Option(["--debug"], is_flag=True, expose_value=False, help=text))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line; of a word too many, say which option might want it."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            takes_space = any("--space" in one.opts for one in self.params)
            if not takes_space or not error.message.startswith("Got unexpected extra argument"):
                raise
            hint = "a space follows --space, and a study's file `tuner study`."
            raise click.UsageError(f"{error.message}; {hint}", ctx) from error


def runs_option(function: FuncT) -> FuncT:
    """Add --runs."""
    return click.option(
        "--runs", type=click.Path(path_type=Path), default=Path("runs"), show_default=True,
        metavar="DIR", help="Folder of all runs.",
    )(function)  # fmt: skip


def cache_option(function: FuncT) -> FuncT:
    """Add --cache."""
    return click.option(
        "--cache", type=click.Path(path_type=Path), default=default_cache, metavar="DIR",
        help="Folder of packed data sets. Default: ~/.cache/tuner.",
    )(function)  # fmt: skip


def format_option(*formats: str) -> Callable[[FuncT], FuncT]:
    """Add --format with these formats; the first is the default."""
    return click.option(
        "--format", "format_", type=click.Choice(formats), default=formats[0], show_default=True,
        help="How to print.",
    )  # fmt: skip


def known_runs(*folders: Path) -> list[Path]:
    """Return the folders of all runs in these, the oldest first."""
    from tuner.record_file import FILE

    found = [path.parent for folder in folders for path in folder.glob(f"*/{FILE}")]
    return sorted(found, key=lambda path: (path.stat().st_mtime, path.name))


def find_run(runs: Path, name: str) -> Path:
    """Return the folder of a run, named under `runs` or given as a path.

    Raises
    ------
    UserError
        If there is none.
    """
    from tuner.record_file import FILE

    for folder in (runs / name, Path(name)):
        if (folder / FILE).is_file():
            return folder.resolve()
    known = [folder.name for folder in known_runs(runs)]
    if not known:
        raise UserError(f"Unknown run {name!r}: {runs} holds no run. Start one with `tuner run`.")
    raise UserError(did_you_mean("run", name, known))
