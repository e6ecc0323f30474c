"""Declares --backbone, --scale, --dataset, --setting and --task here, where the suites are.

Elsewhere these names belong to the project whose tests are run, and the plugin has --bob-backbone, --bob-scale,
--bob-dataset, --bob-setting and --bob-task alone.
"""

import pytest

from bob_gauntlet.plugin.options import add_short_names


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the short names."""
    add_short_names(parser)
