"""Tests of bob_gauntlet.engine.frozen."""
