"""The pytest plugin: pytest finds the hooks here, and suites import `settings`.

It is loaded in every pytest session of an environment that has bob-gauntlet installed. So nothing that takes time is
imported here, every option begins with `--bob-`, and tests that carry no `settings` mark are left alone.
"""

from bob_gauntlet.plugin.hooks import (
    gauntlet,
    pytest_addoption,
    pytest_collection_finish,
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_generate_tests,
    pytest_report_header,
    pytest_runtest_call,
    pytest_runtest_makereport,
    pytest_sessionstart,
    pytest_unconfigure,
    pytest_xdist_auto_num_workers,
    pytest_xdist_node_collection_finished,
    settings,
)

__all__ = [
    "gauntlet",
    "pytest_addoption",
    "pytest_collection_finish",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_generate_tests",
    "pytest_report_header",
    "pytest_runtest_call",
    "pytest_runtest_makereport",
    "pytest_sessionstart",
    "pytest_unconfigure",
    "pytest_xdist_auto_num_workers",
    "pytest_xdist_node_collection_finished",
    "settings",
]
