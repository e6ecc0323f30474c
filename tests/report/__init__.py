"""Tests of bob_gauntlet.report."""
