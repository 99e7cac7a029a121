"""`tuner show` and `tuner spaces`: what a search space means, and what a run was and found."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import click

from search_spaces.model import UserError, did_you_mean, rule, validated
from search_spaces.space import Space, known_spaces, load_space
from trainables.config import SECTIONS, InjectionConfig, knob_section
from tuner.cli.formatting import as_table, emit, knob_text, plural, range_text
from tuner.cli.options import Command, find_run, format_option, known_runs, runs_option
from tuner.cli.texts import TOLD, summary_text
from tuner.devices import all_kinds
from tuner.record import Record
from tuner.record_read import RecordReader
from tuner.record_rows import TrialRow
from tuner.record_schema import FAILED_STATES, TRIAL_STATES
from tuner.spec import RunSpec, in_effect
from tuner.summary import summary

MOST_BEST, MOST_FAILED, MOST_RUNGS = 5, 10, 12
MOST_EPOCHS = 100_000
"""The most that a run may have: an interval that fits no shorter one is still explained."""


@click.command("spaces", cls=Command)
@format_option("table", "json", "csv")
def spaces_command(format_: str) -> int:
    """List the search spaces that come with the product."""
    rows = []
    for name in known_spaces():
        space = load_space(name)
        rows.append({"space": name, "arm": arm(space), "knobs": ", ".join(space.knobs) or "none"})
        rows[-1]["summary"] = space.summary
    emit(rows, ["space", "arm", "knobs", *(["summary"] if format_ != "table" else [])], format_)
    if format_ == "table":
        click.echo("`tuner show SPACE` explains one.", err=True)
    return 0


@click.command("show", cls=Command)
@click.argument("name")
@runs_option
@click.option("--stopping", is_flag=True,
              help="What early stopping judged in a run, and what it cost.")  # fmt: skip
@click.option("--target", type=click.FloatRange(0, 1), metavar="Y",
              help="With --stopping: validation macro-F1 that counts as reached. Default: 0.01"
              " below the run's best score.")  # fmt: skip
@format_option("table", "json")
def show_command(name: str, runs: Path, stopping: bool, target: float | None, format_: str) -> int:
    """Explain a search space, or what a run was and found.

    NAME is a space, a space's file, a run under --runs, or a run's folder.
    """
    if target is not None and not stopping:
        raise UserError("--target needs --stopping: it says what counts as a false stop.")
    known = [folder.name for folder in known_runs(runs)]
    if not stopping and (name in known_spaces() or name.endswith((".yaml", ".yml"))):
        space = load_space(name)
        check_space(space)
        text = json.dumps(space.model_dump(mode="json"), indent=2)
        click.echo(text if format_ == "json" else space_text(space))
        return 0
    try:
        folder = find_run(runs, name)
    except UserError:
        if stopping:
            raise
        raise UserError(did_you_mean("space or run", name, [*known_spaces(), *known])) from None
    with Record.open(folder) as record:
        if stopping:
            click.echo(stopping_text(record, target, format_))
        elif format_ == "json":
            click.echo(json.dumps(_run_facts(record), indent=2))
        else:
            click.echo(run_text(record))
    return 0


def check_space(space: Space) -> None:
    """Refuse a space that no run accepts, in `tuner run`'s words.

    Raises
    ------
    UserError
        If it cannot be trained for however many epochs, by a network of either kind of block.
    """
    refused = []
    for depth in (18, 50):
        values = {"space": space, "epochs": MOST_EPOCHS, "network": {"depth": depth}}
        try:
            validated(RunSpec, values, "")
        except UserError as error:
            refused.append(error)
        else:
            return
    raise refused[0]


def arm(space: Space) -> str:
    """Return the arm of a space's trials, `dropout` being on if it is a knob."""
    fixed = {
        name: value for name, value in space.fixed.items() if name in InjectionConfig.model_fields
    }
    if "dropout_rate" in space.knobs:
        fixed["dropout_rate"] = 0.5
    return validated(InjectionConfig, fixed, f"space {space.name}").arm


def space_text(space: Space) -> str:
    """Return an explanation of a space for reading."""
    lines = [f"{space.name} ({arm(space)}): {space.summary}"]
    for name, knob in space.knobs.items():
        lines += ["", f"  {name}  {range_text(knob)}", *_wrapped(meaning(name))]
        for other, values in knob.when.items():
            lines += _wrapped(f"Only while {other} is {' or '.join(map(str, values))}.")
        lines += _wrapped(f"Source: {knob.source}")
    if space.fixed:
        lines += ["", f"  fixed  {knob_text(space.fixed)}"]
    return "\n".join(lines)


def meaning(name: str) -> str:
    """Return what a knob is, and all that it may be, from its field's own docstring."""
    section = knob_section(name)
    assert section is not None  # a space with `seed` or `epochs` is refused
    field = SECTIONS[section].model_fields[name]
    text = " ".join((field.description or "").split())
    return f"{text} Allowed: {rule(field.annotation, field.metadata)}."


