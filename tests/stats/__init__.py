"""Tests of bob_gauntlet.stats."""
