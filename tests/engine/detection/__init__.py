"""Tests of bob_gauntlet.engine.detection."""
