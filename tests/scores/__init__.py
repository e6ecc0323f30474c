"""Tests of bob_gauntlet.scores."""
