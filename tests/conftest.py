"""What all tests share: warnings are errors here, and only here."""

import pytest

pytest_plugins = ["pytester"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Our own tests fail on a warning; a user's run of `suites/` does not."""
    for item in items:
        item.add_marker(pytest.mark.filterwarnings("error"), append=False)
