"""The report's tables and figures for a paper: Markdown, LaTeX, SVG, PDF and CSV.

The same contents as the page's, so that no number can differ between them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reports.figures.chart import Figure, Table, paper_pdf, paper_svg
from reports.format import formatted
from reports.markup import latex, latex_table, markdown, markdown_table
from reports.page import cell
from reports.sections import trials as trial_section
from reports.sections.contents import Contents
from reports.sections.paper_table import as_table
from search_spaces.model import UserError

MOST_ROWS = 60
"""Longer tables are no reading matter: a paper points to their CSV file."""


def all_figures(contents: Contents) -> Iterator[Figure]:
    """Yield every figure of a report, in the order of the page."""
    for section in contents.figures.values():
        yield from section
    for _, its in contents.by_run:
        yield from its


def document(contents: Contents, format: str, confidence: float) -> str:
    """Return the report's tables and figure captions as one document.

    Parameters
    ----------
    contents : Contents
    format : {"markdown", "latex"}
    confidence : float
        What the comparison was made with.

    Figures are referred to by the names of the files that `write_figures` and `write_pdf` write.
    """
    answer = contents.verdict.answer
    write = _markdown if format == "markdown" else _latex
    text = formatted(answer, format, confidence) if answer else write(contents.verdict.sentence)
    parts = [text.rstrip("\n"), "", write("Table 1 of the paper, for these arms", heading=True)]
    parts += ["", _table(as_table(contents.paper), format), ""]
    if not contents.paper.same_data:
        parts += [write("The paper's own figures are from another data set (AffectNet)."), ""]
    named = [("Confirmed on fresh seeds", contents.confirmed)]
    if contents.study is not None:
        named.append(("Stages of the study", contents.study.stages))
    if contents.policy is not None:
        named += [
            ("What a search costs, replayed", contents.policy.sides),
            ("Ratios of these costs (exploratory)", contents.policy.ratios),
            ("Real searches", contents.policy.searches),
        ]
    named += [(f"What early stopping cost in {one.run}", one.table) for one in contents.audits]
    named += [("Runs", contents.overview), ("Basin widths", contents.basins)]
    for name, table in named:
        if table.rows:
            parts += [write(name, heading=True), "", _table(table, format), ""]
    for figure in all_figures(contents):
        parts += [_figure(figure, format), ""]
    return "\n".join(parts).rstrip("\n") + "\n"


def write_figures(contents: Contents, folder: Path) -> list[Path]:
    """Write every figure as SVG and its data as CSV, and the trials as CSV.

    Raises
    ------
    UserError
        If the folder cannot be written.
    """
    files: dict[str, bytes] = {"trials.csv": as_csv(trial_section.as_table(contents.runs)).encode()}
    if contents.rows.rows:
        files["trial-tables.csv"] = as_csv(contents.rows).encode()
    files["table-1.csv"] = as_csv(as_table(contents.paper)).encode()
    for figure in all_figures(contents):
        files[f"{figure.name}.svg"] = paper_svg(figure).encode()
        files[f"{figure.name}.csv"] = as_csv(figure.table).encode()
    return _written(folder, files)


def write_pdf(contents: Contents, folder: Path) -> list[Path]:
    """Write every figure as a PDF of its own.

    Raises
    ------
    UserError
        If the folder cannot be written.
    """
    return _written(folder, {f"{f.name}.pdf": paper_pdf(f) for f in all_figures(contents)})


def as_csv(table: Table) -> str:
    """Return a table as CSV with all digits; absent values are empty.

    >>> from reports.figures.chart import Column
    >>> as_csv(Table((Column("x", "for people", 1),), ((0.123456,), (None,))))
    'x\\n0.123456\\n""\\n'
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([column.name for column in table.columns])
    writer.writerows([[_plain(value) for value in row] for row in table.rows])
    return text.getvalue()


def _plain(value: Any) -> Any:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else value


def _written(folder: Path, files: dict[str, bytes]) -> list[Path]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
    except OSError as error:
        raise UserError(f"Cannot write {error.filename or folder}: {error.strerror}.") from error
    return [folder / name for name in files]


def _table(table: Table, format: str) -> str:
    rows = [
        [cell(value, column) for value, column in zip(row, table.columns, strict=True)]
        for row in table.rows[:MOST_ROWS]
    ]
    titles = [column.title for column in table.columns]
    write = markdown_table if format == "markdown" else latex_table
    return "\n".join(write(titles, rows))


def _figure(figure: Figure, format: str) -> str:
    caption = " ".join((figure.message, *figure.notes))
    if format == "markdown":
        return f"![{_markdown(figure.title)}]({figure.name}.svg)\n\n{_markdown(caption)}"
    return "\n".join(
        (
            r"\begin{figure}",
            rf"\includegraphics[width=\linewidth]{{{figure.name}.pdf}}",
            rf"\caption{{{_latex(f'{figure.title}. {caption}')}}}",
            rf"\label{{fig:{figure.name}}}",
            r"\end{figure}",
        )
    )


def _markdown(text: str, heading: bool = False) -> str:
    return f"## {markdown(text)}" if heading else markdown(text)


def _latex(text: str, heading: bool = False) -> str:
    return rf"\section*{{{latex(text)}}}" if heading else latex(text)
