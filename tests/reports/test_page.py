"""The page as a whole: one file, no network, escaped, equal bytes for equal input."""

from __future__ import annotations

import base64
import csv
import hashlib
import html.parser
import io
import json
import os
import re
import sqlite3
import subprocess
import sys
import xml.etree.ElementTree as ET
import zlib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from reports.figures.runs import read_runs
from reports.page import page
from reports.paper import all_figures, as_csv, document, write_figures, write_pdf
from reports.sections.contents import Contents, contents
from reports.sections.verdict import Asked
from reports.table import read_trials
from tests.reports.made_records import CENSUS, Ending, make_record
from tuner.cli import cli
from tuner.cli.report import report_command

EVIL = "<script>alert('x')</script>"
SECTIONS = ["verdict", "provenance", "table-1", "tuning", "learning", "sensitivity", "searches",
            "trials", "method"]  # fmt: skip


def made(*folders: Path, **asked: Any) -> Contents:
    """Return a report's contents."""
    return contents(read_runs(folders), read_trials(folders), Asked(**asked))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with runs of five arms."""
    folder = tmp_path_factory.mktemp("study")
    crash = Ending("crashed", 0, f"Traceback\nRuntimeError: {EVIL}")
    make_record(folder / "p", "periodic", 16, 8, endings=[crash, Ending("diverged", 2)], **CENSUS)
    make_record(folder / "d", "dynamic_constant", 8, 8, **CENSUS)
    make_record(folder / "b", "baseline", 3, 8, endings=[Ending("pruned", 3)])
    make_record(folder / "o", "dropout", 2, 8, endings=[Ending("running", 3), Ending("waiting")])
    make_record(folder / "e", "periodic_dropout", 2, 8, name=EVIL)
    return folder


@pytest.fixture(scope="module")
def whole(study: Path) -> Contents:
    """Return the contents of the five arms' report."""
    return made(*(study / name for name in "bdeop"), target=0.35, periodic="periodic")


@pytest.fixture(scope="module")
def text(whole: Contents) -> str:
    """Return the page of the five arms."""
    return page(whole)


class Parser(html.parser.HTMLParser):
    """Collects what a browser would act on, and checks that elements are closed."""

    VOID = {"meta", "input", "br", "link", "img"}

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parsed(text: str) -> Parser:
    parser = Parser()
    parser.feed(text)
    assert parser.open == []
    return parser


def test_it_is_well_formed_and_has_every_section_once(text: str) -> None:
    identifiers = [attrs["id"] for _, attrs in parsed(text).tags if "id" in attrs]
    assert len(set(identifiers)) == len(identifiers)
    assert [one for one in identifiers if one in SECTIONS] == SECTIONS


def test_links_lead_to_something_in_the_file_and_nothing_is_fetched(text: str) -> None:
    parser = parsed(text)
    identifiers = {attrs.get("id") for _, attrs in parser.tags}
    for tag, attrs in parser.tags:
        assert "src" not in attrs
        assert tag not in ("link", "img", "iframe", "object")
        for name in ("href", "xlink:href", "aria-labelledby"):
            for target in (attrs.get(name) or "").split():
                assert target.removeprefix("#") in identifiers
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text.split("<script")[0])


def test_the_content_policy_allows_only_the_scripts_in_the_file(text: str) -> None:
    policy = next(
        attrs["content"] for tag, attrs in parsed(text).tags if tag == "meta" and "content" in attrs
        and attrs.get("http-equiv") == "Content-Security-Policy"
    )  # fmt: skip
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in scripts]
    assert len(digests) == 2
    assert re.findall(r"'sha256-([^']*)'", policy) == digests


def test_run_names_knobs_and_errors_are_escaped(text: str) -> None:
    assert EVIL not in text
    assert "&lt;script&gt;" in text
    assert text.count("<script") == 3  # Vega, the page's own, and the data


def test_knob_values_are_escaped(tmp_path: Path) -> None:
    space = tmp_path / "evil.yaml"
    space.write_text(
        "summary: x\nfixed: {method: periodic, T: 2}\nknobs:\n  position:\n    kind: choice\n"
        f'    values: [bn1, bn2]\n    source: "{EVIL}"\n'
    )
    folder = make_record(
        tmp_path / "r", str(space), 14, 6, knobs=lambda n: {"position": ("bn1", "bn2")[n % 2]}
    )
    with sqlite3.connect(folder / "record.db") as connection:
        evil = json.dumps({"position": EVIL})
        connection.execute("UPDATE trial SET knobs = ? WHERE number = 0", (evil,))
        connection.execute("UPDATE trial SET reason = ?", (EVIL,))
    found = page(made(folder), bundle=False)
    assert EVIL not in found
    assert found.count("<script") == 2


