"""Tests of bob_gauntlet.datasets."""
