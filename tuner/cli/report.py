"""`tuner report`: runs as one HTML file, or as figures and tables for a paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tuner.cli.options import Command, runs_option
from tuner.cli.sources import asked, comparison_options, opened
from tuner.whole_file import write_whole

DEFAULT_OUTPUT = {
    "html": "report.html",
    "markdown": "report.md",
    "latex": "report.tex",
    "pdf": "figures",
}


@click.command("report", cls=Command)
@click.argument("names", metavar="SOURCE...", nargs=-1, required=True)
@click.option("-o", "--output", metavar="FILE", type=click.Path(path_type=Path),
              help="File to write; a folder for pdf. Default: report.html, report.md, report.tex"
              " or figures.")  # fmt: skip
@click.option("--format", "format_", type=click.Choice(list(DEFAULT_OUTPUT)), default="html",
              show_default=True, help="html is the whole report, markdown and latex hold its"
              " tables and captions, pdf is a folder with its figures.")  # fmt: skip
@click.option("--figures", metavar="DIR", type=click.Path(path_type=Path),
              help="Also write every figure as SVG and its data as CSV.")  # fmt: skip
@comparison_options
@runs_option
def report_command(
    names: tuple[str, ...],
    output: Path | None,
    format_: str,
    figures: Path | None,
    runs: Path,
    **flags: Any,
) -> int:
    """Make one HTML file from runs or trial tables: the answer, and all behind it.

    Each SOURCE is the name of a run under --runs, a folder that is a run or holds some, a trial
    table (.csv, .parquet or .json), or a study, which stands alone and has itself fixed what is
    compared. With a periodic and a dynamic space the report opens with how much tuning dynamic
    saves; without, it says what is missing, and shows the rest. The file needs no network.
    """
    from reports.figures.runs import read_runs
    from reports.page import page
    from reports.paper import document, write_figures, write_pdf
    from reports.sections.contents import contents

    sources, trials = opened(runs, names)
    wanted = asked(sources, trials, runs, **flags)
    found = contents(
        read_runs(sources.folders), trials, wanted, sources.tables(trials), sources.study
    )
    chosen = output or Path(DEFAULT_OUTPUT[format_])
    if format_ == "pdf":
        written = write_pdf(found, chosen)
        click.echo(f"Wrote {len(written)} figures to {chosen}.", err=True)
    else:
        text = page(found) if format_ == "html" else document(found, format_, wanted.confidence)
        write_whole(chosen, text.encode())
        click.echo(f"Wrote {chosen} ({len(text.encode()) / 1e6:.1f} MB).", err=True)
    if figures is not None:
        written = write_figures(found, figures)
        click.echo(f"Wrote {len(written)} files to {figures}.", err=True)
    click.echo(found.verdict.sentence)
    return 0
