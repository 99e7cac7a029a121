"""The page in Chromium: it comes to life, stays quiet, works without a script, is accessible."""

from __future__ import annotations

import html
import json
import re
import subprocess
from pathlib import Path

import pytest

from reports.figures.runs import read_runs
from reports.page import page
from reports.sections.contents import contents
from reports.sections.verdict import Asked
from reports.sources import sources
from reports.study import settled
from reports.table import read_trials
from tests.browser import CHROMIUM, FLAGS, axe
from tests.reports.made_records import CENSUS, make_record
from tests.reports.made_studies import make_study

NARROW = 500
"""The narrowest window that headless Chromium opens."""
WIDE, TALL = 1280, 20_000
"""All figures are in view, so that all come to life."""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a report of two arms."""
    folder = tmp_path_factory.mktemp("browser")
    folders = [
        make_record(folder / "p", "periodic", 20, 8, **CENSUS),
        make_record(folder / "d", "dynamic_constant", 12, 8, **CENSUS),
    ]
    file = folder / "report.html"
    found = contents(read_runs(folders), read_trials(folders), Asked(target=0.35))
    file.write_text(page(found), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def study_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a study's report."""
    folder = make_study(tmp_path_factory.mktemp("study") / "s")
    found = sources([folder])
    assert found.study is not None
    trials = found.trials()
    asked = settled(found.study, trials)
    file = folder / "report.html"
    whole = contents(read_runs(found.folders), trials, asked, (), found.study)
    file.write_text(page(whole), encoding="utf-8")
    return file


def dumped(file: Path, profile: Path, *flags: str, width: int = WIDE) -> tuple[str, str]:
    """Return the page's elements after its scripts have run, and what the browser logged."""
    assert CHROMIUM is not None
    done = subprocess.run(
        [
            CHROMIUM, *FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{TALL}",
            "--virtual-time-budget=20000", "--enable-logging=stderr", *flags, "--dump-dom",
            file.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout, done.stderr


def test_every_figure_comes_to_life_and_nothing_is_complained_about(
    report: Path, tmp_path: Path
) -> None:
    dom, log = dumped(report, tmp_path)
    figures = dom.count("data-chart=")
    assert figures > 10
    assert dom.count("vega-embed") >= figures
    assert "32 of 32 trials" in dom
    messages = re.findall(r"CONSOLE[^\n]*", log)
    assert [one for one in messages if "WARN" not in one] == []


def test_without_a_script_every_figure_and_row_is_there(report: Path, tmp_path: Path) -> None:
    still = tmp_path / "still.html"
    source = report.read_text(encoding="utf-8")
    still.write_text(re.sub(r"<script>.*?</script>", "", source, flags=re.DOTALL), encoding="utf-8")
    dom, _ = dumped(still, tmp_path / "profile")
    assert dom.count('role="img"') == dom.count("data-chart=")
    assert dom.count("data-state=") == 32
    assert re.search(r'class="filters" hidden', dom)


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [("report", 1280, "light"), ("report", NARROW, "dark"), ("study_report", NARROW, "light")],
)
def test_the_accessibility_checker_finds_nothing(
    request: pytest.FixtureRequest, tmp_path: Path, name: str, width: int, scheme: str
) -> None:
    report: Path = request.getfixturevalue(name)
    pytest.importorskip("axe_core_python")
    source = report.read_text(encoding="utf-8")
    source = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", source)
    check = (
        "addEventListener('load',()=>setTimeout(async()=>{"
        "document.querySelectorAll('details').forEach(d=>d.open=true);"
        "const r=await axe.run(document,{resultTypes:['violations']});"
        "const p=document.createElement('pre');p.id='axe';"
        "p.textContent=JSON.stringify({width:innerWidth,overflow:document.body.scrollWidth,"
        "dark:matchMedia('(prefers-color-scheme:dark)').matches,"
        "found:r.violations.map(v=>[v.id,v.nodes.map(n=>n.html)])});"
        "document.body.append(p)},4000))"
    )
    wrapped = tmp_path / "checked.html"
    wrapped.write_text(
        source.replace("</body>", f"<script>{axe()}</script><script>{check}</script></body>"),
        encoding="utf-8",
    )
    flags = ["--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []
    dom, _ = dumped(wrapped, tmp_path / "profile", *flags, width=width)
    found = re.search(r'<pre id="axe">(.*?)</pre>', dom, re.DOTALL)
    assert found is not None
    checked = json.loads(html.unescape(found[1]))
    assert (checked["width"], checked["dark"]) == (width, scheme == "dark")
    assert checked["overflow"] <= width
    assert checked["found"] == []
