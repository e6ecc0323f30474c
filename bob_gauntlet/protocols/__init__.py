"""Protocols as frozen recipes: each holds hyper-parameters and has `evaluate`, which yields the metrics."""
