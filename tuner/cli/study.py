"""`tuner study`: the whole protocol, from pilot to confirmation, under one frozen file."""

from __future__ import annotations

import json
import sys
import tempfile
import textwrap
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from search_spaces.model import UserError, validated
from tuner.cli.formatting import as_table
from tuner.cli.options import Command, cache_option, format_option, known_runs, runs_option
from tuner.cli.search import (
    absolute,
    flags_given,
    known_images,
    parameter,
    reference,
    spec_options,
)
from tuner.cli.texts import cost_lines, filled
from tuner.devices import all_kinds
from tuner.folders import check_name, writable
from tuner.ray_session import check_before_start, local_cpus
from tuner.spec import FLAGS, merged
from tuner.spec_sections import ResourcesConfig
from tuner.study.spec import FILE, StudySpec, load_study, thawed
from tuner.summary import DONE, FAILED, INTERRUPTED, SOME_FAILED, failures, rounded

if TYPE_CHECKING:
    from tuner.study.plan import StudyPlan

FIELDS = (
    *("data.source", "data.format", "data.size", "data.limit", "data.copies", "data.max_bad"),
    *("network.width", "epochs"),
)
"""What may be said on the command line instead of in the file; all else is the file's to say."""


@click.command("study", cls=Command)
@click.argument("study", metavar="FILE|NAME|FOLDER")
@spec_options(FIELDS)
@spec_options([path for path in FLAGS if path.startswith("resources.")])
@runs_option
@click.option("--name", metavar="NAME", help="Name of the study's folder. Default: the file's.")
@cache_option
@click.option("--dry-run", is_flag=True, help="Say what would be done, what it would cost and"
              " what it could show, and write nothing.")  # fmt: skip
@format_option("table", "json")
@click.pass_context
def study_command(ctx: click.Context, /, study: str, runs: Path, **options: Any) -> int:
    """Carry out a study: pilot, census, searches and confirmation.

    FILE is a YAML file (docs/study.md), NAME one that comes with the product: quick (minutes on a
    CPU, a demonstration), standard (100 periodic and 20 dynamic trials) or thorough. What it says
    is frozen in --runs/NAME, with its digest, before the first trial. The same command, or the
    FOLDER, goes on with a study that was interrupted; `tuner report FOLDER` gives its answer.
    """
    from tuner.study import conduct
    from tuner.study.shown import Shown

    spec, folder = _found(study, runs, options)
    planned = conduct.check(spec, folder.name)
    if options["dry_run"]:
        from tuner.study.plan import study_plan

        conduct.is_frozen(spec, folder)
        check_before_start(spec.resources)
        plan = study_plan(
            spec, planned, folder, options["cache"], Path(tempfile.gettempdir()),
            known_runs(runs, folder), known_images(spec.data, options["cache"]),
        )  # fmt: skip
        values = {**plan._asdict(), "rows": [row._asdict() for row in plan.rows]}
        as_json = options["format_"] == "json"
        click.echo(json.dumps(values, indent=2) if as_json else plan_text(plan))
        return 0
    try:
        with redirect_stdout(sys.stderr):  # where Ray, too, prints
            conduct.conduct(
                spec, folder, cache=options["cache"], command=ctx.find_root().obj,
                follow=Shown().follow, jobs=local_cpus(),
            )  # fmt: skip
    except conduct.UnfinishedError as error:
        click.echo(f"{error} Go on with: tuner study {reference(folder, runs)}", err=True)
        return INTERRUPTED if error.state == "interrupted" else FAILED
    summed = study_summary(folder)
    if options["format_"] == "json":
        click.echo(json.dumps(summed, indent=2))
    else:
        click.echo(summary_text(summed, reference(folder, runs)))
    return SOME_FAILED if failures(summed) else DONE


def _found(study: str, runs: Path, options: dict[str, Any]) -> tuple[StudySpec, Path]:
    """Return the study and its folder: one that was begun, or a file's or a name's."""
    flags = flags_given(options)
    for folder in (Path(study), runs / study):
        if not (folder / FILE).is_file():
            continue
        spec = thawed(folder)
        for flag in ("--name", *(FLAGS[path] for path in FIELDS if path != "data.source")):
            if options[parameter(flag)] is not None:
                raise UserError(f"{flag} is frozen in {folder / FILE}; leave it out.")
        resources = {**spec.resources.model_dump(), **flags.get("resources", {})}
        data = merged({"source": spec.data.source}, flags.get("data", {}))
        changes = {
            "data": spec.data.model_copy(update=data),
            "resources": validated(ResourcesConfig, resources, "command line"),
        }
        changed = spec.model_copy(update=changes)
        if changed.digest != spec.digest:
            raise UserError(
                f"--data must name {Path(spec.data.source).name}, wherever it lies now, but got"
                f" {data['source']} ({folder / FILE})."
            )
        return changed, folder.absolute()
    spec = load_study(study, flags)
    here = spec.data.model_copy(update={"source": absolute(spec.data.source)})
    name = check_name(options["name"] or Path(study).stem)
    return spec.model_copy(update={"data": here}), writable(runs) / name


