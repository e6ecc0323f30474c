"""Readers of the paper's datasets, in the folder layouts that their publishers provide."""
