"""Error texts as PyTorch, Ray and Linux really print them."""

from __future__ import annotations

import errno
import os

import pytest

from tuner.failures import explain_failure

CUDA_MEMORY = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB."
HOST_MEMORY = "RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"
RAY = 'ray.exceptions.RayTaskError(X): ray::RayTrial.train() (pid=1)\n  File "a.py", line 1\n'


@pytest.mark.parametrize(
    ("text", "kind", "ends_run"),
    [
        (RAY + CUDA_MEMORY, "gpu memory", False),
        (RAY + HOST_MEMORY, "host memory", False),
        ("Task was killed due to the node running low on memory.", "host memory", False),
        ("The actor died unexpectedly before finishing this task.", "worker died", False),
        (RAY + f"OSError: {OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))}", "disk full", True),
        (RAY + "trainables.object_store.StoreUnreachable: Storage s3://b failed", "storage", True),
        (RAY + "KeyError: 'x'\n", "error", False),
    ],
)  # fmt: skip
def test_each_kind_is_recognised(text: str, kind: str, ends_run: bool) -> None:
    failure = explain_failure(text)
    assert (failure.kind, failure.ends_run) == (kind, ends_run)
    assert "\n" not in failure.summary


def test_out_of_gpu_memory_names_what_to_lower() -> None:
    summary = explain_failure("CUDA out of memory").summary
    for flag in ("batch_size", "--width", "--gpus-per-trial"):
        assert flag in summary


def test_an_unknown_error_is_its_last_line() -> None:
    assert (
        explain_failure("Traceback\n  File\nValueError: 3 is odd\n\n").summary
        == "ValueError: 3 is odd"
    )
    assert explain_failure("").summary == "no message"
