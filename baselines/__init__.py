"""Stored baseline scores: a folder each, with where every row comes from."""
