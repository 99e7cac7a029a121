"""The switches of a process that decide the bits of its results."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from search_spaces.model import UserError
from trainables.process import prepare_process, set_precision

SWITCHES = (
    torch.backends,
    torch.backends.cuda.matmul,
    torch.backends.cudnn.conv,
    torch.backends.cudnn.rnn,
)


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    prepare_process("cpu")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_no_switch_is_left_at_tf32_whoever_turned_it_on(precision):
    set_precision("tf32")
    assert [switch.fp32_precision for switch in SWITCHES] == ["tf32"] * 4
    prepare_process("cpu", precision)
    assert [switch.fp32_precision for switch in SWITCHES] == ["ieee"] * 4


def test_tf32_is_refused_where_there_is_none():
    with pytest.raises(UserError, match="tf32 needs a GPU"):
        prepare_process("cpu", "tf32")


def test_one_thread_computes():
    torch.set_num_threads(2)
    prepare_process("cpu")
    assert torch.get_num_threads() == 1
