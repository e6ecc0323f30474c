"""Tests of bob_gauntlet.engine.training."""
