"""Training of classifiers: loop, grid search, data, losses."""
