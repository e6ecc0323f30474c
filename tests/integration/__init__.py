"""Whole runs: sessions of the suites as a user starts them."""
