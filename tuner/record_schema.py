"""The tables of a run's record: every column with its kind, unit and meaning.

The same description makes the database, decodes its rows and writes `docs/record.md`
(`python -m tuner.record_schema > docs/record.md`), so that the three cannot drift apart.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

SCHEMA_VERSION = 1
"""Written as `PRAGMA user_version`; a higher one comes from a newer tuner and is refused."""
APPLICATION_ID = 0x74756E72
"""Written as `PRAGMA application_id`: "tunr"."""

RUN_STATES = ("running", "finished", "interrupted", "failed")
CONFIG_STATES = ("asked", "completed", "pruned", "failed")
TRIAL_STATES = ("waiting", "running", "completed", "pruned", "diverged", "crashed", "stopped")
OPEN_STATES = ("waiting", "running")
END_STATES = TRIAL_STATES[2:]
FAILED_STATES = ("diverged", "crashed")
"""Their scores do not count: the measurement protocol lets failures match nothing."""
SCORED_STATES = tuple(state for state in TRIAL_STATES if state not in FAILED_STATES)

SQL_TYPES = {
    "INTEGER": "INTEGER",
    "REAL": "REAL",
    "TEXT": "TEXT",
    "JSON": "TEXT",
    "BOOL": "INTEGER",
}


class Column(NamedTuple):
    """One column; `kind` is a key of `SQL_TYPES`, a trailing `?` allows NULL."""

    name: str
    kind: str
    meaning: str

    @property
    def optional(self) -> bool:
        """Whether NULL is allowed."""
        return self.kind.endswith("?")

    @property
    def base_kind(self) -> str:
        """`kind` without the mark for NULL."""
        return self.kind.rstrip("?")

    @property
    def sql(self) -> str:
        """The column's declaration."""
        rule = "" if self.optional else " NOT NULL"
        return f"{self.name} {SQL_TYPES[self.base_kind]}{rule}"


class Table(NamedTuple):
    """One table: what a row is, its columns, and its constraints in SQL."""

    meaning: str
    columns: tuple[Column, ...]
    constraints: tuple[str, ...]


def _one_of(states: tuple[str, ...]) -> str:
    return f"CHECK (state IN ({', '.join(repr(state) for state in states)}))"


