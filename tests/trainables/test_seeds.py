"""Seeds are functions of (seed, epoch, purpose) alone, and all different."""

from __future__ import annotations

import itertools

import torch

from trainables.batches import generator
from trainables.seeds import derived_seed


def test_neighbouring_seeds_epochs_and_purposes_all_give_different_seeds():
    grid = itertools.product(range(30), range(30), ("weights", "order", "augment", "dropout"))
    seeds = [derived_seed(*case) for case in grid]
    assert len(set(seeds)) == len(seeds)
    # torch's CPU generator is seeded by the lower 32 bits alone
    assert len({seed & 0xFFFFFFFF for seed in seeds}) == len(seeds)


def test_no_two_pairs_of_seed_and_epoch_run_together_as_text():
    assert derived_seed(1, 12, "order") != derived_seed(11, 2, "order")


def test_a_seed_is_what_torch_accepts():
    seed = max(derived_seed(2**63 - 1, epoch, "order") for epoch in range(100))
    assert 2**62 < seed < 2**63
    torch.Generator().manual_seed(seed)


def test_a_generator_does_not_depend_on_what_was_drawn_before():
    first = torch.rand(3, generator=generator(5, 2, "order"))
    torch.rand(7)
    generator(5, 1, "order")
    assert torch.equal(torch.rand(3, generator=generator(5, 2, "order")), first)
