"""The display of a run."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from tests.tuner.made_runs import make_run
from tuner.progress import Changes, Display, is_animated, render, status_line, view
from tuner.record import Record

CURVES = [
    ({"T": 2}, [0.2, 0.5, 0.4], "completed"),
    ({"T": 3}, [0.3], "pruned"),
    ({"T": 4}, [0.1, 0.3, 0.2], "running"),
    ({"T": 5}, [0.9], "diverged"),
]


def test_a_view_holds_running_best_and_counts(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a", CURVES, state="running", reason=None)
    with Record.open(folder, write=True) as record:
        shown = view(record)
    assert shown.counts == {"running": 1, "completed": 1, "pruned": 1, "diverged": 1}
    assert [line.number for line in shown.running] == [2]
    assert (shown.running[0].current, shown.running[0].best) == (0.2, 0.3)
    assert [line.number for line in shown.top] == [0, 1]  # a diverged trial is no best
    assert shown.best is not None
    assert shown.best.number == 0
    assert shown.utilisation == pytest.approx(16 / (2 * 8))  # two slots for 8 s
    assert shown.remaining is not None
    assert "1 running" in status_line(shown)


def test_a_run_that_was_killed_shows_no_running_trial_and_no_time_left(tmp_path: Path) -> None:
    with Record.open(make_run(tmp_path / "a", CURVES, state="running", reason=None)) as record:
        shown = view(record)
    assert shown.state == "interrupted"
    assert (shown.running, shown.remaining) == ((), None)
    (waits,) = shown.waiting
    assert (waits.number, waits.state) == (2, "waiting")
    text = io.StringIO()
    Console(file=text, width=80).print(render(shown, 80))
    assert sum("waiting" in line for line in text.getvalue().splitlines()[2:]) == 1
    assert shown.counts == {"waiting": 1, "completed": 1, "pruned": 1, "diverged": 1}


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_table_fits_its_width(tmp_path: Path, width: int) -> None:
    knobs = {"T": 2, "Constant": 0.123456789, "position": "shortcut", "dropout_kind": "element"}
    curves = [(knobs, [0.1] * 3, "running"), *[(knobs, [0.2] * 12, "completed")] * 30]
    with Record.open(make_run(tmp_path / ("n" * 90), curves)) as record:
        shown = view(record)
    text = io.StringIO()
    Console(file=text, width=width).print(render(shown, width))
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert sum("Con" in line for line in lines) >= 12  # the knobs are seen
    assert ("val F1" in text.getvalue()) == (width >= 60)
    assert len(lines) <= 24


def test_lines_tell_starts_ends_and_new_bests_once(tmp_path: Path) -> None:
    with Record.open(make_run(tmp_path / "none", [])) as record:
        changes = Changes(record)
    with Record.open(make_run(tmp_path / "a", CURVES)) as record:
        lines, again = changes.lines(record), changes.lines(record)
        known = Changes(record).lines(record)
    assert "trial 0 started: T=2" in lines
    assert "new best: 0.5000 at epoch 2 of trial 0 (T=2)" in lines
    assert "trial 1 pruned after 1 epoch, best 0.3000: it was pruned" in lines
    assert "trial 3 diverged after 1 epoch, no score: it was diverged" in lines
    assert sum(line.startswith("new best") for line in lines) == 1
    assert again == known == []


def test_a_trial_that_was_running_is_told_when_it_ends(tmp_path: Path) -> None:
    with Record.open(make_run(tmp_path / "a", CURVES), write=True) as record:
        changes = Changes(record)
        record.end_trial(2, "completed", "its last epoch is done")
        assert changes.lines(record) == [
            "trial 2 completed after 3 epochs, best 0.3000: its last epoch is done"
        ]
        assert changes.lines(record) == []


def test_the_best_of_a_killed_run_waits(tmp_path: Path) -> None:
    curves = [({"T": 2}, [0.2], "completed"), ({"T": 3}, [0.4], "running")]
    with Record.open(make_run(tmp_path / "a", curves, state="running", reason=None)) as record:
        shown = view(record)
    assert shown.best is not None
    assert (shown.best.number, shown.best.state) == (1, "waiting")


def test_a_stream_that_is_no_terminal_gets_lines_without_escape_codes(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a", [], state="running", reason=None)
    stream = io.StringIO()
    with Record.open(folder, write=True) as record, Display(stream) as display:
        display.follow(folder)
        record.add_event("warning", "w is not expected to reach zero")
        record.set_run("finished")
        display.wait()
    assert "warning: w is not expected to reach zero" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_what_happened_before_is_not_told_again(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a", CURVES)
    stream = io.StringIO()
    with Display(stream) as display:
        display.follow(folder)
    assert stream.getvalue() == ""


def test_animation_needs_a_terminal_that_can_and_no_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("CI", raising=False)
    assert is_animated(Terminal())
    assert not is_animated(io.StringIO())
    monkeypatch.setenv("CI", "true")
    assert not is_animated(Terminal())
    monkeypatch.delenv("CI")
    monkeypatch.setenv("TERM", "dumb")
    assert not is_animated(Terminal())


def test_a_terminal_gets_the_table_without_colours_if_asked(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a", CURVES, state="running", reason=None)
    code = f"import sys; sys.path.insert(0, {str(Path.cwd())!r}); from pathlib import Path\n"
    code += "from tuner.record import Record\nfrom tuner.progress import Display\nimport time\n"
    code += f"folder = Path({str(folder)!r})\n"
    code += "with Record.open(folder, write=True), Display() as display:\n"
    code += "    display.follow(folder); time.sleep(2.5)\n"
    environment = {key: value for key, value in os.environ.items() if key != "CI"}
    environment |= {"TERM": "xterm", "NO_COLOR": "1", "COLUMNS": "80", "LINES": "24"}
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    output = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            chunk = os.read(ours, 4096)
        except OSError:  # the other end was closed: the process has ended
            break
        if not chunk:
            break
        output += chunk
    assert process.wait(timeout=30) == 0
    text = output.decode()
    assert "val F1" in text
    assert "\x1b[31m" not in text
    assert "\x1b[?25l" in text  # it was animated: the cursor was hidden
