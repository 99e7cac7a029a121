"""Train one trial without Ray: `python -m trainables --epochs 5 --method periodic --T 2`.

What a trial does under the tuner, alone, to test, profile and debug it. The result goes to stdout,
progress and notices to stderr.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from search_spaces.model import UserError, validated
from search_spaces.yaml_file import parse_yaml
from trainables.config import DataConfig, TrialConfig, with_knobs
from trainables.data.cache import default_cache

if TYPE_CHECKING:  # torch, which --help does without
    from trainables.rows import EpochRow
    from trainables.train import Trial


def assignments(items: tuple[str, ...], flag: str) -> dict[str, Any]:
    """Return the fields that `name=value` arguments set, the values read as YAML.

    >>> assignments(("lr=1e-3", "stages=[3, 4]", "stem=small"), "--set")
    {'lr': 0.001, 'stages': [3, 4], 'stem': 'small'}

    Raises
    ------
    UserError
        If one is of another form or its value is not YAML.
    """
    values = {}
    for item in items:
        name, equals, text = item.partition("=")
        if not equals or not name:
            raise UserError(f"{flag} must be of the form name=value, but got {item!r}.")
        values[name] = parse_yaml(f"value: {text}", f"{flag} {item}")["value"]
    return values


class OneLine(click.Command):
    """A command that tells every mistake in one line on stderr."""

    def main(self, *arguments: Any, **extra: Any) -> NoReturn:
        """Run the command line and leave with its exit status."""
        extra["standalone_mode"] = False
        try:
            status = super().main(*arguments, **extra)
        except click.ClickException as error:
            click.echo(" ".join(error.format_message().splitlines()), err=True)
            status = error.exit_code
        except click.Abort:
            click.echo("Interrupted.", err=True)
            status = 130
        sys.exit(status if isinstance(status, int) else 0)


@click.command(cls=OneLine, context_settings={"help_option_names": ["-h", "--help"]})
# What decides the trial's numbers:
@click.option("--epochs", type=int, help="Passes over the training split.  [default: 60]")
@click.option("--seed", type=int, help="Seeds weights, order, augmentation, dropout.  [default: 0]")
@click.option(
    "--width",
    "--network-width",
    type=int,
    help="Channels of the first stage; 8 to 16 suit a CPU.  [default: 64]",
)
@click.option("--method", help="none, periodic or dynamic.  [default: none]")
@click.option("--T", "T", type=int, help="Interval of periodic injection, in epochs.")
@click.option("--position", help="Where to inject: bn1, bn2, bn3, shortcut, all.  [default: bn1]")
@click.option("--Constant", "Constant", type=float, help="CliffReLU's upper edge.  [default: 1]")
@click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="NAME=VALUE",
    help="Any field of the trial's configuration, such as lr=0.001; may be repeated.",
)
@click.option(
    "--data",
    "source",
    help="Images: `synthetic`, or a path to a folder, zip, tar, csv or packed folder."
    "  [default: synthetic]",
)
@click.option("--limit", type=int, help="Images used per split.  [default: all]")
@click.option(
    "--set-data",
    "data_sets",
    multiple=True,
    metavar="NAME=VALUE",
    help="Any other field of the data's configuration, such as size=64; may be repeated.",
)
# How it is run:
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the trial's state; continues from the last epoch saved there.",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    help="auto, cpu, cuda or cuda:N; auto takes a GPU if there is one.",
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    default=default_cache,
    show_default="~/.cache/tuner",
    help="Folder for packed data.",
)
@click.option(
    "--format",
    "output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="`table`: one line with the result; `json`: configuration, result and every epoch.",
)
def main(
    sets: tuple[str, ...],
    source: str | None,
    limit: int | None,
    data_sets: tuple[str, ...],
    out: Path | None,
    device: str,
    cache: Path,
    output: str,
    **flags: Any,
) -> None:
    """Train one trial: one configuration of network, injection and training, and one seed."""
    from trainables.state import CorruptCheckpoint

    try:
        config = with_knobs(TrialConfig(), _joined(flags, sets, "--set"), "command line")
        data_values = _joined({"source": source, "limit": limit}, data_sets, "--set-data")
        data_config = validated(DataConfig, data_values, "command line")
        trial = train(config, data_config, _device(device), _made(out), cache)
    except UserError as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    except CorruptCheckpoint as error:
        click.echo(f"{error} Remove the file to start the trial again.", err=True)
        sys.exit(1)
    except OSError as error:  # a full disk; what was saved is kept
        where = f" ({error.filename})" if error.filename else ""
        click.echo(f"The trial cannot go on: {error.strerror or error}{where}.", err=True)
        sys.exit(1)
    result = summary(trial)
    if output == "json":
        click.echo(json.dumps({**result, "history": trial.history}, indent=2, allow_nan=False))
    else:
        click.echo(summary_line(result))


def train(
    config: TrialConfig, data_config: DataConfig, device: str, out: Path | None, cache: Path
) -> Trial:
    """Train a trial to its end, from where the state in `out` left it, and return it."""
    from trainables.data.source import prepare
    from trainables.schedule import warnings_for
    from trainables.train import Trial

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        packing = progress.add_task("Packing images", total=None, visible=False)
        data = prepare(
            data_config,
            cache,
            lambda done, total, what: progress.update(
                packing, completed=done, total=total, description=what, visible=done < total
            ),
        )
        trial = Trial(config, data, data_config.limit, device)
        for warning in warnings_for(config, trial.steps_per_epoch):
            click.echo(f"Note: {warning}", err=True)
        if out is not None and trial.load(out):
            click.echo(f"Continuing after epoch {trial.epoch} ({out}).", err=True)
        epochs = progress.add_task("Training", total=config.epochs, completed=trial.epoch)
        while not trial.finished:
            row = trial.run_epoch()
            if out is not None:
                if row["best_epoch"] == row["epoch"]:
                    trial.save_best(out)
                trial.save(out)
            progress.update(epochs, advance=1, description=f"Validation F1 {row['val_f1']:.4f}")
            if not console.is_terminal:
                click.echo(epoch_line(row, config.epochs), err=True)
    return trial


def epoch_line(row: EpochRow, epochs: int) -> str:
    """Return an epoch as one line."""
    if row["diverged"]:
        return f"epoch {row['epoch']}/{epochs}  diverged: {row['reason']}"
    injected = f"  injected {row['injected_share']:.0%}" if row["injected_share"] else ""
    return (
        f"epoch {row['epoch']}/{epochs}  train loss {row['train_loss']:.4f}"
        f"  val loss {row['val_loss']:.4f}  val F1 {row['val_f1']:.4f}"
        f"  best {row['best_val_f1']:.4f}  {row['images_per_s']:.0f} images/s{injected}"
    )


def summary(trial: Trial) -> dict[str, Any]:
    """Return a finished trial's result as plain values."""
    last = trial.history[-1]
    train_s = sum(row["train_s"] for row in trial.history)
    num_images = sum(row["images_per_s"] * row["train_s"] for row in trial.history)
    return {
        "config": trial.config.model_dump(mode="json"),
        "digest": trial.config.digest,
        "arm": trial.config.injection.arm,
        "device": trial.device_name,
        "epochs": trial.epoch,
        "best_epoch": last["best_epoch"],
        "val_f1": last["best_val_f1"],
        "test_f1": last["best_test_f1"],
        "diverged": last["diverged"],
        "reason": last["reason"],
        "seconds": train_s + sum(row["eval_s"] for row in trial.history),
        "images_per_s": num_images / train_s,
    }


