"""`tuner compare`: how much tuning dynamic injection saves, from runs, trial tables or a study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from search_spaces.model import UserError
from tuner.cli.options import Command, format_option, runs_option
from tuner.cli.sources import asked, comparison_options, opened


@click.command("compare", cls=Command)
@click.argument("names", metavar="SOURCE...", nargs=-1, required=True)
@comparison_options
@runs_option
@format_option("table", "json", "markdown", "latex")
def compare_command(names: tuple[str, ...], runs: Path, format_: str, **flags: Any) -> int:
    """Say how much tuning dynamic injection saves compared with periodic.

    Each SOURCE is a trial table (.csv, .parquet or .json, as `tuner export` writes them, or
    made by another tool), the name of a run under --runs, or a folder that is a run or holds some.
    Where there are several periodic spaces, or dynamic ones, --periodic and --dynamic say which are
    compared. A study stands alone, and has itself
    fixed what is compared, the target, the margin and the confidence.

    Without a target, that is the median of the dynamic space's pilot trials or, if there are none,
    of the dynamic trials themselves; the intervals then allow for that.
    """
    from reports.answer import compare
    from reports.format import formatted
    from reports.sections.verdict import opened as with_first_words
    from reports.sections.verdict import side_spaces
    from reports.study import alarms, opening

    found, trials = opened(runs, names)
    wanted = asked(found, trials, runs, **flags)
    spaces, missing = side_spaces(trials, wanted)
    if missing:
        raise UserError(missing[0])
    answer = compare(
        trials,
        periodic=spaces["periodic"],
        dynamic=spaces["dynamic"],
        target=wanted.target,
        target_from=wanted.target_from,
        target_source=wanted.target_source,
        margin=wanted.margin,
        confidence=wanted.confidence,
    )
    if found.study is not None:
        first = alarms(found.study, found.rows(), wanted)
        answer = with_first_words(answer, opening(found.study, wanted), first)
    click.echo(formatted(answer, format_, wanted.confidence), nl=False)
    return 0
