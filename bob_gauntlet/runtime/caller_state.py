"""Work inside the caller's process that leaves its random state and torch's modes as they were."""

import random
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np


@contextmanager
def preserve_caller_state() -> Iterator[None]:
    """Run a block with torch's default modes; afterwards modes and random states are the caller's again.

    Inside, gradients are on, and autocast and inference mode are off, so that a score does not depend on where the
    caller stands. The states of Python's, NumPy's and torch's random generators are put back. Where the caller has not
    imported torch, there is no such state.

    >>> before = random.getstate()
    >>> with preserve_caller_state():
    ...     number = random.random()
    >>> random.getstate() == before
    True
    """
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with ExitStack() as stack:
            if "torch" in sys.modules:
                stack.enter_context(_preserve_torch())
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


@contextmanager
def _preserve_torch() -> Iterator[None]:
    """Do the same for torch: random states, default dtype, gradient and inference mode, autocast."""
    import torch

    with_cuda = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    cpu, gpus = torch.get_rng_state(), torch.cuda.get_rng_state_all() if with_cuda else []
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with (
            torch.inference_mode(mode=False),
            torch.enable_grad(),
            torch.autocast("cpu", enabled=False),
            torch.autocast("cuda", enabled=False),
        ):
            yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_rng_state(cpu)
        if with_cuda:
            torch.cuda.set_rng_state_all(gpus)