TABLES: dict[str, Table] = {
    "run": Table(
        "The one search that this file records.",
        (
            Column("id", "INTEGER", "Always 1."),
            Column("name", "TEXT", "The run's name, unique among the runs of a folder."),
            Column("spec", "JSON", "The specification as it was planned (`RunSpec`)."),
            Column("digest", "TEXT", "SHA-256 of all of the specification that decides results."),
            Column("state", "TEXT", f"{', '.join(RUN_STATES)}."),
            Column("reason", "TEXT?", "Why it is in that state, as one sentence."),
            Column("created_at", "REAL", "When it was created, Unix seconds (UTC)."),
            Column("versions", "JSON", "Package name → version."),
            Column("host", "JSON", "The machine: name, system, processor, GPUs."),
            Column("command", "JSON", "The command line, as a list."),
            Column("git_revision", "TEXT?", "Commit of the working tree, where there is one."),
            Column(
                "data",
                "JSON",
                "The data set: fingerprint, classes, number of images, how many of them are"
                " training images, too, source.",
            ),
            Column("budget", "JSON", "What may be spent (`BudgetConfig`); may be raised later."),
            Column("active_s", "REAL", "Seconds during which a driver ran it, over all resumes."),
        ),
        ("PRIMARY KEY (id)", "CHECK (id = 1)", _one_of(RUN_STATES)),
    ),
    "config": Table(
        "A configuration that the sampler proposed.",
        (
            Column("number", "INTEGER", "From 0, in the order of asking; also its Optuna number."),
            Column("knobs", "JSON", "Knob name → value."),
            Column("state", "TEXT", f"What the sampler was told: {', '.join(CONFIG_STATES)}."),
            Column("value", "REAL?", "The score that the sampler was told."),
            Column("optuna_attrs", "JSON", "Attributes of the Optuna trial."),
            Column("study_attrs", "JSON", "Attributes of the Optuna study when it was asked."),
            Column("asked_at", "REAL", "When it was proposed, Unix seconds."),
        ),
        ("PRIMARY KEY (number)", _one_of(CONFIG_STATES)),
    ),
    "trial": Table(
        "One configuration and one seed, trained.",
        (
            Column("number", "INTEGER", "config × seeds per configuration + index of the seed."),
            Column("config", "INTEGER", "Its configuration."),
            Column("seed", "INTEGER", "Seeds weights, data order, augmentation and dropout."),
            Column("arm", "TEXT", "baseline, dropout, periodic, periodic+dropout, dynamic, …"),
            Column("knobs", "JSON", "Knob name → value."),
            Column("trial_config", "JSON", "Every setting of the training (`TrialConfig`)."),
            Column("audited", "BOOL", "Exempt from early stopping, to estimate what it costs."),
            Column("first_judged_epoch", "INTEGER", "First epoch that early stopping may judge."),
            Column("state", "TEXT", f"{', '.join(TRIAL_STATES)}."),
            Column("reason", "TEXT?", "Why it is in that state, as one sentence."),
            Column("error", "TEXT?", "The traceback of the crash that ended it."),
            Column("attempts", "INTEGER", "How often it was started or continued."),
            Column("device", "TEXT?", "What trained it; several kinds are joined by ` + `."),
            Column("worker", "TEXT?", "Which worker ran its last attempt."),
            Column("created_at", "REAL", "When it was planned, Unix seconds."),
            Column("started_at", "REAL?", "When its first attempt began, Unix seconds."),
            Column("ended_at", "REAL?", "When it ended, Unix seconds."),
            Column("stand_alone_epochs", "INTEGER", "Epochs of its own training, shared or not."),
            Column("as_run_epochs", "INTEGER", "Epochs that were computed for it in this run."),
            Column("slot_s", "REAL", "Slot-seconds: seconds × fraction held, over all attempts."),
            Column(
                "saved_slot_s",
                "REAL",
                "Slot-seconds that sharing saved: what the shared epochs took where they were"
                " computed, less the time waited for them; with slot_s the stand-alone cost.",
            ),
            Column(
                "sharing", "TEXT?", "shared, or shared, not bit-reproducible; NULL: nothing was."
            ),
            Column("train_s", "REAL", "Seconds of training, summed over its epochs."),
            Column("eval_s", "REAL", "Seconds of evaluation, summed over its epochs."),
            Column("rung", "INTEGER?", "Epoch of the last rung it entered."),
            Column("best_epoch", "INTEGER?", "First epoch with the best validation macro-F1."),
            Column("score", "REAL?", "Best validation macro-F1, 0 to 1."),
            Column("test_score", "REAL?", "Test macro-F1 of the best epoch, 0 to 1."),
        ),
        (
            "PRIMARY KEY (number)",
            "FOREIGN KEY (config) REFERENCES config (number)",
            _one_of(TRIAL_STATES),
        ),
    ),
    "epoch": Table(
        "The metrics of one epoch of a trial.",
        (
            Column("trial", "INTEGER", "Its trial."),
            Column("epoch", "INTEGER", "From 1, without gaps."),
            Column("train_loss", "REAL?", "Mean training loss; NULL where it diverged."),
            Column("train_accuracy", "REAL?", "Share of training images classified correctly."),
            Column("val_loss", "REAL?", "Mean validation loss."),
            Column("val_f1", "REAL", "Validation macro-F1, 0 to 1; 0 where it diverged."),
            Column("val_accuracy", "REAL?", "Share of validation images classified correctly."),
            Column("test_f1", "REAL?", "Test macro-F1; only where val_f1 improved."),
            Column("best_val_f1", "REAL?", "Best val_f1 up to here."),
            Column("best_epoch", "INTEGER?", "First epoch with that best."),
            Column("best_test_f1", "REAL?", "Test macro-F1 of that epoch."),
            Column("lr", "REAL?", "Learning rate."),
            Column("update_norm", "REAL?", "L2 norm of the weights' change over the epoch."),
            Column("weight_norm", "REAL?", "L2 norm of the weights after the epoch."),
            Column("injected_share", "REAL?", "Share of unit × steps that were injected, 0 to 1."),
            Column("units", "JSON?", "Per injected unit: w, sign, share injecting, floor hits."),
            Column("diverged", "BOOL", "Whether the trial diverged in this epoch."),
            Column("reason", "TEXT?", "Why it counts as diverged."),
            Column("shared", "BOOL", "Whether it was taken over from another trial's training."),
            Column("train_s", "REAL?", "Seconds of training."),
            Column("eval_s", "REAL?", "Seconds of evaluation."),
            Column("images_per_s", "REAL?", "Training images per second."),
        ),
        ("PRIMARY KEY (trial, epoch)", "FOREIGN KEY (trial) REFERENCES trial (number)"),
    ),
    "rung": Table(
        "One judgement of early stopping, in the order in which trials arrived.",
        (
            Column("id", "INTEGER", "From 1, in order of arrival."),
            Column("trial", "INTEGER", "The trial that was judged."),
            Column("rung_epoch", "INTEGER", "The epoch of the rung."),
            Column("value", "REAL", "Its best validation macro-F1 up to that epoch."),
            Column("cutoff", "REAL?", "The value to reach; NULL where there were too few others."),
            Column("rank", "INTEGER", "Its place among the entries so far, 1 is best."),
            Column("entries", "INTEGER", "Trials in this rung so far, with it."),
            Column("tied", "INTEGER", "Earlier entries with exactly its value."),
            Column("stop", "BOOL", "Whether it was stopped."),
            Column("would_stop", "BOOL", "Whether it would have been, had it not been audited."),
            Column("at", "REAL", "When, Unix seconds."),
        ),
        (
            "PRIMARY KEY (id)",
            "UNIQUE (trial, rung_epoch)",
            "FOREIGN KEY (trial) REFERENCES trial (number)",
        ),
    ),
    "event": Table(
        "What happened when.",
        (
            Column("id", "INTEGER", "From 1, in order."),
            Column("at", "REAL", "When, Unix seconds."),
            Column("kind", "TEXT", "start, resume, ask, retry, prune, crash, budget, end, …"),
            Column("message", "TEXT", "One sentence."),
            Column("trial", "INTEGER?", "The trial it concerns."),
            Column("data", "JSON?", "Details for programs."),
        ),
        ("PRIMARY KEY (id)", "FOREIGN KEY (trial) REFERENCES trial (number)"),
    ),
}


