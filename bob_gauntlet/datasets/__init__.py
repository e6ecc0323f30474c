"""Datasets: a light catalog, and loading that renders or reads images."""
