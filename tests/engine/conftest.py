"""Every test of this folder runs torch on one thread."""

import pytest


@pytest.fixture(autouse=True)
def small_problems(one_thread: None) -> None:
    """See tests/conftest.py."""
