"""One process that trains at command, so that ways of training can be timed against each other.

    python -m tuner.bench.worker JOB

Each way has a process of its own, because both set switches of the whole process: threads,
determinism, precision. A worker loads, trains a little to warm up, prints a line of JSON, and then
answers each command on standard input by a line: `steps` trains the job's steps once, `for SECONDS`
trains until the time is over, `floor` tells what bounds the speed here. It ends with its input, or
with a line that holds `error`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from trainables.config import TrialConfig
    from trainables.data.packed import PackedData

Kind = Literal["plain", "ours", "eager"]
LAPS = 50
"""How often the plain loop's images follow each other before its loader starts anew."""


@dataclass(frozen=True)
class Job:
    """What a worker trains."""

    kind: Kind
    """`plain`: the loop of `plain_loop`; `ours`: as a trial trains; `eager`: without graphs."""
    trial: dict[str, Any]
    """A `TrialConfig`."""
    data: dict[str, Any]
    """A `DataConfig`."""
    cache: str
    """Folder of packed data sets."""
    steps: int | None
    """Steps that are timed at once; None is an epoch."""
    device: str = "cpu"
    evaluate: bool = False
    """Whether ours scores the validation split after each epoch, as a trial does."""
    threads: int | None = 1
    """Threads of a plain loop; None leaves torch's default. Ours always has one."""
    loaders: int = 0
    """Processes of the plain loop's DataLoader."""

    def as_argument(self) -> str:
        """Return the job as a worker's argument."""
        return json.dumps(asdict(self))


class Prepared(NamedTuple):
    """A job that is ready to run."""

    train: Callable[[], object]
    """Trains the job's steps once."""
    steps: int
    """How many they are."""
    batch_size: int
    floor: Callable[[], dict[str, Any]]
    """What `floors` says; nothing of a plain loop."""


def main() -> None:
    """Load, warm up and obey."""
    try:
        obey(Job(**json.loads(sys.argv[1])))
    except Exception as error:
        text = (str(error).strip().splitlines() or [""])[0]
        name = type(error).__name__
        _tell({"error": text if name == "UserError" else f"{name}: {text}"})
        sys.exit(1)


def obey(job: Job) -> None:
    """Answer the commands on standard input."""
    ready = prepare_job(job)
    ready.train()
    _tell({"ready": True})
    for line in sys.stdin:
        command, *arguments = line.split()
        if command == "floor":
            _tell(ready.floor())
            continue
        until = float(arguments[0]) if command == "for" else 0.0
        started = time.perf_counter()
        steps = 0
        while True:
            ready.train()
            steps += ready.steps
            seconds = time.perf_counter() - started
            if seconds >= until:
                break
        images = steps * ready.batch_size
        _tell({"seconds": seconds, "steps": steps, "images": images, **_memory(job)})


def prepare_job(job: Job) -> Prepared:
    """Return a job's network and data, ready to train."""
    import torch

    from trainables.config import DataConfig, TrialConfig
    from trainables.data.source import prepare
    from trainables.process import prepare_process
    from trainables.rig_pool import lease

    config, wanted = TrialConfig.model_validate(job.trial), DataConfig.model_validate(job.data)
    data = prepare(wanted, Path(job.cache), lambda *_: None)
    training = config.training
    if job.kind == "plain":
        return _plain(job, config, data, wanted.limit)
    prepare_process(job.device, training.precision)
    rig = lease(config, data, wanted.limit, torch.device(job.device), graphs=job.kind == "ours")

    def train() -> None:
        rig.train(1, job.steps)
        if job.evaluate:
            rig.validate()

    def floor() -> dict[str, Any]:
        from tuner.bench.floors import floors

        return floors(rig, training.precision)

    steps = min(rig.steps_per_epoch, job.steps or rig.steps_per_epoch)
    return Prepared(train, steps, training.batch_size, floor)


def _plain(job: Job, config: TrialConfig, data: PackedData, limit: int | None) -> Prepared:
    import torch

    from trainables.batches import training_statistics
    from trainables.process import set_precision
    from tuner.bench.plain_loop import ImageArray, PlainLoop, SlimResNet

    if job.threads is not None:
        torch.set_num_threads(job.threads)
    training = config.training
    set_precision(training.precision)
    split = data.split("train", limit)
    images = ImageArray(*split, training_statistics(data, limit), laps=LAPS)
    torch.manual_seed(config.seed)
    network = SlimResNet(config.network.width, data.channels, len(data.classes)).to(job.device)
    loop = PlainLoop(
        network, images, training.batch_size, job.device, job.loaders, training.lr,
        training.weight_decay, training.precision == "bf16",
    )  # fmt: skip
    steps = job.steps or training.steps_per_epoch(len(split.labels_B))
    return Prepared(lambda: loop.run(steps), steps, training.batch_size, dict)


def _memory(job: Job) -> dict[str, int]:
    """Return what the GPU has and what is used of it, by all processes together."""
    if not job.device.startswith("cuda"):
        return {}
    import torch

    free, total = torch.cuda.mem_get_info(torch.device(job.device))
    return {"used_bytes": total - free, "total_bytes": total}


def _tell(values: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
