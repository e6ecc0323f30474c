"""Ranking of backbones: score table, ranking, comparison of two backbones, stability."""
