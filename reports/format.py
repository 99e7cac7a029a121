"""The answer as text: a table for people, JSON for programs, Markdown and LaTeX for papers.

All forms are made from the same sections, so that their numbers cannot disagree.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from reports.contract import Answer, ArmAnswer, Cost, Saving, ToMatch
from reports.markup import latex, latex_table, markdown, markdown_table
from reports.words import limits_text, number, percent

WIDTH = 80
BESIDE = "To be said beside it"
"""Heading of the warnings."""
FORMATS = ("table", "json", "markdown", "latex")


class Section(NamedTuple):
    """One table: a heading, names of columns, and rows of text."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    notes: list[str]


def formatted(answer: Answer, format: str, confidence: float = 0.95) -> str:
    """Return the answer as text that ends with a newline.

    Parameters
    ----------
    answer : Answer
    format : str
        One of `FORMATS`.
    confidence : float, default 0.95
        What the answer was computed with, for the headings.
    """
    if format == "json":
        values = answer.model_dump(mode="json")
        return json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    parts = sections(answer, confidence)
    write = {"table": _text, "markdown": _markdown, "latex": _latex}[format]
    return write(answer, parts)


def sections(answer: Answer, confidence: float) -> list[Section]:
    """Return the answer as tables of text."""
    level = percent(confidence)
    arms = (answer.arms.periodic, answer.arms.dynamic)
    # Where trials were stopped, an estimate is the end that favours dynamic least.
    most = ["≤ " * bool(arms[0].stopped), "≥ " * bool(arms[1].stopped)]
    least = ["≥ " * bool(arms[0].stopped), "≤ " * bool(arms[1].stopped)]

    def costs_of(found: Sequence[Cost | ToMatch | None]) -> Iterator[str]:
        return (_cost(one, mark) for one, mark in zip(found, least, strict=True))

    to_match = [arm.trials_to_match for arm in arms]
    rows = [
        ("trials", *(str(arm.trials) for arm in arms)),
        ("matched", *(str(arm.hits) for arm in arms)),
        ("crashed or diverged", *(str(arm.crashed) for arm in arms)),
        ("stopped before a match", *(str(arm.stopped) for arm in arms)),
        ("hit probability", *(_share(arm, mark) for arm, mark in zip(arms, most, strict=True))),
        ("trials, even chance", *costs_of([one.median for one in to_match])),
        ("in whole trials", *(_whole(arm.trials_to_match.median) for arm in arms)),
        ("trials, 90 % chance", *costs_of([one.p90 for one in to_match])),
        ("in whole trials", *(_whole(arm.trials_to_match.p90) for arm in arms)),
        ("trials, on average", *costs_of([one.mean for one in to_match])),
    ]
    for label, name in (("epochs per match", "epochs"), ("slot-s per match", "slot_seconds")):
        costs = [getattr(arm.cost_per_match, name) for arm in arms]
        if any(costs):
            rows.append((label, *costs_of(costs)))
    found = [
        Section(f"Arms (estimate, {level} interval)", ("", "periodic", "dynamic"), rows, []),
        _savings(answer, level),
        _checks(answer, level),
    ]
    return [section for section in found if section.rows]


def _savings(answer: Answer, level: str) -> Section:
    rows: list[tuple[str, ...]] = []
    notes: list[str] = []
    labels = {
        "trials": "expected trials (primary)",
        "equal_success": "trials, equal success",
        "epochs": "epochs per match",
        "slot_seconds": "slot-seconds per match",
    }
    for name, label in labels.items():
        saving: Saving | None = getattr(answer.savings, name)
        if saving is None:
            continue
        methods = [note.split(" ", 1)[1] for note in notes]
        if saving.method not in methods:
            methods.append(saving.method)
            notes.append(f"[{len(methods)}] {saving.method}")
        mark = f"[{methods.index(saving.method) + 1}]"
        rows.append((label, ratio_text(answer, saving), limits_text(saving.low, saving.high), mark))
    notes.append("All but the primary ratio are exploratory.")
    title = "Savings: periodic / dynamic, above 1 dynamic needs less"
    return Section(title, ("", "ratio", f"{level} interval", "method"), rows, notes)


