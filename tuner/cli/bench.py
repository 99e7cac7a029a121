"""`tuner bench`: how fast this machine trains, beside the loop that a user would write."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from search_spaces.model import UserError
from tuner.cli.formatting import as_table
from tuner.cli.options import Command, cache_option, format_option

PARTS = ("trial", "machine", "search")
LISTS = ("one_trial", "whole_machine")
"""What is told once for each case."""


@click.command("bench", cls=Command)
@click.option("--quick", is_flag=True, help="Fewer cases and repeats: under a minute on a CPU.")
@click.option("--only", type=click.Choice(PARTS), multiple=True,
              help="Only this part; may be repeated. Default: all.")  # fmt: skip
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto",
              show_default=True, help="Where trials train.")  # fmt: skip
@cache_option
@format_option("table", "json")
@click.pass_context
def bench_command(
    ctx: click.Context, quick: bool, only: tuple[str, ...], device: str, cache: Path, format_: str
) -> None:
    """Measure how fast trials and searches run here.

    One trial against a plain PyTorch loop, in turns; how many trials a GPU, or all cores, train
    at once; and what a search costs beside training. Nothing else should run meanwhile.
    """
    from tuner.bench import measure

    device = _device(device)
    found = measure.about([*ctx.obj])
    show = format_ == "table"

    def told(part: str, value: Any, lines: Callable[[Any], str]) -> None:
        found.setdefault(part, []).append(value) if part in LISTS else found.update({part: value})
        if show:
            click.echo(f"{value['case']}: {value['error']}" if "error" in value else lines(value))

    if show:
        click.echo(_about_line(found, device))
    chosen, all_cases = only or PARTS, measure.cases(device, quick)
    for case in all_cases if "trial" in chosen else ():
        row = _or_error(case.title, partial(measure.one_trial, case, device, cache, quick))
        told("one_trial", row, _trial_lines)
    if "machine" in chosen:
        for case in all_cases if device == "cpu" and not quick else ():
            row = _or_error(case.title, partial(measure.whole_machine, case, cache))
            told("whole_machine", row, _machine_line)
        rows = measure.many_trials(device, cache, quick)
        told("many_trials", {"trials": rows}, lambda value: _many_lines(value["trials"], device))
    if "search" in chosen:
        row = _or_error("a search", partial(measure.a_search, device, cache, quick))
        told("search", row, _search_lines)
    if not show:
        click.echo(json.dumps(found, indent=2))


def _or_error(what: str, measured: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what was measured, or why it could not be: the rest is worth having."""
    try:
        return measured()
    except UserError as error:
        return {"case": what, "error": str(error)}


def _device(name: str) -> str:
    from tuner.ray_session import local_gpus

    present = local_gpus()
    if name == "auto":
        return "cuda" if present else "cpu"
    if name == "cuda" and not present:
        raise UserError("--device cuda needs an NVIDIA GPU, but this machine shows none; use cpu.")
    return name


def _about_line(found: dict[str, Any], device: str) -> str:
    host, versions = found["host"], found["versions"]
    what = host["gpus"][0]["name"] if device != "cpu" else host["cpu"]
    return f"{what}, {found['cores_used']} cores, torch {versions.get('torch')}, {found['date']}"


def _rate(rate: dict[str, float]) -> str:
    return f"{rate['median']:.0f} ({rate['lowest']:.0f} to {rate['highest']:.0f})"


def _trial_lines(row: dict[str, Any]) -> str:
    ways = [("plain loop", "plain"), ("ours, without graphs", "eager"), ("ours", "ours")]
    table = [
        {
            "": title,
            "images/s": _rate(rate),
            "ms/step": f"{1000 * row['batch_size'] / rate['median']:.2f}",
        }
        for title, way in ways
        if (rate := row.get(f"{way}_images_per_s")) is not None
    ]
    return (
        f"\n{row['case']}, one trial, in turns (median, lowest and highest)\n"
        f"{as_table(table, ['', 'images/s', 'ms/step'])}\n"
        f"ours is {row['images_per_s_ratio']:.2f} times as fast; at the pace of {row['bound']} a"
        f" step would take {row['reference_ms_per_step']:.3g} ms, so ours reaches"
        f" {row['reference_share']:.0%} of that"
    )


def _machine_line(row: dict[str, Any]) -> str:
    return (
        f"\n{row['case']}, all {row['cores']} cores busy, images/s per core:"
        f" plain loop {row['plain_images_per_s_per_core']:.0f} ({row['plain_fastest']}),"
        f" ours {row['ours_images_per_s_per_core']:.0f},"
        f" {row['images_per_s_per_core_ratio']:.2f} times as fast"
    )


def _many_lines(rows: list[dict[str, Any]], device: str) -> str:
    table = [
        {
            "at once": str(row["trials_at_once"]),
            "images/s": row["error"] if "error" in row else _rate(row["images_per_s"]),
            "trials/h": "" if "error" in row else f"{row['trials_per_hour']:.1f}",
            "against one": "" if "error" in row else f"{row['one_trial_ratio']:.2f}",
        }
        for row in rows
    ]
    where = "the cores" if device == "cpu" else f"a GPU, MPS {'on' if rows[0]['mps'] else 'off'}"
    names = ["at once", "images/s", "trials/h", "against one"]
    head = f"\nTrials that share {where}: {rows[0]['trial']}, validation included"
    return f"{head}\n{as_table(table, names)}"


def _search_lines(found: dict[str, Any]) -> str:
    start = ", ".join(f"{what} {seconds:.1f} s" for what, seconds in found["start_s"].items())
    lines = [
        f"\nA search ({found['command']})",
        f"first training step after {found['to_first_step_s']:.1f} s: {start}",
    ]
    overhead = found["overhead"]
    if overhead is not None:
        lines.append(
            f"after each slot's first trial, {overhead['share']:.1%} of the slots' time was not"
            f" training or evaluation: {overhead['beside_s']:.2f} s a trial,"
            f" {overhead['turnover_s']:.2f} s of it before its first step"
            f" (medians of {overhead['trials']})"
        )
    lines.append(
        f"the driver used {found['driver_core_share']:.1%} of a core at"
        f" {found['results_per_s']:.2f} results/s"
    )
    return "\n".join(lines)
