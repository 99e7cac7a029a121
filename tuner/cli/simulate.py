"""`tuner simulate`: what another sampler or scheduler would have cost, replayed over a census."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from tuner.cli.formatting import as_csv, as_table
from tuner.cli.options import Command, find_run, format_option, runs_option
from tuner.cli.sources import share
from tuner.ray_session import local_cpus
from tuner.spec_sections import SamplerConfig, SchedulerConfig

if TYPE_CHECKING:
    from reports.search_costs import Combination
    from reports.simulate import Simulation

SAMPLERS = get_args(SamplerConfig.model_fields["name"].annotation)
SCHEDULERS = get_args(SchedulerConfig.model_fields["name"].annotation)
UNITS = ("trials", "epochs", "slot_seconds")
AUTO = "auto"
JUDGED: dict[str, bool] = {"true": True, "false": False}
NUMBER = "N"


@click.command("simulate", cls=Command)
@click.argument("names", metavar="RUN...", nargs=-1, required=True)
@click.option("--target", type=float, required=True, metavar="Y", callback=share,
              help="Validation macro-F1 to reach.")  # fmt: skip
@click.option("--sampler", "samplers", type=click.Choice(SAMPLERS), multiple=True,
              default=("tpe",), help="Repeatable. Default: tpe.")  # fmt: skip
@click.option("--scheduler", "schedulers", type=click.Choice(SCHEDULERS), multiple=True,
              default=("asha",), help="Repeatable. Default: asha.")  # fmt: skip
@click.option("--trials", type=click.IntRange(1), default=30, metavar=NUMBER, show_default=True,
              help="Budget of a search.")  # fmt: skip
@click.option("--searches", type=click.IntRange(1), default=500, metavar=NUMBER,
              show_default=True, help="Searches per sampler and scheduler.")  # fmt: skip
@click.option("--halves", "num_halves", type=click.IntRange(0), default=100, metavar=NUMBER,
              show_default=True,
              help="Halves of the census replayed for the limits; 0: no limits.")  # fmt: skip
@click.option(
    "--nearest",
    is_flag=True,
    help="Let the nearest recorded configuration answer one that was not recorded.",
)
@click.option("--reduction", type=click.IntRange(2, 16), default=3, metavar=NUMBER,
              show_default=True, help="asha: one of so many trials survives a rung.")  # fmt: skip
@click.option("--first-rung", type=click.IntRange(1), metavar=NUMBER,
              help="Epoch of the first judgement. Default: by epochs and reduction.")  # fmt: skip
@click.option("--brackets", type=click.IntRange(1, 16), default=1, metavar=NUMBER,
              show_default=True, help="asha: Hyperband brackets.")  # fmt: skip
@click.option("--before-injection", type=click.Choice([*JUDGED, AUTO]), default=AUTO,
              show_default=True, help="Judge periodic trials also before their first injection;"
              " auto: where no two trials share a seed.")  # fmt: skip
@click.option("--concurrency", type=click.IntRange(1), default=1, metavar=NUMBER,
              show_default=True, help="Trials at once.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, metavar=NUMBER,
              show_default=True, help="Equal seeds give equal results.")  # fmt: skip
@click.option("--jobs", type=click.IntRange(1), metavar=NUMBER,
              help="Processes; changes no number. Default: one per core.")  # fmt: skip
@runs_option
@format_option("table", "json", "csv")
def simulate_command(
    names: tuple[str, ...],
    target: float,
    samplers: tuple[str, ...],
    schedulers: tuple[str, ...],
    trials: int,
    searches: int,
    num_halves: int,
    nearest: bool,
    reduction: int,
    first_rung: int | None,
    brackets: int,
    before_injection: str,
    concurrency: int,
    seed: int,
    jobs: int | None,
    runs: Path,
    format_: str,
) -> int:
    """Replay searches over recorded curves: what they cost until they reach a target.

    RUN is a census: runs of one space in which nothing was stopped early. Every sampler is
    combined with every scheduler. docs/simulate.md says what is computed.
    """
    from reports.census import read_census
    from reports.replay import Policy
    from reports.simulate import simulate

    census = read_census([find_run(runs, name) for name in names])
    policies = [
        Policy(
            SamplerConfig.model_validate({"name": sampler}),
            SchedulerConfig.model_validate(
                {
                    "name": scheduler,
                    "reduction": reduction,
                    "first_rung": first_rung,
                    "brackets": brackets if scheduler == "asha" else 1,
                    "before_injection": JUDGED.get(before_injection, AUTO),
                }
            ),
            trials,
            concurrency,
        )
        for sampler, scheduler in product(dict.fromkeys(samplers), dict.fromkeys(schedulers))
    ]
    hidden = not sys.stderr.isatty()
    with click.progressbar(length=1000, label="Replaying", file=sys.stderr, hidden=hidden) as bar:
        result = simulate(
            census,
            policies,
            target,
            searches=searches,
            num_halves=num_halves,
            seed=seed,
            nearest=nearest,
            jobs=jobs or local_cpus(),
            progress=lambda done, total: bar.update(1000 * done // total - bar.pos),
        )
    for warning in result.warnings:
        click.echo(f"Warning: {warning}", err=True)
    if format_ == "json":
        click.echo(result.model_dump_json(indent=2))
    elif format_ == "csv":
        rows = list(csv_rows(result))
        click.echo(as_csv(rows, list(rows[0])), nl=False)
    else:
        click.echo(table_text(result))
    return 0


def csv_rows(result: Simulation) -> Iterator[dict[str, Any]]:
    """Yield one row per sampler, scheduler and unit of cost, every number in its own column."""
    for one in result.combinations:
        for unit in UNITS:
            cost = getattr(one, unit)
            if cost is None:
                continue
            row = {
                "space": result.pool.space,
                "target": result.target,
                "sampler": one.sampler,
                "scheduler": one.scheduler,
                "searches": one.searches,
                "trials": result.trials,
                "concurrency": result.concurrency,
                **_prefixed("success", one.success.model_dump()),
                "unit": unit,
            }
            for name in ("median", "restricted_mean", "ert"):
                estimate = getattr(cost, name).model_dump(exclude={"reached"})
                row |= {name: estimate.pop("estimate"), **_prefixed(name, estimate)}
            row |= {f"q{q}": value for q, value in cost.quantiles.items()}
            row |= _prefixed("early_stopping", one.early_stopping.model_dump())
            yield row | _prefixed("nearest", one.nearest.model_dump())


def table_text(result: Simulation) -> str:
    """Return both tables for people, with what the numbers are above and below."""
    pool = result.pool
    shares = ["policy", "success", "95 % limits", "stopped", "wrongly", "nearest"]
    costs = ["policy", "cost in", "median", "95 % limits", "mean", "ERT"]
    lines = [
        f"Validation F1 {result.target:g} within {result.trials} trials,"
        f" {result.concurrency} at once, in space {pool.space}.",
        f"Census: {pool.trials} trials of {pool.configurations} configurations; {pool.matches}"
        f" reach the target, {pool.failed} failed.",
        "",
        as_table([_share_row(one) for one in result.combinations], shares),
        "",
        as_table([row for one in result.combinations for row in _cost_rows(one)], costs),
        "",
        f"wrongly: share of the stopped trials that would have reached {result.target:g}.",
        "Limits are of the census, not of the replays: more searches do not narrow them."
        if result.halves
        else "No limits: see the warnings, or --halves.",
    ]
    return "\n".join(lines)


def _share_row(one: Combination) -> dict[str, Any]:
    return {
        "policy": _policy(one),
        "success": f"{one.success.estimate:.3f}",
        "95 % limits": _limits(one.success.low, one.success.high, "{:.3f}"),
        "stopped": one.early_stopping.stopped,
        "wrongly": _share(one.early_stopping.share),
        "nearest": _share(one.nearest.share),
    }


def _cost_rows(one: Combination) -> Iterator[dict[str, Any]]:
    for unit in UNITS:
        cost = getattr(one, unit)
        if cost is None:
            continue
        yield {
            "policy": _policy(one),
            "cost in": unit.replace("_", "-"),
            "median": _number(cost.median.estimate, "not reached"),
            "95 % limits": _limits(cost.median.low, cost.median.high, "{:.4g}"),
            "mean": _number(cost.restricted_mean.estimate),
            "ERT": _number(cost.ert.estimate),
        }


def _policy(one: Combination) -> str:
    return f"{one.sampler}, {one.scheduler}"


def _limits(low: float | None, high: float | None, form: str) -> str:
    if low is None and high is None:
        return "–"
    return " to ".join("∞" if one is None else form.format(one) for one in (low, high))


def _number(value: float | None, absent: str = "–") -> str:
    return absent if value is None else f"{value:.4g}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _prefixed(name: str, values: dict[str, Any]) -> dict[str, Any]:
    return {name if key == "estimate" else f"{name}_{key}": value for key, value in values.items()}