@pytest.mark.slow
def test_equal_input_gives_equal_bytes_also_in_another_process_and_time_zone(
    study: Path, tmp_path: Path
) -> None:
    folders = [str(study / name) for name in ("p", "d")]
    files = []
    for zone, seed in (("UTC", "1"), ("Asia/Tokyo", "2")):
        files.append(tmp_path / f"{seed}.html")
        subprocess.run(
            [sys.executable, "-m", "tuner", "report", *folders, "-o", str(files[-1])],
            check=True,
            env={**_environment(), "TZ": zone, "PYTHONHASHSEED": seed},
        )
    assert files[0].read_bytes() == files[1].read_bytes()


def test_it_works_where_torch_and_ray_cannot_be_imported(study: Path, tmp_path: Path) -> None:
    shadow = tmp_path / "shadow"
    shadow.mkdir()
    for name in ("torch", "torchvision", "ray"):
        (shadow / f"{name}.py").write_text("raise ImportError('not here')\n")
    environment = _environment()
    environment["PYTHONPATH"] = f"{shadow}{os.pathsep}{environment['PYTHONPATH']}"
    command = [sys.executable, "-m", "tuner", "report", str(study / "p"), str(study / "d")]
    output = tmp_path / "r.html"
    subprocess.run([*command, "-o", str(output)], check=True, env=environment)
    assert "periodic" in output.read_text(encoding="utf-8")


def test_every_figure_has_a_drawing_a_message_and_its_data(whole: Contents, text: str) -> None:
    figures = list(all_figures(whole))
    assert len({figure.name for figure in figures}) == len(figures)
    body = text[text.index("<body") :]
    for figure in figures:
        part = body[body.index(f'id="fig-{figure.name}"') :]
        part = part[: part.index("</figure>")]
        assert part.count('role="img"') == len(figure.charts)
        assert f"{len(figure.table.rows)} rows" in part
        for drawn in re.findall(r"<svg .*?</svg>", part, re.DOTALL):
            told = [
                child.text
                for child in ET.fromstring(drawn)
                if child.tag.endswith(("}title", "}desc"))
            ]
            assert told == [figure.title, figure.message]


def test_the_script_finds_a_specification_for_every_drawing(text: str) -> None:
    packed = re.search(r'id="stored">([^<]*)<', text)
    assert packed is not None
    stored = json.loads(zlib.decompress(base64.b64decode(packed[1])))
    drawings = [attrs["data-chart"] for _, attrs in parsed(text).tags if "data-chart" in attrs]
    assert sorted(stored["specs"]) == sorted(map(str, drawings))
    rows = {attrs["id"] for tag, attrs in parsed(text).tags if tag == "tr" and "id" in attrs}
    assert set(stored["curves"]) <= rows


def test_the_sentence_stands_first(whole: Contents, text: str) -> None:
    body = text[text.index("<body") :]
    claim = re.search(r'<p class="claim" id="claim">([^<]*)</p>', body)
    assert claim is not None
    assert html.unescape(claim[1]) == whole.verdict.sentence
    assert body.index('id="claim"') < body.index("<nav")


def test_without_both_arms_it_says_what_is_missing_and_shows_the_rest(study: Path) -> None:
    found = page(made(study / "p"), bundle=False)
    assert "there is no run of a dynamic space" in found
    assert 'id="fig-learning-periodic"' in found


@pytest.mark.parametrize("endings", [[], [Ending("waiting")] * 2, [Ending("running", 1)] * 2])
def test_two_trials_make_a_page(tmp_path: Path, endings: list[Ending]) -> None:
    folder = make_record(tmp_path / "p", trials=2, epochs=4, endings=endings, state="running")
    found = page(made(folder), bundle=False)
    parsed(found)
    assert found.count('data-state="') == 2


def test_a_page_of_failures_says_so(tmp_path: Path) -> None:
    crash = Ending("crashed", 0, "Traceback\nRuntimeError: CUDA out of memory")
    folder = make_record(tmp_path / "p", trials=4, endings=[crash] * 4)
    found = page(made(folder), bundle=False)
    assert "All 4 trials failed; the last one with: RuntimeError: CUDA out of memory." in found
    assert "4 of 4 trials crashed or diverged" in found
    assert "No trial has finished an epoch without failing" in found


def test_a_run_without_trials_makes_a_page(tmp_path: Path) -> None:
    folder = make_record(tmp_path / "p", trials=0)
    status = run_command(str(folder), "-o", str(tmp_path / "r.html"))
    assert status == 0
    assert "No trial was planned yet" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_one_arm_against_itself_has_1_in_its_interval(study: Path) -> None:
    found = made(study / "p", periodic="periodic", dynamic="periodic", target=0.3)
    assert found.verdict.answer is not None
    saving = found.verdict.answer.savings.trials
    assert saving.low <= 1 <= (saving.high or float("inf"))
    parsed(page(found, bundle=False))


def test_figures_are_written_as_svg_and_csv_with_the_same_rows(
    whole: Contents, tmp_path: Path
) -> None:
    written = {path.name for path in write_figures(whole, tmp_path)}
    for figure in all_figures(whole):
        assert {f"{figure.name}.svg", f"{figure.name}.csv"} <= written
        ET.parse(tmp_path / f"{figure.name}.svg")
        rows = list(csv.reader((tmp_path / f"{figure.name}.csv").open(encoding="utf-8")))
        assert rows[0] == [column.name for column in figure.table.columns]
        assert len(rows) == 1 + len(figure.table.rows)