def _checks(answer: Answer, level: str) -> Section:
    beats = answer.random_periodic_beats_default
    chance = f"{_or_none(beats.probability)} ({limits_text(beats.low, beats.high)})"
    rows: list[tuple[str, ...]] = [("one random periodic trial beats dynamic", chance)]
    same = answer.equivalence
    if same is not None:
        rows.append(("test score, dynamic − tuned periodic", f"{same.difference:+.4g}"))
        if same.margin is not None and same.non_inferior_p is not None:
            worse = f"dynamic worse by {number(same.margin)} or more: p"
            rows.append((worse, number(same.non_inferior_p)))
            rows.append(("either differs by as much: p", number(same.two_sided_p or 0.0)))
    tasks = answer.hidden_knob.break_even_tasks
    rows.append(("tasks until dynamic's default pays", _or_none(tasks)))
    notes = ["The default is taken to have cost as many trials as tuning periodic."]
    return Section(f"Beside it ({level} interval)", ("", ""), rows, notes)


def ratio_text(answer: Answer, saving: Saving) -> str:
    """Return a ratio; where trials were stopped it is the least that they allow."""
    if saving.ratio is None:
        return "–"
    return "≥ " * (answer.stopped_bounds is not None) + number(saving.ratio)


def _share(arm: ArmAnswer, mark: str) -> str:
    found = arm.hit_probability
    if found.estimate is None:
        return f"– ({limits_text(found.low, found.high)})"
    return f"{mark}{number(found.estimate)} ({limits_text(found.low, found.high)})"


def _whole(found: ToMatch) -> str:
    """Return the trials to plan for: nobody runs 0.4 or 0 of them."""
    return "–" if found.ceiling is None else f"{found.ceiling:,}"


def _cost(found: Cost | ToMatch | None, mark: str) -> str:
    if found is None:
        return "not known"
    if found.estimate is None:
        return f"not reached (≥ {_or_none(found.low)})"
    return f"{mark}{number(found.estimate)} ({limits_text(found.low, found.high)})"


def _or_none(value: float | None) -> str:
    return "–" if value is None else number(value)


def _target(answer: Answer) -> str:
    value = answer.target.value
    goal = "none" if value is None else f"score ≥ {number(value)}"
    return f"Target: {goal} ({answer.target.source})."


def _text(answer: Answer, parts: Sequence[Section]) -> str:
    lines = [*textwrap.wrap(answer.claim, WIDTH), "", *textwrap.wrap(_target(answer), WIDTH)]
    for part in parts:
        lines += ["", part.title]
        table = [part.columns, *part.rows] if any(part.columns) else part.rows
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        for row in table:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            lines.append("  " + "  ".join(cells).rstrip())
        for note in part.notes:
            lines += textwrap.wrap(note, WIDTH, initial_indent="  ", subsequent_indent="      ")
    if answer.warnings:
        lines += ["", BESIDE]
        for warning in answer.warnings:
            lines += textwrap.wrap(warning, WIDTH, initial_indent="- ", subsequent_indent="  ")
    return "\n".join(lines) + "\n"


def _markdown(answer: Answer, parts: Sequence[Section]) -> str:
    lines = [f"**{markdown(answer.claim)}**", "", markdown(_target(answer))]
    for part in parts:
        lines += ["", f"### {markdown(part.title)}", ""]
        lines += markdown_table(part.columns, part.rows)
        if part.notes:
            lines += ["", *(markdown(note) + "  " for note in part.notes)]
    if answer.warnings:
        lines += [
            "",
            f"### {BESIDE}",
            "",
            *(f"- {markdown(warning)}" for warning in answer.warnings),
        ]
    return "\n".join(lines) + "\n"


def _latex(answer: Answer, parts: Sequence[Section]) -> str:
    """Return tables for LaTeX with the package booktabs."""
    lines = ["% needs \\usepackage{booktabs}", latex(answer.claim), "", latex(_target(answer))]
    for part in parts:
        lines += ["", r"\begin{table}", rf"\caption{{{latex(part.title)}}}"]
        lines += latex_table(part.columns, part.rows)
        lines += [rf"\par {latex(note)}" for note in part.notes]
        lines.append(r"\end{table}")
    if answer.warnings:
        lines += ["", rf"\paragraph{{{BESIDE}}}", r"\begin{itemize}"]
        lines += [rf"\item {latex(warning)}" for warning in answer.warnings]
        lines.append(r"\end{itemize}")
    return "\n".join(lines) + "\n"
