"""Configuration of these tests: torch computes in one thread."""

import pytest


@pytest.fixture(autouse=True)
def small_problems(one_thread: None) -> None:
    """Use one thread, as tests/conftest.py explains."""
