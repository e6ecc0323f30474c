"""The part that a process has in a session: it measures alone, hands tests to workers, or is such a worker."""

import pytest


def is_worker(config: pytest.Config) -> bool:
    """Tell whether this process is a worker of xdist."""
    return hasattr(config, "workerinput")


def hands_out(config: pytest.Config) -> bool:
    """Tell whether this process was asked to hand its tests to workers of xdist."""
    return not is_worker(config) and config.getoption("dist", "no") != "no"
