"""Training: loop, grid search, data loader and losses; detectors use all of it except the classifier."""
