"""Datasets: a catalog that imports quickly, and readers that render or read images."""
