"""Let torch compute in one thread in every test of this folder."""

import pytest


@pytest.fixture(autouse=True)
def small_problems(one_thread: None) -> None:
    """Use the fixture `one_thread` of tests/conftest.py."""
