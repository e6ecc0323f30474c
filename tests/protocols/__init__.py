"""Tests of bob_gauntlet.protocols."""
