"""Tests of bob_gauntlet.ranking."""
