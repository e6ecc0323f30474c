"""Tests of bob_gauntlet.cli."""
