"""`tuner report`: runs as one HTML file, or as figures and tables for a paper."""

from __future__ import annotations

from pathlib import Path

import click

from search_spaces.model import UserError
from tuner.cli.options import Command, find_run, runs_option

DEFAULT_OUTPUT = {
    "html": "report.html",
    "markdown": "report.md",
    "latex": "report.tex",
    "pdf": "figures",
}


def _share(_: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    """Refuse a NaN too, which no range does."""
    if value is not None and not 0 < value < 1:
        raise UserError(f"{parameter.opts[0]} must be greater than 0 and less than 1, got {value}.")
    return value


@click.command("report", cls=Command)
@click.argument("sources", metavar="RUN_OR_STUDY...", nargs=-1, required=True)
@click.option("-o", "--output", metavar="FILE", type=click.Path(path_type=Path),
              help="File to write; a folder for pdf. Default: report.html, report.md, report.tex"
              " or figures.")  # fmt: skip
@click.option("--format", "format_", type=click.Choice(list(DEFAULT_OUTPUT)), default="html",
              show_default=True, help="html is the whole report, markdown and latex hold its"
              " tables and captions, pdf is a folder with its figures.")  # fmt: skip
@click.option("--figures", metavar="DIR", type=click.Path(path_type=Path),
              help="Also write every figure as SVG and its data as CSV.")  # fmt: skip
@click.option("--periodic", metavar="SPACE", help="Periodic side, where there are several.")
@click.option("--dynamic", metavar="SPACE", help="Dynamic side, where there are several.")
@click.option("--target", type=float, metavar="Y", callback=_share,
              help="Validation score that counts as a match, fixed beforehand.")  # fmt: skip
@click.option("--target-from", metavar="PILOT",
              help="Take the target from another table or run: its median.")  # fmt: skip
@click.option("--margin", type=float, metavar="D", callback=_share,
              help="How much worse on test is not worse, fixed beforehand.")  # fmt: skip
@click.option("--confidence", type=float, default=0.95, show_default=True, callback=_share,
              metavar="C", help="Of the comparison's intervals, two-sided.")  # fmt: skip
@runs_option
def report_command(
    sources: tuple[str, ...],
    output: Path | None,
    format_: str,
    figures: Path | None,
    periodic: str | None,
    dynamic: str | None,
    target: float | None,
    target_from: str | None,
    margin: float | None,
    confidence: float,
    runs: Path,
) -> int:
    """Make one HTML file from runs: the answer, and all behind it.

    RUN_OR_STUDY is a run by its name under --runs, or a folder that is one or holds some. With a
    run of a periodic and one of a dynamic space the report opens with how much tuning dynamic
    saves; without, it says what is missing, and shows the rest. The file needs no network.
    """
    from reports.figures.runs import read_runs, run_folders
    from reports.page import page
    from reports.paper import document, write_figures, write_pdf
    from reports.sections.contents import contents
    from reports.sections.verdict import Asked
    from reports.table import COLUMN_NAMES, Trials, read_trials
    from reports.target import check_target

    if target is not None and target_from is not None:
        raise UserError("Give --target or --target-from, not both.")
    folders = run_folders([_found(runs, source) for source in sources])
    pilot = None if target_from is None else read_trials([_found(runs, target_from)])
    asked = Asked(periodic, dynamic, target, pilot, margin, confidence)
    records = read_runs(folders)
    begun = any(run.trials for run in records)
    trials = read_trials(folders) if begun else Trials(*([] for _ in COLUMN_NAMES))
    if target is not None:
        check_target(trials, target)
    found = contents(records, trials, asked)
    chosen = output or Path(DEFAULT_OUTPUT[format_])
    if format_ == "pdf":
        written = write_pdf(found, chosen)
        click.echo(f"Wrote {len(written)} figures to {chosen}.", err=True)
    else:
        text = page(found) if format_ == "html" else document(found, format_, confidence)
        _write(chosen, text)
        click.echo(f"Wrote {chosen} ({len(text.encode()) / 1e6:.1f} MB).", err=True)
    if figures is not None:
        written = write_figures(found, figures)
        click.echo(f"Wrote {len(written)} files to {figures}.", err=True)
    click.echo(found.verdict.sentence)
    return 0


def _found(runs: Path, source: str) -> Path:
    """Return a run by name, or any path that exists."""
    if Path(source).exists() and not (runs / source).exists():
        return Path(source)
    folder = runs / source
    return folder if folder.is_dir() else find_run(runs, source)


def _write(path: Path, text: str) -> None:
    """Write a file as a whole: never leave half a report under its name."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        unfinished.write_text(text, encoding="utf-8", newline="\n")
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise UserError(f"Cannot write {path}: {error.strerror}.") from error
