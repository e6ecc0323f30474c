"""Tests of bob-gauntlet."""
