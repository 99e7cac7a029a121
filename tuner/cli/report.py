"""`tuner report`: runs as one HTML file, or as figures and tables for a paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from search_spaces.model import UserError
from tuner.cli.options import Command, runs_option
from tuner.cli.remote import is_remote, or_on_server, report_of, server_options
from tuner.cli.sources import asked, comparison_options, opened
from tuner.whole_file import check_place, write_whole

DEFAULT_OUTPUT = {
    "html": "report.html",
    "markdown": "report.md",
    "latex": "report.tex",
    "pdf": "figures",
}
ENDINGS = {
    ".html": "html",
    ".htm": "html",
    ".md": "markdown",
    ".tex": "latex",
    ".pdf": "pdf",
}


@click.command("report", cls=Command)
@click.argument("names", metavar="SOURCE...", nargs=-1, required=True)
@click.option("-o", "--output", metavar="FILE", type=click.Path(path_type=Path),
              help="File to write; a folder for pdf. Default: report.html, report.md, report.tex"
              " or figures.")  # fmt: skip
@click.option("--format", "format_", type=click.Choice(list(DEFAULT_OUTPUT)),
              help="html is the whole report, markdown and latex hold its tables and captions, pdf"
              " is a folder with its figures. Default: by the file's ending, or html.")  # fmt: skip
@click.option("--figures", metavar="DIR", type=click.Path(path_type=Path),
              help="Also write every figure as SVG and its data as CSV.")  # fmt: skip
@comparison_options
@runs_option
@server_options
def report_command(
    names: tuple[str, ...],
    output: Path | None,
    format_: str | None,
    figures: Path | None,
    runs: Path,
    server: str | None,
    token_file: Path | None,
    **flags: Any,
) -> int:
    """Make one HTML file from runs or trial tables: the answer, and all behind it.

    Each SOURCE is the name of a run under --runs, a folder that is a run or holds some, a trial
    table (.csv, .parquet or .json), or a study, which stands alone and has itself fixed what is
    compared. With a periodic and a dynamic space the report opens with how much tuning dynamic
    saves; without, it says what is missing, and shows the rest. The file needs no network.

    SERVER:JOB, or :JOB, takes the report of a job on a server, or one of several jobs there, as
    the server makes it; all else needs `tuner fetch` first.
    """
    format_ = _format(output, format_)
    chosen = output or Path(DEFAULT_OUTPUT[format_])
    if format_ != "pdf":
        check_place(chosen)
    there = [name for name in names if is_remote(name, runs, server)]
    if there:
        others = [name for name in names if name not in there]
        asked_for = [f"--{name.replace('_', '-')}" for name, value in flags.items() if value]
        refused = [*others, *asked_for, *(["--figures"] if figures else [])]
        if format_ != "html":
            refused.append(f"--format {format_}")
        if refused:
            raise UserError(
                f"A server's report takes no {refused[0]}: bring its jobs here with `tuner fetch"
                f" {there[0]}`, and report on them."
            )
        _write(chosen, report_of(there, server, token_file))
        return 0
    from reports.figures.runs import read_runs
    from reports.page import page
    from reports.paper import document, write_figures, write_pdf
    from reports.sections.contents import contents

    try:
        sources, trials = opened(runs, names)
    except UserError as error:
        raise or_on_server(error, "report", names[0]) if len(names) == 1 else error from error
    wanted = asked(sources, trials, runs, **flags)
    found = contents(
        read_runs(sources.folders), trials, wanted, sources.tables(trials), sources.study
    )
    if format_ == "pdf":
        written = write_pdf(found, chosen)
        click.echo(f"Wrote {len(written)} figures to {chosen}.", err=True)
    else:
        text = page(found) if format_ == "html" else document(found, format_, wanted.confidence)
        _write(chosen, text.encode())
    if figures is not None:
        written = write_figures(found, figures)
        click.echo(f"Wrote {len(written)} files to {figures}.", err=True)
    click.echo(found.verdict.sentence)
    return 0


def _format(output: Path | None, format_: str | None) -> str:
    """Return the format that is meant, which a file's ending must not belie.

    Raises
    ------
    UserError
        If it does.
    """
    ending = "" if output is None else output.suffix
    of_ending = ENDINGS.get(ending.lower())
    if output is not None and format_ == of_ending == "pdf":
        raise UserError(
            f"--format pdf writes a folder of PDFs, one a figure, but got {output}: name a folder,"
            f" such as {output.with_suffix('')}."
        )
    if not ending or (format_ is not None and of_ending in (None, format_)):
        return format_ or "html"
    if format_ is not None:
        raise UserError(f"--format {format_} writes no {ending}, but got {output}; leave one out.")
    if of_ending is None:
        raise UserError(
            f"A report ends in .html, .md or .tex, but got {output}: rename it, or name the format"
            " with --format."
        )
    if of_ending == "pdf":
        raise UserError(
            f"{output} would be one PDF, but a report's figures are many: name a folder, with"
            " --format pdf, or a file that ends in .html."
        )
    return of_ending


def _write(file: Path, content: bytes) -> None:
    write_whole(file, content)
    click.echo(f"Wrote {file} ({len(content) / 1e6:.1f} MB).", err=True)
