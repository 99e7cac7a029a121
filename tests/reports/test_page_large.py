"""The limits that a large report must keep: 1,000 trials of 60 epochs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.reports.made_records import CENSUS, make_record

PROGRAM = """
import json, pathlib, re, resource, sys, time
began = time.perf_counter()
from tuner.cli import main
try:
    main()
except SystemExit as end:
    assert end.code == 0
used = resource.getrusage(resource.RUSAGE_SELF)
status = pathlib.Path("/proc/self/status")
if status.exists():
    # Not ru_maxrss: exec hands the parent's peak on to it, here that of the whole test process.
    memory_bytes = int(re.search(r"VmHWM:\\s*(\\d+) kB", status.read_text())[1]) * 1024
else:
    memory_bytes = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps({"wall_s": time.perf_counter() - began, "cpu_s": used.ru_utime + used.ru_stime,
                  "memory_bytes": memory_bytes}))
"""


@pytest.mark.slow
def test_a_thousand_trials_take_15_s_1_gb_and_5_mb(tmp_path: Path) -> None:
    """Processor time is judged, so that a busy machine fails nothing; alone it is the wall time."""
    make_record(tmp_path / "runs" / "p", "periodic", 550, 60, **CENSUS)
    make_record(tmp_path / "runs" / "d", "dynamic", 350, 60, **CENSUS)
    make_record(tmp_path / "runs" / "b", "baseline", 100, 60, **CENSUS)
    output = tmp_path / "report.html"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "report", str(tmp_path / "runs"), "-o", str(output)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root), "XDG_CACHE_HOME": str(tmp_path / "cache")},
    )
    measured = json.loads(done.stdout.splitlines()[-1])
    print(measured, output.stat().st_size)
    assert measured["cpu_s"] <= 15
    assert measured["memory_bytes"] <= 1e9
    assert output.stat().st_size < 5e6
