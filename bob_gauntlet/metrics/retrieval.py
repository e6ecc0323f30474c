"""Retrieval metrics from exact ranks, in blocks of queries that bound memory.

Ranks are found by sorting similarity values only and looking the relevant ones up, never by ordering the gallery. Ties
count against: an irrelevant image as similar as a relevant one ranks before it. So duplicates are exact, the order of
the gallery earns nothing, and features that are all the same score as the worst order would.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np
import torch

Relevance = Sequence[tuple[np.ndarray, np.ndarray]]
"""For each query: indices of its relevant gallery images, and of its junk, which counts neither way."""

_ROWS, _SIMILARITIES = 256, 32_000_000
"""Queries of a block, and its largest number of similarities (128 MB): smaller blocks cost the product its speed."""


def ranks_of_relevant(
    queries: np.ndarray,
    gallery: np.ndarray,
    relevance: Relevance,
    *,
    skip_junk: bool = True,
    device: str = "cpu",
    advance: Callable[[int], None] = lambda count: None,
) -> list[np.ndarray]:
    """For each query the ascending ranks (from 1) of its relevant images by dot product.

    (Q, D) queries and (G, D) gallery, both L2-normalised for cosine similarity. With `skip_junk` junk images are taken
    out of the list first, else they keep their places. A relevant image's similarity is read from the same product as
    all others, and of equal images one is multiplied: a product rounds its last columns unlike its others.

    >>> ranks_of_relevant(np.eye(2, dtype="f4"), np.eye(2, dtype="f4"), [([0], []), ([0], [])])
    [array([1]), array([2])]
    """
    distinct, place = _distinct(np.ascontiguousarray(gallery, np.float32))
    wanted = torch.from_numpy(distinct).to(device).T
    rows = max(1, min(_ROWS, _SIMILARITIES // max(1, len(gallery))))
    found: list[np.ndarray] = []
    with ThreadPoolExecutor(max_workers=max(1, torch.get_num_threads())) as pool:
        for start in range(0, len(queries), rows):
            block = torch.from_numpy(np.ascontiguousarray(queries[start : start + rows], np.float32)).to(device)
            similarity = (block @ wanted).cpu().numpy()
            if len(distinct) < len(gallery):
                similarity = np.take(similarity, place, axis=1)
            own = relevance[start : start + len(similarity)]
            found += pool.map(lambda row, rel: _ranks(row, *rel, skip_junk=skip_junk), similarity, own)
            advance(len(similarity))
    return found


def average_precision(ranks: np.ndarray, kind: Literal["trapezoid", "step"] = "trapezoid") -> float:
    """Average precision of one query from the ascending ranks of its relevant images; NaN where it has none.

    With r_j the rank of the j-th relevant image, j from 1: `step` is the mean of j / r_j; `trapezoid` the mean of
    (j - 1) / (r_j - 1) and j / r_j, the area under the curve with straight lines between its points (Philbin et al.,
    CVPR 2007), as the published retrieval benchmarks have it.

    >>> average_precision(np.array([1, 3]), "step")
    0.8333333333333333
    >>> average_precision(np.array([1, 3]), "trapezoid")
    0.7916666666666666
    """
    if len(ranks) == 0:
        return float("nan")
    j = np.arange(1, len(ranks) + 1)
    at = j / ranks
    if kind == "step":
        return float(at.mean())
    before = np.where(ranks > 1, (j - 1) / np.maximum(ranks - 1, 1), 1.0)
    return float(((before + at) / 2).mean())


def reciprocal_rank(ranks: np.ndarray) -> float:
    """1 / rank of the first relevant image; 0 where there is none."""
    return float(1 / ranks[0]) if len(ranks) else 0.0


def recall_at(ranks: np.ndarray, k: int) -> float:
    """Relevant images among the first k / all relevant; NaN where there are none. At most k / all, so rarely 1.

    >>> recall_at(np.array([1, 3, 9]), 5)
    0.6666666666666666
    """
    return float((ranks <= k).mean()) if len(ranks) else float("nan")


def relevance_from_targets(query_targets: np.ndarray, gallery_targets: np.ndarray) -> Relevance:
    """Images of equal target are relevant, none is junk."""
    order = np.argsort(gallery_targets, kind="stable")
    ordered = gallery_targets[order]
    first, last = (np.searchsorted(ordered, query_targets, side) for side in ("left", "right"))
    nothing = np.empty(0, np.int64)
    return [(order[a:b], nothing) for a, b in zip(first, last, strict=True)]


def _distinct(gallery: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different rows of a contiguous (G, D) float32 gallery, and which of them each row is: (G,)."""
    as_bytes = gallery.view(np.dtype((np.void, gallery.itemsize * gallery.shape[1]))).ravel()
    _, first, place = np.unique(as_bytes, return_index=True, return_inverse=True)
    if len(first) == len(gallery):
        return gallery, np.arange(len(gallery))
    return gallery[first], place


def _ranks(row: np.ndarray, positives: np.ndarray, junk: np.ndarray, *, skip_junk: bool) -> np.ndarray:
    """Ranks of the positives in one row of similarities (G,), irrelevant ties first.

    The j-th best positive stands behind every irrelevant image at least as similar, and behind j - 1 positives.
    """
    own = np.sort(row[positives])[::-1]
    ordered = np.sort(row)
    at_least = len(row) - np.searchsorted(ordered, own, side="left")
    positives_at_least = len(own) - np.searchsorted(own[::-1], own, side="left")
    ahead = at_least - positives_at_least
    if skip_junk and len(junk):
        aside = np.sort(row[junk])
        ahead = ahead - (len(aside) - np.searchsorted(aside, own, side="left"))
    return np.asarray(ahead + np.arange(1, len(own) + 1))
