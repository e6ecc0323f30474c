"""torch computes in one thread in every test of this folder."""

import pytest


@pytest.fixture(autouse=True)
def small_problems(one_thread: None) -> None:
    """See tests/conftest.py."""
