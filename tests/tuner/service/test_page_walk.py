"""A search from the page alone: `tuner serve`, a real Ray head, real training, Chromium."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.browser import CHROMIUM, Browser
from tests.gates import WAIT_S, Gates, gates, wait_until
from tests.tuner.service.heads import ENVIRONMENT, Head, free_ports
from tuner.record import Record

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]
TUNER = str(Path(sys.executable).with_name("tuner"))


@pytest.fixture
def closable() -> Iterator[Gates]:
    """Return the gates of the searches."""
    with gates() as made:
        yield made


@pytest.fixture
def lab(tmp_path: Path, closable: Gates) -> Iterator[tuple[str, str, Path]]:
    """Return the address of a service with a Ray head, a user's token, and the folder of runs."""
    runs, cache = tmp_path / "runs", tmp_path / "cache"
    head = Head(environment={**ENVIRONMENT, **closable.environment})
    added = subprocess.run(
        [TUNER, "user", "add", "anna", "--runs", str(runs)],
        capture_output=True, text=True, check=True, env=ENVIRONMENT,
    )  # fmt: skip
    port = free_ports(1)[0]
    url = f"http://127.0.0.1:{port}/"
    served = None
    try:
        head.start()
        with (tmp_path / "serve.log").open("w") as log:
            served = subprocess.Popen(
                [TUNER, "serve", "--port", str(port), "--runs", str(runs), "--cache", str(cache),
                 "--ray", head.url, "--link", "TensorBoard=http://127.0.0.1:6006/?job={job}"],
                env=ENVIRONMENT, stderr=log,
            )  # fmt: skip
        wait_until(lambda: _answers(url), (tmp_path / "serve.log").read_text)
        yield url, added.stdout.strip(), runs
    finally:
        if served is not None:
            served.terminate()
            served.wait(WAIT_S)
        head.close()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}health").is_success
    except httpx.HTTPError:
        return False


@pytest.mark.timeout(1800)
def test_a_search_is_submitted_watched_stopped_resumed_and_read(
    lab: tuple[str, str, Path], tmp_path: Path, closable: Gates
) -> None:
    url, token, runs = lab
    closable.close("from-page", 2)
    with Browser(tmp_path / "profile") as browser:
        browser.size(1280)
        browser.open(url)
        browser.wait("document.querySelector('#token')")
        browser.type("#token", token)
        browser.key("Enter", 13, "\r")
        browser.wait_text("No job yet.")
        browser.wait_text("0 of 2 GPUs held", WAIT_S)

        browser.click("nav a", "New search")
        browser.wait_text("Periodic injection")
        for field, value in (
            ("name", "from-page"), ("budget-trials", "6"), ("epochs", "4"),
            ("resources-concurrency", "1"),
        ):  # fmt: skip
            browser.type(f"#f-{field}", value)
        browser.click("button[type=submit]")
        browser.wait("location.hash === '#/jobs/from-page'")

        # The first trials arrive by themselves.
        state = "document.querySelector('.claim').innerText"
        browser.wait(f"{state}.startsWith('running')", WAIT_S)
        browser.wait("document.querySelectorAll('.trials tbody tr').length >= 2", WAIT_S)
        drawn = "document.querySelector('.tall-plot canvas:last-child').getAttribute('aria-label')"
        browser.wait(f"{drawn}.includes('best 0.')", WAIT_S)
        assert browser.evaluate("document.querySelector('pre.log').textContent.length") > 0
        _picture(browser, tmp_path / "running.png")

        closable.wait("from-page", 2)  # it cannot end before it is stopped
        browser.click("button", "Stop")
        log = runs / ".service" / "jobs" / "from-page" / "log.txt"
        wait_until(lambda: "Finishing the running epochs" in log.read_text(), log.read_text)
        closable.open("from-page")
        browser.wait(f"{state}.startsWith('stopped')", WAIT_S)
        with Record.open(runs / "from-page") as record:
            before = record.totals().epochs
        assert 0 < before < 24
        _picture(browser, tmp_path / "stopped.png")

        browser.click("button", "Resume…")
        browser.type("dialog input[name=more_trials]", "1")
        browser.click("dialog button", "Resume")
        browser.wait(f"{state}.startsWith('finished')", WAIT_S)
        with Record.open(runs / "from-page") as record:
            totals = record.totals()
        assert totals.num_ended == 7
        browser.wait_text("7 of 7 trials")
        assert browser.console == [] or all("401" in line for line in browser.console)

        address = browser.evaluate(
            "[...document.querySelectorAll('main a')].find(a => a.textContent === 'Report').href"
        )
        browser.open(address)
        browser.wait("document.querySelectorAll('#trial-table tbody tr').length === 7", WAIT_S)
        _picture(browser, tmp_path / "report.png")


def _picture(browser: Browser, file: Path) -> None:
    browser.screenshot(file, whole=False)
