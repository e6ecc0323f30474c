"""Scores, measures, settings and the store."""
