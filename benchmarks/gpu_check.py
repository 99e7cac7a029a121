"""Everything that needs a GPU, in one go: tests, speed, and one trial of FER2013's size.

    make gpu-check          # python -m benchmarks.gpu_check

Writes `benchmarks/results/GPU.json`, GPU being the device's name: what was measured, with hardware,
versions, date and command, and how the tests marked `gpu` ended, written after each part. The
trial trains 60 epochs of 28,709 images of 48 px, FER2013's own where its file is given, else
synthetic faces, because speed does not depend on what is in an image.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click

from tuner.bench.measure import REFERENCES, about
from tuner.provenance import gpus

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
REFERENCE = REFERENCES["cuda"]
"""A trial of FER2013's size."""


def tests() -> dict[str, Any]:
    """Run the tests marked `gpu` and return how they ended."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider"]
    started = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    lines = done.stdout.strip().splitlines()
    return {
        "passed": done.returncode == 0,
        "seconds": time.monotonic() - started,
        "summary": lines[-1] if lines else done.stderr[-500:],
        "failures": [line for line in lines if line.startswith(("FAILED", "ERROR"))],
    }


def told(arguments: list[str]) -> dict[str, Any]:
    """Run a module of ours and return the JSON that it prints, or why it failed."""
    command = [sys.executable, "-m", *arguments, "--format", "json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        return {"error": (lines or [f"status {done.returncode}"])[-1]}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def whole_trial(stem: str, precision: str, data: Path | None) -> dict[str, Any]:
    """Train a trial of FER2013's size and return how long it took."""
    source = (
        ["--data", str(data)]
        if data is not None
        else [f"--set-data={name}={value}" for name, value in REFERENCE.data.items()]
    )
    found = told(
        ["trainables", *source, "--epochs", str(REFERENCE.epochs), "--device", "cuda",
         "--set", f"stem={stem}", "--set", f"precision={precision}"]
    )  # fmt: skip
    keys = ("seconds", "images_per_s", "best_epoch", "val_f1", "test_f1", "device", "error")
    return {
        "stem": stem,
        "precision": precision,
        "data": "synthetic" if data is None else data.name,
        **{key: found[key] for key in keys if key in found},
    }


@click.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path),
              help="fer2013.zip; synthetic faces without it.")  # fmt: skip
def main(data: Path | None) -> None:
    """Run the tests marked gpu and all measurements, and write the results file."""
    present = gpus()
    if not present:
        raise click.ClickException("This machine shows no NVIDIA GPU, which this check is for.")
    name = re.sub("[^a-z0-9]+", "-", present[0]["name"].lower()).strip("-")
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    found: dict[str, Any] = about(["make", "gpu-check"])

    def keep(part: str, value: Any) -> None:
        """Write after each part: a GPU is lent for a short time."""
        found[part] = value
        path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")

    keep("tests", tests())
    click.echo(found["tests"]["summary"])
    keep("bench", told(["tuner", "bench", "--device", "cuda"]))
    keep("trials", [])
    for stem, precision in (("imagenet", "fp32"), ("small", "tf32")):
        trial = whole_trial(stem, precision, data)
        keep("trials", [*found["trials"], trial])
        took = trial.get("error") or f"{trial['seconds']:.0f} s"
        click.echo(f"{REFERENCE.epochs} epochs, {stem} stem, {precision}: {took}")
    click.echo(f"Written: {path}")
    failed = "error" in found["bench"] or any("error" in trial for trial in found["trials"])
    sys.exit(0 if found["tests"]["passed"] and not failed else 1)


if __name__ == "__main__":
    main()
