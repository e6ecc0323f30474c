"""Inside a block random numbers are seeded; the caller's random state does not change."""

import random
from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import pytest
import torch

from bob_gauntlet.engine.seeding import restored_on_cpu, seeded


def draws() -> tuple[float, float, float]:
    """Return one number from each generator."""
    return random.random(), float(np.random.rand()), float(torch.rand(()))


@pytest.mark.parametrize("seed", [0, 1, 2**40])
def test_equal_seeds_draw_equally(seed: int) -> None:
    """Equal seeds give equal numbers from Python, NumPy and torch; other seeds give others. Seeds can be large."""
    with seeded(seed):
        first = draws()
    with seeded(seed):
        assert draws() == first
    with seeded(seed + 1):
        assert all(a != b for a, b in zip(draws(), first, strict=True))


@pytest.mark.parametrize("block", [lambda: seeded(3), restored_on_cpu], ids=["seeded", "restored_on_cpu"])
@pytest.mark.parametrize("fails", [False, True], ids=["returns", "raises"])
def test_the_callers_random_state_is_restored(
    block: Callable[[], AbstractContextManager[None]], *, fails: bool
) -> None:
    """Numbers after the block are those without the block, also where the block raises."""
    with seeded(7):
        expected = draws()
    with seeded(7):
        try:
            with block():
                draws()
                if fails:
                    raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        assert draws() == expected
