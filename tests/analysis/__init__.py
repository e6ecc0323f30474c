"""Tests of bob_gauntlet.analysis."""
