"""Tests of bob_gauntlet.runtime."""
