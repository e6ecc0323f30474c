"""Tests of bob_gauntlet.metrics."""