def columns_of(table: str) -> tuple[str, ...]:
    """Return the names of a table's columns, in order."""
    return tuple(column.name for column in TABLES[table].columns)


def create_statements() -> list[str]:
    """Return the SQL that makes all tables; meanings travel along as comments."""
    statements = []
    for name, table in TABLES.items():
        lines = [f"  {column.sql}, -- {column.meaning}" for column in table.columns]
        rules = ",\n".join(f"  {rule}" for rule in table.constraints)
        statements.append("\n".join([f"CREATE TABLE {name} (", *lines, f"{rules}\n)"]))
    return statements


INTRODUCTION = """\
# The record of a run

*Generated by `python -m tuner.record_schema`; a test fails when it differs from the code.*

`RUN/record.db` is one SQLite file, and all that is known about a run. The driver is its only
writer, and holds `RUN/record.lock` while it lives. Anyone may read it at any time, also while the
run goes on, with `tuner` or with any SQLite program:

    sqlite3 -readonly record.db "SELECT number, state, score FROM trial ORDER BY score DESC"

- **Durable.** Every change is one transaction in write-ahead-log mode. What was recorded survives
  the killing of the process. A loss of power leaves what was recorded up to some moment, whole:
  a commit waits for the disk unless one did within the last second. `record.db-wal` and
  `record.db-shm` belong to the record while they exist: copy the three together.
- **One machine.** Write-ahead logging needs shared memory: the driver and live readers must run on
  the machine that has the file. Readers elsewhere read a copy, or ask the driver's machine.
- **Versioned.** `PRAGMA user_version` is {version}; `PRAGMA application_id` is {application}. A
  newer version is refused in one line.
- **Kinds.** INTEGER, REAL (64-bit, exact), TEXT, JSON (text), BOOL (0 or 1). A `?` marks columns
  that may be NULL: not known, or not applicable. There is no NaN and no infinity. Times are
  seconds since 1970-01-01 UTC; durations are seconds.

The best trial is the one with the highest score, the lowest number where scores are equal. Trials
that are still running count with what they have reached; crashed and diverged ones do not count,
as in the measurement protocol.
"""


def document() -> str:
    """Return `docs/record.md`."""
    parts = [INTRODUCTION.format(version=SCHEMA_VERSION, application=APPLICATION_ID)]
    for name, table in TABLES.items():
        rows = [f"| `{c.name}` | {c.kind} | {c.meaning} |" for c in table.columns]
        rules = "\n".join(f"    {rule}" for rule in table.constraints)
        head = f"## {name}\n\n{table.meaning}\n\n| column | kind | meaning |\n|---|---|---|\n"
        parts.append(head + "\n".join(rows) + f"\n\n{rules}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(document())
