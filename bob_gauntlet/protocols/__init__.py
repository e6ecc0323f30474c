"""Frozen recipes, one a protocol: hyper-parameters, and `evaluate`, which yields what was measured."""
