"""Tests of bob_gauntlet.pools."""
