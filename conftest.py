"""Lets `pytest suites/` find the plugin in a clone that is not installed."""

pytest_plugins = ["bob_gauntlet.plugin"]