def run_text(record: RecordReader) -> str:
    """Return what a run was and found, for reading."""
    run = record.run()
    spec = run.spec
    training = in_effect(spec, "training")
    budget = ", ".join(f"{key} {value:g}" for key, value in run.budget.items() if value)
    images = ", ".join(f"{part} {count}" for part, count in run.data["images"].items())
    lines = [
        summary_text(summary(record)),
        "",
        "Specification",
        f"  space    {spec['space']['name']}: {', '.join(spec['space']['knobs']) or 'no knobs'}"
        f" (fixed: {knob_text(spec['space']['fixed'])})",
        f"  data     {spec['data']['source']}: {images}; {run.data['size']} px,"
        f" {len(run.data['classes'])} classes, fingerprint {run.data['fingerprint'][:12]}",
        f"  network  {knob_text(in_effect(spec, 'network'))}",
        f"  trial    {plural(spec['epochs'], 'epoch')},"
        f" {knob_text({name: training[name] for name in TOLD})}",
        f"  search   {spec['sampler']['name']}, {spec['scheduler']['name']}, seed {spec['seed']},"
        f" seeds {spec['seeds']}, budget {budget}",
        f"  digest   {run.digest}",
        f"  command  {' '.join(run.command)}",
        "",
        "Best trials",
    ]
    best = record.leading(MOST_BEST, TRIAL_STATES)
    rows = [_row(trial) | {"knobs": knob_text(trial.knobs)} for trial in best]
    columns = ["trial", "knobs", "seed", "score", "test", "epochs", "state"]
    if len(all_kinds(record.slot_seconds_by_device())) > 1:
        columns.append("device")
    lines.append(_indented(rows, columns))
    stops = record.rungs()
    if stops:
        stopped = sum(row.stop for row in stops)
        lines += ["", f"Early stopping: {len(stops)} judgements, {stopped} stopped a trial;"
                  " --stopping says what it cost."]  # fmt: skip
    failed = record.trials(FAILED_STATES)
    if failed:
        lines += ["", f"Failed trials ({len(failed)})"]
        for trial in failed[:MOST_FAILED]:
            why = trial.error or trial.reason
            lines.append(f"  {trial.number} {knob_text(trial.knobs)} {trial.state}: {why}")
            text = record.folder / "trials" / f"{trial.number:05d}" / "error.txt"
            if text.exists():
                lines.append(f"    {text}")
    return "\n".join(lines)


def stopping_text(record: RecordReader, target: float | None, format_: str) -> str:
    """Return what early stopping did in a run and what it cost, for reading or as JSON."""
    from reports.audit import audit, sentences

    run = record.run()
    spec = validated(RunSpec, run.spec, f"run {run.name}")
    found = audit(run.name, spec, record.trials(), record.rungs(), target)
    if format_ == "json":
        return found.model_dump_json(indent=2)
    lines = [f"Early stopping in run {found.run} ({found.scheduler}):"]
    for line in (*sentences(found), *found.warnings):
        lines += textwrap.wrap(line, 80, initial_indent="  ", subsequent_indent="  ")
    if not found.rungs:
        return "\n".join(lines)
    rows = [
        {
            "rung": f"{one.rung}" + (f" b{one.bracket}" if spec.scheduler.brackets > 1 else ""),
            "judged": one.judgements,
            "stopped": one.stopped,
            "audited": one.audited,
            "false": f"{one.false_stops.reached} of {one.false_stops.known}",
            "95 %": limits_text(one.false_stops.low, one.false_stops.high),
            "rank": "–" if one.rank.spearman is None else f"{one.rank.spearman:.2f}",
            "95 % ": limits_text(one.rank.low, one.rank.high),
            "n": one.rank.n,
        }
        for one in found.rungs[:MOST_RUNGS]
    ]
    lines += ["", as_table(rows, list(rows[0]))]
    left = len(found.rungs) - MOST_RUNGS
    if left > 0:
        lines.append(f"… and {left} further rungs; --format json has all.")
    notes = (
        "false: audited trials that would have been stopped here first, and reached the target"
        " later. rank: Spearman's, of the value at the rung and the final score; audited"
        " trials only, since the others that have one were selected by that value."
    )
    return "\n".join([*lines, "", *textwrap.wrap(notes, 80)])


def limits_text(low: float | None, high: float | None) -> str:
    """Return an interval with two decimals, or a dash."""
    return "–" if low is None or high is None else f"{low:.2f} to {high:.2f}"


def _run_facts(record: RecordReader) -> dict[str, Any]:
    run = record.run()
    return {
        **summary(record),
        "spec": run.spec,
        "budget": run.budget,
        "versions": run.versions,
        "host": run.host,
        "command": run.command,
        "git_revision": run.git_revision,
        "data": run.data,
        "trial_rows": [_row(trial) for trial in record.trials()],
    }


def _row(trial: TrialRow) -> dict[str, Any]:
    return {
        "trial": trial.number,
        "knobs": trial.knobs,
        "seed": trial.seed,
        "score": trial.score,
        "test": trial.test_score,
        "epochs": trial.epochs,
        "state": trial.state,
        "slot_seconds": trial.slot_s,
        "device": trial.device,
        "reason": trial.error or trial.reason,
    }


def _indented(rows: list[dict[str, Any]], columns: list[str]) -> str:
    if not rows:
        return "  none yet"
    return "\n".join("  " + line for line in as_table(rows, columns).splitlines())


def _wrapped(text: str) -> list[str]:
    plain = text.replace("`", "")
    return textwrap.wrap(plain, 78, initial_indent="    ", subsequent_indent="    ")
