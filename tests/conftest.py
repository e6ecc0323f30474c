"""Fixtures and settings that all tests share; in these tests every warning is an error."""

import os
import signal
from collections.abc import Iterator

import pytest

pytest_plugins = ["pytester"]

# processes that tests start inherit what `nohup` and some CI runners set: that SIGHUP is ignored
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Make this project's tests fail on a warning; a user's run of `suites/` does not fail on one."""
    for item in items:
        item.add_marker(pytest.mark.filterwarnings("error"), append=False)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """torch with one thread, because on problems this small threads mostly wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def one_core() -> Iterator[None]:
    """This process on one core, because on a busy machine threads mostly wait for each other."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    yield
    os.sched_setaffinity(0, cores)