def study_summary(folder: Path) -> dict[str, Any]:
    """Return what a study has done, as plain JSON values."""
    from tuner.record import Record

    parts = []
    held: dict[str, float] = {}
    for run in known_runs(folder):
        with Record.open(run) as record:
            parts.append((record.run(), record.totals()))
            for device, seconds in record.slot_seconds_by_device().items():
                held[device] = held.get(device, 0.0) + seconds
    mixed = len(all_kinds(held)) > 1
    trials: dict[str, int] = {}
    for _, totals in parts:
        for state, count in totals.trials.items():
            if count:
                trials[state] = trials.get(state, 0) + count
    return {
        "study": folder.name,
        "folder": str(folder),
        "digest": thawed(folder).digest,
        "runs": {run.name: run.state for run, _ in parts},
        "trials": trials,
        "cost": {
            "epochs": sum(totals.epochs for _, totals in parts),
            "slot_seconds": None if mixed else round(sum(held.values()), 3),
            **({"slot_seconds_by_device": rounded(held)} if mixed else {}),
            "wall_seconds": round(sum(totals.active_s for _, totals in parts), 3),
        },
    }


def summary_text(summed: dict[str, Any], name: str) -> str:
    """Return a study's summary for reading; `name` is what it is called on the command line."""
    cost = summed["cost"]
    states = ", ".join(f"{count} {state}" for state, count in summed["trials"].items())
    return "\n".join(
        [
            f"Study {summed['study']} finished: {len(summed['runs'])} runs.",
            f"  digest  {summed['digest']}",
            f"  trials  {states}",
            *cost_lines(cost),
            f"  folder  {summed['folder']}",
            "Next:",
            f"  tuner report {name} -o report.html   the answer, and all behind it",
            f"  tuner compare {name}   the answer alone",
        ]
    )


def plan_text(plan: StudyPlan) -> str:
    """Return a study's plan for reading, in 80 columns but for long paths."""
    rows = [
        {
            "stage": row.stage,
            "space": row.space,
            "runs": row.runs,
            "trials": row.trials,
            "epochs": round(row.epochs),
            "slot-hours": "?" if row.slot_hours is None else f"{row.slot_hours:.3g}",
        }
        for row in plan.rows
    ]
    power = [
        {
            "true savings": f"{one['ratio']:g}×",
            "found with chance": f"{one['power']:.1%}",
            "interval then": f"{one['low']:.2f} to "
            + ("∞" if one["high"] is None else f"{one['high']:.2f}"),
            "no match at all": f"{one['no_hits']:.1%}",
        }
        for one in plan.power
    ]
    hours = "" if plan.slot_hours is None else f"about {plan.slot_hours:.3g} slot-hours; "
    n = "not with any" if plan.detectable is None else f"from {plan.detectable:.2g}× on"
    least = plan.never_matched
    sd = (
        ""
        if plan.confirm_sd is None
        else "The comparison on test finds truly equal sides not inferior with chance 80 % if test"
        f" scores vary by a standard deviation of at most {plan.confirm_sd:.3f}."
    )
    lines = [
        f"Study {plan.study}: {plan.title}. Nothing has been written.",
        *filled("digest", plan.digest),
        *filled(
            "trials",
            f"{plan.trials} at most, about {plan.epochs:,.0f} epochs ({plan.epochs_most:,.0f} if no"
            " search stops a trial)",
        ),
        *filled("cost", hours + plan.cost_from),
        *filled("folder", plan.folder),
        *(line for warning in plan.warnings for line in filled("warning", warning)),
        "",
        as_table(rows, list(rows[0])),
        "",
        f"What it can show ({plan.design}), if the target is dynamic's median:",
        "",
        as_table(power, list(power[0])),
        "",
        *textwrap.wrap(
            f"True savings are found with chance 80 % {n}. If no periodic trial matches, an"
            f" even chance takes at least {least['median_trials']:.3g} trials, and a match"
            f" {least['expected_trials']:.3g} on average. {sd}",
            80,
        ),
    ]
    return "\n".join(lines)
