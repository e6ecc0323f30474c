"""What all tests share: warnings are errors here, and only here."""

import os
from collections.abc import Iterator

import pytest

pytest_plugins = ["pytester"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Our own tests fail on a warning; a user's run of `suites/` does not."""
    for item in items:
        item.add_marker(pytest.mark.filterwarnings("error"), append=False)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """torch in one thread: on problems this small, threads that wait for each other are all a busy machine does."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def one_core() -> Iterator[None]:
    """On a busy machine threads that wait for each other are most of the work."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    yield
    os.sched_setaffinity(0, cores)
