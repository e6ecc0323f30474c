"""Declares --backbone, --scale and --dataset here, where the suites are.

Elsewhere these names belong to the project whose tests are run, and the plugin has --bob-backbone, --bob-scale and
--bob-dataset alone.
"""

import pytest

from bob_gauntlet.plugin.options import add_short_names


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the short names."""
    add_short_names(parser)
