"""What `tuner report` and `tuner compare` share: their sources, and what is asked of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from search_spaces.model import UserError, did_you_mean
from tuner.cli.options import FuncT, find_run, known_runs

if TYPE_CHECKING:
    from reports.sections.verdict import Asked
    from reports.sources import Sources
    from reports.table import Trials


def share(_: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    """Refuse a NaN too, which no range does."""
    if value is not None and not 0 < value < 1:
        raise UserError(f"{parameter.opts[0]} must be greater than 0 and less than 1, got {value}.")
    return value


def comparison_options(function: FuncT) -> FuncT:
    """Add what decides a comparison; a study has decided all but the sides."""
    for option in reversed(
        (
            click.option("--periodic", metavar="SPACE",
                         help="Space of the periodic side, where there are several."),
            click.option("--dynamic", metavar="SPACE",
                         help="Space of the dynamic side, where there are several."),
            click.option("--target", type=float, metavar="Y", callback=share,
                         help="Validation score that counts as a match, fixed beforehand."),
            click.option("--target-from", metavar="PILOT",
                         help="Take the target from another table or run: its median."),
            click.option("--margin", type=float, metavar="D", callback=share,
                         help="How much worse on test is not worse, fixed beforehand."),
            click.option("--confidence", type=float, callback=share, metavar="C",
                         help="Of every interval, two-sided. Default: 0.95, or the study's."),
        )
    ):  # fmt: skip
        function = option(function)
    return function


def opened(runs: Path, names: Sequence[str]) -> tuple[Sources, Trials]:
    """Return what the names on the command line stand for, and its trials.

    Raises
    ------
    UserError
        If a name stands for nothing, or what it stands for cannot be read.
    """
    from reports.sources import sources

    found = sources([_found(runs, name) for name in names])
    return found, found.trials()


def asked(
    found: Sources,
    trials: Trials,
    runs: Path,
    *,
    target: float | None,
    target_from: str | None,
    confidence: float | None,
    **sides_and_margin: Any,
) -> Asked:
    """Return what is to be compared, as the flags or a study's frozen file say.

    Raises
    ------
    UserError
        If flags contradict one another, the data, or the study.
    """
    from reports.sections.verdict import Asked
    from reports.sources import sources
    from reports.study import settled
    from reports.target import check_target

    if target is not None and target_from is not None:
        raise UserError("Give --target or --target-from, not both.")
    pilot = None if target_from is None else sources([_found(runs, target_from)]).trials()
    if found.study is not None:
        return settled(
            found.study, trials, target=target, target_from=pilot, confidence=confidence,
            **sides_and_margin,
        )  # fmt: skip
    if target is not None:
        check_target(trials, target)
    return Asked(
        target=target, target_from=pilot, confidence=confidence or 0.95, **sides_and_margin
    )


def _found(runs: Path, name: str) -> Path:
    """Return a run or study by name, or any path that exists or is named like a table.

    Raises
    ------
    UserError
        If there is none.
    """
    from reports.sources import TABLES
    from tuner.study.spec import FILE

    path = Path(name)
    if (runs / name).is_dir():
        return runs / name
    if path.exists() or path.suffix in TABLES:
        return path
    studies = sorted(one.parent.name for one in runs.glob(f"*/{FILE}"))
    if studies:
        known = [*(one.name for one in known_runs(runs)), *studies]
        raise UserError(did_you_mean("run or study", name, known))
    return find_run(runs, name)
