"""One process that trains at command, so that two ways of training can be timed in turns.

    python -m tuner.bench.worker JOB

Each way has a process of its own, because both set switches of the whole process: threads,
determinism, precision. A worker loads, trains a little to warm up, prints a line of JSON, and then
answers each command on standard input by a line: `steps` trains the job's steps once, `for SECONDS`
trains until the time is over, `floor` tells what bounds the speed here. It ends with its input.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Kind = Literal["plain", "ours", "eager"]


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
    steps: int
    """Steps that are timed at once; so many batches of images are used."""
    device: str = "cpu"
    threads: int | None = 1
    """Threads of a plain loop; None leaves torch's default. Ours always has one."""
    loaders: int = 0
    """Processes of the plain loop's DataLoader."""
    flip: bool = field(default=False)
    """Whether the plain loop mirrors images at random."""

    def as_argument(self) -> str:
        """Return the job as a worker's argument."""
        return json.dumps(asdict(self))


def main() -> None:
    """Load, warm up and obey."""
    job = Job(**json.loads(sys.argv[1]))
    step, floor, batch_size = prepared(job)
    step()
    _tell({"ready": True})
    for line in sys.stdin:
        command, *arguments = line.split()
        if command == "floor":
            _tell(floor())
            continue
        until = float(arguments[0]) if command == "for" else 0.0
        started = time.perf_counter()
        count = 0
        while True:
            step()
            count += 1
            seconds = time.perf_counter() - started
            if seconds >= until:
                break
        steps = count * job.steps
        _tell({"seconds": seconds, "steps": steps, "images": steps * batch_size, **_memory(job)})


def prepared(job: Job) -> tuple[Callable[[], object], Callable[[], dict[str, Any]], int]:
    """Return what trains the job's steps, what tells their floor, and the batch size."""
    import torch

    from trainables.batches import training_statistics
    from trainables.config import DataConfig, TrialConfig
    from trainables.data.source import prepare
    from trainables.process import prepare_process
    from trainables.rig_pool import lease
    from tuner.bench.plain_loop import ImageArray, PlainLoop, SlimResNet

    config = TrialConfig.model_validate(job.trial)
    data = prepare(DataConfig.model_validate(job.data), Path(job.cache), lambda *_: None)
    training = config.training
    limit = job.steps * training.batch_size
    if job.kind == "plain":
        if job.threads is not None:
            torch.set_num_threads(job.threads)
        split = data.split("train", limit)
        images = ImageArray(
            split.images_BCHW, split.labels_B, training_statistics(data, limit), job.flip
        )
        torch.manual_seed(config.seed)
        network = SlimResNet(config.network.width, data.channels, len(data.classes))
        loop = PlainLoop(
            network.to(job.device), images, training.batch_size, job.device, job.loaders,
            training.lr, training.weight_decay,
        )  # fmt: skip
        return lambda: loop.run(job.steps), dict, training.batch_size
    prepare_process(job.device, training.precision)
    rig = lease(config, data, limit, torch.device(job.device), graphs=job.kind == "ours")

    def floor() -> dict[str, Any]:
        from tuner.bench.floors import floors

        return floors(rig, training.precision)

    return lambda: rig.train(1), floor, training.batch_size


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