def test_csv_keeps_every_digit(whole: Contents) -> None:
    figure = next(one for one in all_figures(whole) if one.name.startswith("knob-"))
    rows = list(csv.reader(io.StringIO(as_csv(figure.table))))[1:]
    assert [float(row[2]) for row in rows] == [row[2] for row in figure.table.rows]


def test_runs_whose_names_make_one_file_name_have_figures_of_their_own(tmp_path: Path) -> None:
    folders = [make_record(tmp_path / name, trials=2) for name in ("a.b", "a-b")]
    names = [figure.name for figure in all_figures(made(*folders))]
    assert {"timeline-a-b", "timeline-a-b-2"} <= set(names)
    assert len(set(names)) == len(names)


def test_pdf_writes_one_file_per_figure(study: Path, tmp_path: Path) -> None:
    found = made(study / "d")
    files = write_pdf(found, tmp_path)
    assert len(files) == len(list(all_figures(found)))
    assert all(path.read_bytes().startswith(b"%PDF") for path in files)


@pytest.mark.parametrize("format", ["markdown", "latex"])
def test_documents_hold_the_sentence_table_1_and_every_caption(
    whole: Contents, format: str
) -> None:
    found = document(whole, format, 0.95)
    assert "54.99" in found
    for figure in all_figures(whole):
        assert figure.name in found
    assert EVIL not in found
    if format == "latex":
        assert found.count(r"\begin{tabular}") == found.count(r"\end{tabular}")
        assert "_" not in re.sub(r"\\_|\\label\{[^}]*\}|\\includegraphics[^}]*\}", "", found)


def run_command(*arguments: str) -> int:
    """Run `tuner report` in this process and return its exit status."""
    result = CliRunner().invoke(report_command, list(arguments), standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    assert isinstance(result.return_value, int)
    return result.return_value


def test_the_command_prints_the_sentence_and_leaves_no_unfinished_file(
    study: Path, tmp_path: Path
) -> None:
    result = CliRunner().invoke(cli, ["report", str(study / "b"), "-o", str(tmp_path / "r.html")])
    assert result.exit_code == 0
    assert result.stdout.startswith("The best of 3 trials reached")
    assert [path.name for path in tmp_path.iterdir()] == ["r.html"]


@pytest.mark.parametrize(
    ("name", "format_", "begins"),
    [
        ("r.md", None, "# "),
        ("r.tex", None, "\\"),
        ("r.htm", None, "<!doctype html>"),
        ("r", None, "<!doctype html>"),
        ("r", "markdown", "# "),
        ("r.txt", "markdown", "# "),
    ],
)
def test_the_format_is_that_of_the_ending(
    study: Path, tmp_path: Path, name: str, format_: str | None, begins: str
) -> None:
    chosen = [] if format_ is None else ["--format", format_]
    result = CliRunner().invoke(
        cli, ["report", str(study / "b"), "-o", str(tmp_path / name), *chosen]
    )
    assert result.exit_code == 0, result.stderr
    text = (tmp_path / name).read_text(encoding="utf-8")
    assert text.lstrip().lower().startswith(begins) or begins in text[:600]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{}/nothing"], "Unknown run"),
        (["{}/b", "{}"], "Run b is given twice"),
        (["{}/b", "--periodic", "periodc"], "Unknown space 'periodc'"),
        (["{}/b", "--target", "39"], "--target must be greater than 0 and less than 1"),
        (["{}/b", "--target", "0.99"], "--target must lie within the scores of the data"),
        (["{}/b", "--target", "0.3", "--target-from", "x"], "not both"),
        (["{}/b", "-o", "{}/no/such/r.html"], "Cannot write"),
        (["{}/b", "-o", "{}/r.pdf"], "would be one PDF"),
        (["{}/b", "-o", "{}/r.docx"], "r.docx: rename it, or name the format with --format."),
        (["{}/b", "-o", "{}/r.pdf", "--format", "pdf"], "r.pdf: name a folder, such as"),
        (["{}/b", "-o", "{}/r.PDF", "--format", "pdf"], "r.PDF: name a folder, such as"),
        (["{}/b", "-o", "{}/r.html", "--format", "pdf"], "--format pdf writes no .html"),
        (["{}/b", "-o", "{}/r.md", "--format", "html"], "--format html writes no .md"),
    ],
)
def test_mistakes_are_told_in_one_line(study: Path, arguments: list[str], message: str) -> None:
    given = [argument.format(study) for argument in arguments]
    result = CliRunner().invoke(cli, ["report", *given])
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not list(study.glob("r.*"))


def _environment() -> dict[str, str]:
    root = str(Path(__file__).resolve().parents[2])
    return {**os.environ, "PYTHONPATH": root}
