"""Protocols: each is a frozen recipe of hyper-parameters with a method `evaluate`, which yields its metrics."""
