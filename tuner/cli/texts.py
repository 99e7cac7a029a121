"""A plan and a summary as text to read; the JSON forms say the same."""

from __future__ import annotations

import textwrap
from typing import Any

from tuner.cli.formatting import duration, knob_text, plural, score_text
from tuner.plan import UNKNOWN_COST, Plan
from tuner.summary import next_steps

TOLD = ("optimizer", "lr", "batch_size")
"""Of a trial's training, what a plan says."""
SHORT_RUN = "the same command with --trials {} --epochs 2 tells"
NOT_INJECTED = {
    "periodic": "nothing had been injected by then: the plain network",
    "periodic+dropout": "nothing had been injected by then: dropout alone",
    "dynamic": "no sign had flipped by then: CliffReLU alone",
    "dynamic+dropout": "no sign had flipped by then: CliffReLU and dropout alone",
}
"""By arm: what a score owes to, of an epoch before any injection."""


def summary_text(summed: dict[str, Any]) -> str:
    """Return a run's summary for reading."""
    states = ", ".join(f"{count} {state}" for state, count in summed["trials"].items())
    why = "" if summed["reason"] in (None, summed["state"]) else f": {summed['reason']}"
    lines = [f"Run {summed['run']} {summed['state']}{why}."]
    best, cost = summed["best"], summed["cost"]
    if best is None:
        lines.append("  best    no trial has a score yet")
    else:
        knobs = knob_text(best["config"]) or "nothing varied but the seed"
        lines += [
            f"  best    {knobs} (trial {best['trial']})",
            f"  score   {score_text(best['score'])} validation macro-F1, epoch {best['epoch']}",
            f"  test    {score_text(best['test_score'])} macro-F1 at the same epoch",
        ]
        if not best["injected_before"] and best["arm"] not in ("baseline", "dropout"):
            lines.append(f"  note    {NOT_INJECTED[best['arm']]} scored this")
    lines += [
        f"  trials  {states or 'none'}",
        *cost_lines(cost),
        *_saved_lines(cost),
        f"  folder  {summed['folder']}",
    ]
    return "\n".join(lines)


def cost_lines(cost: dict[str, Any]) -> list[str]:
    """Return what a run or a study has spent; slot time of several kinds of device by kind."""
    wall = f"{duration(cost['wall_seconds'])} of wall time"
    epochs = plural(cost["epochs"], "epoch")
    if cost["slot_seconds"] is not None:
        slots = f"{duration(cost['slot_seconds'])} of slot time"
        return [f"  cost    {epochs}, {slots}, {wall}"]
    held = cost["slot_seconds_by_device"].items()
    return [
        f"  cost    {epochs}, {wall}; slot time of several kinds of device:",
        *(f"          {duration(seconds)} on {device}" for device, seconds in held),
    ]


def _saved_lines(cost: dict[str, Any]) -> list[str]:
    """Return what sharing saved, if anything."""
    saved, alone = cost["stand_alone_epochs"] - cost["epochs"], cost["stand_alone_epochs"]
    if not saved:
        return []
    told = f"  shared  {saved} of {alone} epochs ({saved / alone:.0%}) came from other trials"
    if cost["slot_seconds"] is None:
        return [told]
    seconds = cost["stand_alone_slot_seconds"] - cost["slot_seconds"]
    return [f"{told}; that saved {duration(seconds)}"]


def next_text(summed: dict[str, Any], name: str) -> str:
    """Return what to do next with a run that is called `name` here."""
    steps = next_steps(summed, name)
    width = max(len(command) for command, _ in steps)
    if width + max(len(why) for _, why in steps) > 76:  # a long path: one above the other
        return "\n".join(["Next:", *(f"  {why}:\n    {command}" for command, why in steps)])
    return "\n".join(["Next:", *(f"  {command:{width}}  {why}" for command, why in steps)])


def plan_text(planned: Plan) -> str:
    """Return a plan for reading, in 80 columns but for long paths."""
    limits = ", ".join(
        f"{value:g} {name.replace('_', '-')}" for name, value in planned.limits.items()
    )
    rungs = ", ".join(map(str, planned.rungs)) or "none"
    if len(planned.rungs) > 8:
        rungs = f"every epoch from {planned.rungs[0]} to {planned.rungs[-1]}"
    late = (
        f"; {planned.never_judged:.0%} of configurations inject too late to be judged"
        if planned.rungs and planned.never_judged
        else ""
    )
    if planned.trials is None or planned.epochs_expected is None:
        trials = "as many as the budget allows"
        epochs = f"about {planned.epochs_a_trial:g} a trial"
    else:
        trials = str(planned.trials)
        epochs = (
            f"about {planned.epochs_expected:.0f}: {planned.epochs_least:.0f} if every trial stops"
            f" at its first rung, {planned.epochs_most:.0f} if none stops"
        )
        if (
            planned.epochs_computed is not None
            and planned.epochs_computed < planned.epochs_expected
        ):
            epochs += (
                f"; trials share what they have in common, so that about"
                f" {planned.epochs_computed:.0f} are computed"
            )
    seconds = planned.slot_seconds_expected
    cost = "" if seconds is None else f"about {duration(seconds)} of slot time; "
    lines = [
        f"Plan: {planned.space} ({', '.join(planned.arms)}). Nothing has been written.",
        *filled("varies", _varies_text(planned)),
        *filled("search", ", ".join(f"{name} {told}" for name, told in planned.search.items())),
        *filled("data", _data_text(planned.data)),
        *filled("network", knob_text(planned.network)),
        *filled("training", knob_text({name: planned.training[name] for name in TOLD})),
        *filled("trials", f"{trials}, of at most {plural(planned.epochs_per_trial, 'epoch')}"),
        *filled("budget", limits),
        *filled("rungs", f"{rungs} ({planned.scheduler}){late}"),
        *(filled("brackets", _brackets_text(planned)) if planned.brackets else []),
        *filled("epochs", epochs),
        *filled(
            "cost",
            cost + (planned.cost_from or f"{UNKNOWN_COST}; {SHORT_RUN.format(planned.seeds_each)}"),
        ),
    ]
    for warning in planned.warnings:
        lines += filled("warning", warning)
    lines += [
        f"  {'run':9}{planned.writes['run']}",
        f"  {'cache':9}{planned.writes['packed_data']}",
    ]
    return "\n".join([*lines, f"  {'ray':9}{planned.writes['ray_temporary']} (removed at the end)"])


def _varies_text(planned: Plan) -> str:
    knobs = "; ".join(f"{name}: {told}" for name, told in planned.varies.items())
    return knobs or "nothing but the seed"


def _data_text(data: dict[str, Any]) -> str:
    parts = [str(data["source"])]
    if data["train_images"] is not None:
        parts.append(f"{data['train_images']:,} training images")
    if data["limit"] is not None:
        parts.append(f"at most {data['limit']:,} images a split")
    if not data["read"]:
        parts.append("not read yet: `tuner data` checks what is in it")
    return ", ".join(parts)


def _brackets_text(planned: Plan) -> str:
    return "; ".join(
        f"{index} ({one['share']:.0%} of trials) "
        + (f"from epoch {one['rungs'][0]}" if one["rungs"] else "stops nobody")
        for index, one in enumerate(planned.brackets)
    )


def filled(name: str, text: str) -> list[str]:
    """Return a name and a text in lines of at most 80 columns."""
    return textwrap.wrap(text, 80, initial_indent=f"  {name:9}", subsequent_indent=" " * 11)