def summary_line(result: dict[str, Any]) -> str:
    """Return a result as one line."""
    if result["best_epoch"] is None:
        scores = "no epoch finished"
    else:
        scores = (
            f"best epoch {result['best_epoch']} of {result['epochs']}"
            f"  validation macro-F1 {result['val_f1']:.4f}  test macro-F1 {result['test_f1']:.4f}"
        )
    end = f"  diverged: {result['reason']}" if result["diverged"] else ""
    return f"{scores}  {result['seconds']:.1f} s  {result['images_per_s']:.0f} images/s{end}"


def _joined(own: dict[str, Any], items: tuple[str, ...], flag: str) -> dict[str, Any]:
    """Return the fields given by their own flags and by `flag`, refusing one given by both."""
    given = {name: value for name, value in own.items() if value is not None}
    values = assignments(items, flag)
    for name in given.keys() & values.keys():
        raise UserError(f"{name} must be given once, but {flag} and its own flag both set it.")
    return {**given, **values}


def _made(out: Path | None) -> Path | None:
    """Make the folder for the trial's state, before anything is trained for it."""
    try:
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out must be a folder, but {out} is none: {error.strerror}.") from error
    return out


def _device(name: str) -> str:
    """Return the torch device that `name` means on this machine."""
    import torch

    count = torch.cuda.device_count()
    known = ["cpu", *(["cuda"] if count else []), *(f"cuda:{index}" for index in range(count))]
    if name == "auto":
        return "cuda" if count else "cpu"
    if name not in known:
        raise UserError(f"device must be one of auto, {', '.join(known)}, but got {name!r}.")
    return name


if __name__ == "__main__":
    main(prog_name="python -m trainables")
