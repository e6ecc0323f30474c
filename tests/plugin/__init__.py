"""Tests of bob_gauntlet.plugin."""
