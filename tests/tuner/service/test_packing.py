"""The oracle of the queue's tests against Ray itself."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import pytest

from tests.tuner.service.heads import ENVIRONMENT
from tests.tuner.service.packing import Packing
from tests.tuner.service.test_queue import job
from tuner.service.queue import WHOLE
from tuner.service.ray_jobs import Machine

PLACES = """
import json, os, sys, time
import ray
ray.init(num_cpus=16, num_gpus=3, include_dashboard=False, log_to_driver=False)

@ray.remote(num_cpus=0)
class Holder:
    def gpus(self):
        return sorted(map(int, os.environ["CUDA_VISIBLE_DEVICES"].split(",")))

holders, places = {}, []
for name, gpus, free in json.loads(sys.stdin.read()):
    if gpus is None:
        ray.kill(holders.pop(name))
        while abs(ray.available_resources().get("GPU", 0.0) - free) > 0.01:
            time.sleep(0.1)
    elif free is None:  # it is not to fit
        holder = Holder.options(num_gpus=gpus).remote()
        ready, _ = ray.wait([holder.gpus.remote()], timeout=5)
        places.append(None if not ready else "placed")
        ray.kill(holder)
    else:
        holders[name] = Holder.options(num_gpus=gpus).remote()
        places.append(ray.get(holders[name].gpus.remote()))
print(json.dumps(places))
"""
"""Starts and ends what stdin says in a Ray of its own; prints which GPUs each got."""


@pytest.mark.cluster
@pytest.mark.slow
def test_ray_places_as_the_oracle_does() -> None:
    rng, machine = random.Random(1), Machine(100, 3)
    oracle, asked, expected = Packing(machine), [], []
    # those that did not fit, and what made room for none, are not left to chance
    sizes: list[float | str] = [0.5, 0.5, 0.5, 0.5, "end job-0", "end job-2", 2.0, *[1 / 6] * 3]
    for number, size in enumerate([*sizes, *rng.choices([1 / 3, 0.5, 0.6, 1.0, "end"], k=10)]):
        if isinstance(size, str):
            id = size.removeprefix("end").strip() or rng.choice(list(oracle.jobs))
            oracle.end(oracle.jobs[id])
            asked.append((id, None, sum(oracle.free) / WHOLE))
            continue
        one = job(number, gpus=size, exclusive=False)
        fits = oracle.place(one)
        asked.append((one.id, size, 0.0 if fits else None))
        expected.append(sorted(oracle.taken[one.id]) if fits else None)
    assert None in expected
    command, text = [sys.executable, "-c", PLACES], json.dumps(asked)
    done = subprocess.run(command, input=text, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == expected
