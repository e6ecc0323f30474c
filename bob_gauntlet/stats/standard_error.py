"""Standard error of a mean over examples that come in clusters, and the number of clusters that it is over."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def clustered_standard_error(values: np.ndarray, clusters: Sequence[str] | None) -> dict[str, Any]:
    """Return `n`, and with two clusters or more `stderr`, the standard error of the mean, and `stderr_how`.

    `values` (N,) belong to the clusters named by `clusters` (N,), or each to its own where that is None. The error is
    the cluster-robust one of Liang and Zeger (1986): for G clusters sqrt(G / (G - 1) * sum over clusters of (sum of
    deviations)^2) / N. Crops of one photo, for example, are one cluster.

    >>> round(clustered_standard_error(np.array([1.0, 2.0, 3.0]), None)["stderr"], 4)
    0.5774
    """
    n = len(values)
    deviations = np.asarray(values, np.float64) - np.mean(values, dtype=np.float64)
    groups = np.unique(np.asarray(clusters), return_inverse=True)[1] if clusters is not None else np.arange(n)
    count = int(groups.max()) + 1 if n else 0
    if count < 2:
        return {"n": n}
    sums = np.bincount(groups, weights=deviations)
    stderr = float(np.sqrt(count / (count - 1) * np.sum(sums**2)) / n)
    how = f"over {count} clusters" if count < n else f"over {n} examples"
    return {"n": n, "stderr": stderr, "stderr_how": how}


def degrees_of_freedom(provenance: Mapping[str, Any]) -> float:
    """Return the degrees of freedom of a score's standard error: its clusters minus one; infinity where unknown.

    >>> degrees_of_freedom(clustered_standard_error(np.array([1.0, 2.0, 3.0]), None))
    2.0
    """
    count = re.fullmatch(r"over (\d+) (?:clusters|examples)", str(provenance.get("stderr_how", "")))
    return float(count[1]) - 1 if count else float("inf")
