"""Retrieval metrics from exact ranks, in blocks of queries that bound memory.

Only the similarity values are sorted, and the relevant images are looked up in them; the gallery itself is not sorted.
Ties count against the query: an irrelevant image that is as similar as a relevant one ranks before it. So duplicates
have exact ranks, the order of the gallery does not matter, and constant features score like the worst order. NaN and
infinity count against the query too: a relevant image of such a similarity ranks last, an irrelevant one first.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
import torch

Relevance = Sequence[tuple[np.ndarray, np.ndarray]]
"""For each query: indices of its relevant gallery images, and of its junk images, which count neither as right nor as
wrong."""

_ROWS, _SIMILARITIES = 256, 32_000_000
"""Most queries and most similarities (128 MB) of a block; the product of smaller blocks is slower."""


def ranks_of_relevant(
    queries: np.ndarray,
    gallery: np.ndarray,
    relevance: Relevance,
    *,
    skip_junk: bool = True,
    device: str = "cpu",
    advance: Callable[[int], None] = lambda count: None,
) -> list[np.ndarray]:
    """Return for each query the ascending ranks (from 1) of its relevant images by dot product.

    `queries` (Q, D) and `gallery` (G, D) are L2-normalised for cosine similarity. With `skip_junk` junk images are
    removed from the ranking, otherwise they keep their places. All similarities come from one product, in which equal
    gallery images occur once, since a product rounds its last columns differently from the others.

    >>> ranks_of_relevant(np.eye(2, dtype="f4"), np.eye(2, dtype="f4"), [([0], []), ([0], [])])
    [array([1]), array([2])]
    """
    distinct, place = _distinct_rows(np.ascontiguousarray(gallery, np.float32))
    columns = torch.from_numpy(distinct).to(device).T
    rows = max(1, min(_ROWS, _SIMILARITIES // max(1, len(gallery))))
    ranks: list[np.ndarray] = []
    with ThreadPoolExecutor(max_workers=max(1, torch.get_num_threads())) as pool:
        for start in range(0, len(queries), rows):
            block = torch.from_numpy(np.ascontiguousarray(queries[start : start + rows], np.float32)).to(device)
            similarity = (block @ columns).cpu().numpy()
            if len(distinct) < len(gallery):
                similarity = np.take(similarity, place, axis=1)
            roles = relevance[start : start + len(similarity)]
            ranks += pool.map(lambda row, rel: _ranks_in_row(row, *rel, skip_junk=skip_junk), similarity, roles)
            advance(len(similarity))
    return ranks


def average_precision(ranks: np.ndarray, kind: Literal["trapezoid", "step"] = "trapezoid") -> float:
    """Return the average precision of one query from the ascending ranks of its relevant images; NaN without any.

    With r_j the rank of the j-th relevant image, j from 1: `step` is the mean of j / r_j. `trapezoid` is the mean of
    (j - 1) / (r_j - 1) and j / r_j, which is the area under the curve with straight lines between its points (Philbin
    et al., CVPR 2007); published retrieval benchmarks use it.

    >>> average_precision(np.array([1, 3]), "step")
    0.8333333333333333
    >>> average_precision(np.array([1, 3]), "trapezoid")
    0.7916666666666666
    """
    if len(ranks) == 0:
        return float("nan")
    j = np.arange(1, len(ranks) + 1)
    precision = j / ranks
    if kind == "step":
        return float(precision.mean())
    before = np.where(ranks > 1, (j - 1) / np.maximum(ranks - 1, 1), 1.0)
    return float(((before + precision) / 2).mean())


def reciprocal_rank(ranks: np.ndarray) -> float:
    """Return 1 / rank of the first relevant image; 0 where there is none."""
    return float(1 / ranks[0]) if len(ranks) else 0.0


def recall_at(ranks: np.ndarray, k: int) -> float:
    """Return the share of the relevant images that is among the first k; NaN where there are none.

    It is at most k / (number of relevant images), so that it is rarely 1.

    >>> recall_at(np.array([1, 3, 9]), 5)
    0.6666666666666666
    """
    return float((ranks <= k).mean()) if len(ranks) else float("nan")


def relevance_from_targets(query_targets: np.ndarray, gallery_targets: np.ndarray) -> Relevance:
    """Return the relevance where images of equal target are relevant and none is junk."""
    order = np.argsort(gallery_targets, kind="stable")
    ordered = gallery_targets[order]
    first, last = (np.searchsorted(ordered, query_targets, side) for side in ("left", "right"))
    nothing = np.empty(0, np.int64)
    return [(order[a:b], nothing) for a, b in zip(first, last, strict=True)]


def _distinct_rows(gallery: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct rows of a contiguous (G, D) float32 gallery, and for each row its index in them, (G,)."""
    as_bytes = gallery.view(np.dtype((np.void, gallery.itemsize * gallery.shape[1]))).ravel()
    _, first, place = np.unique(as_bytes, return_index=True, return_inverse=True)
    if len(first) == len(gallery):
        return gallery, np.arange(len(gallery))
    return gallery[first], place


def _ranks_in_row(row: np.ndarray, positives: np.ndarray, junk: np.ndarray, *, skip_junk: bool) -> np.ndarray:
    """Return the ranks of the positives in one row of similarities (G,); of equal ones irrelevant images come first.

    The j-th best positive ranks after all irrelevant images that are at least as similar, and after j - 1 positives. A
    similarity that is NaN or infinite becomes the lowest of all where the image is relevant, else the highest.
    """
    if not np.isfinite(row).all():
        worst = np.full_like(row, np.inf)
        worst[positives] = -np.inf
        row = np.where(np.isfinite(row), row, worst)
    best_first = np.sort(row[positives])[::-1]
    ordered = np.sort(row)
    at_least = len(row) - np.searchsorted(ordered, best_first, side="left")
    positives_at_least = len(best_first) - np.searchsorted(best_first[::-1], best_first, side="left")
    ahead = at_least - positives_at_least
    if skip_junk and len(junk):
        junk_similarities = np.sort(row[junk])
        ahead = ahead - (len(junk_similarities) - np.searchsorted(junk_similarities, best_first, side="left"))
    return np.asarray(ahead + np.arange(1, len(best_first) + 1))
