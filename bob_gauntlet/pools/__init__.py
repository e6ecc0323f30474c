"""Baseline folders, the paper's tables and the pools that are frozen from them."""
