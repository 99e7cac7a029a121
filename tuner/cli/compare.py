"""`tuner compare`: how much tuning dynamic injection saves, from runs and trial tables."""

from __future__ import annotations

from pathlib import Path

import click

from search_spaces.model import UserError
from tuner.cli.options import Command, find_run, format_option, runs_option


def _share(_: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    """Refuse a NaN too, which no range does."""
    if value is not None and not 0 < value < 1:
        raise UserError(f"{parameter.opts[0]} must be greater than 0 and less than 1, got {value}.")
    return value


@click.command("compare", cls=Command)
@click.argument("tables", metavar="TABLE_OR_RUN...", nargs=-1, required=True)
@click.option("--periodic", metavar="SPACE", required=True, help="Space of the periodic trials.")
@click.option("--dynamic", metavar="SPACE", required=True, help="Space of the dynamic trials.")
@click.option("--target", type=float, metavar="Y", callback=_share,
              help="Validation score that counts as a match, fixed beforehand.")  # fmt: skip
@click.option("--target-from", metavar="PILOT",
              help="Take the target from another table or run: its median.")  # fmt: skip
@click.option("--margin", type=float, metavar="D", callback=_share,
              help="How much worse on test is not worse, fixed beforehand.")  # fmt: skip
@click.option("--confidence", type=float, default=0.95, show_default=True, callback=_share,
              metavar="C", help="Of every interval, two-sided.")  # fmt: skip
@runs_option
@format_option("table", "json", "markdown", "latex")
def compare_command(
    tables: tuple[str, ...],
    periodic: str,
    dynamic: str,
    target: float | None,
    target_from: str | None,
    margin: float | None,
    confidence: float,
    runs: Path,
    format_: str,
) -> int:
    """Say how much tuning dynamic injection saves compared with periodic.

    Each TABLE_OR_RUN is a trial table (.csv, .parquet or .json, as `tuner export` writes them, or
    made by another tool), a run's folder, or the name of a run under --runs.

    Without a target, that is the median of the dynamic space's pilot trials or, if there are none,
    of the dynamic trials themselves; the intervals then allow for that.
    """
    from reports.answer import compare
    from reports.format import formatted
    from reports.table import read_trials
    from reports.target import check_target

    if target is not None and target_from is not None:
        raise UserError("Give --target or --target-from, not both.")
    trials = read_trials(_found(runs, name) for name in tables)
    if target is not None:
        check_target(trials, target)
    answer = compare(
        trials,
        periodic=periodic,
        dynamic=dynamic,
        target=target,
        target_from=None if target_from is None else read_trials([_found(runs, target_from)]),
        margin=margin,
        confidence=confidence,
    )
    click.echo(formatted(answer, format_, confidence), nl=False)
    return 0


def _found(runs: Path, name: str) -> Path:
    """Return a table's path, or a run's folder.

    Raises
    ------
    UserError
        If there is neither.
    """
    path = Path(name)
    if path.is_file() or path.suffix in (".csv", ".parquet", ".json"):
        return path
    return find_run(runs, name)
