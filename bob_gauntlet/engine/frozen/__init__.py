"""Evaluation of frozen features: extraction, linear and logistic heads, nearest neighbours."""
