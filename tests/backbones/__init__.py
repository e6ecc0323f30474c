"""Tests of bob_gauntlet.backbones."""
