"""The heavy verbs: extract, train, solve, time."""
