"""Seeds inside a block, the caller's randomness untouched."""

import random

import numpy as np
import pytest
import torch

from bob_gauntlet.engine.seeding import seeded


def draws() -> tuple[float, float, float]:
    """One number from each generator."""
    return random.random(), float(np.random.rand()), float(torch.rand(()))


@pytest.mark.parametrize("seed", [0, 1, 2**40])
def test_equal_seeds_draw_equally(seed: int) -> None:
    """Python, NumPy and torch; large seeds too."""
    with seeded(seed):
        first = draws()
    with seeded(seed):
        assert draws() == first
    with seeded(seed + 1):
        assert all(a != b for a, b in zip(draws(), first, strict=True))


@pytest.mark.parametrize("fails", [False, True], ids=["returns", "raises"])
def test_the_callers_randomness_goes_on_as_if_nothing_was(fails: bool) -> None:
    """What comes after the block is what would have come without it."""
    with seeded(7):
        expected = draws()
    with seeded(7):
        try:
            with seeded(3):
                draws()
                if fails:
                    raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        assert draws() == expected
