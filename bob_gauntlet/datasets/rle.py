"""Masks as run lengths in column order, as in COCO's files; works without pycocotools."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from bob_gauntlet.errors import BobError


def encode_mask(mask: np.ndarray) -> dict[str, Any]:
    """Encode a (height, width) bool mask as {"size": [height, width], "counts": [...]}.

    The counts are the lengths of runs of equal pixels, column by column; the first run is of 0 and may be empty.

    >>> encode_mask(np.array([[0, 1], [0, 1], [0, 0]], bool))
    {'size': [3, 2], 'counts': [3, 2, 1]}
    >>> encode_mask(np.array([[1], [0]], bool))
    {'size': [2, 1], 'counts': [0, 1, 1]}
    """
    pixels = mask.astype(bool).ravel(order="F")
    changes = np.flatnonzero(np.diff(pixels, prepend=False))
    counts = np.diff(changes, prepend=0, append=len(pixels))
    return {"size": list(mask.shape), "counts": counts.tolist()}


def decode_mask(rle: Mapping[str, Any]) -> np.ndarray:
    """Decode uncompressed run lengths to a (height, width) bool mask; runs that do not fill its size raise BobError.

    >>> decode_mask({"size": [3, 2], "counts": [3, 2, 1]}).astype(int).tolist()
    [[0, 1], [0, 1], [0, 0]]
    """
    (height, width), counts = rle["size"], rle["counts"]
    if sum(counts) != height * width:
        raise BobError(
            f"a mask of {height} x {width} pixels has runs of {sum(counts)} pixels; its file is damaged, get it again"
        )
    pixels = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return pixels.reshape(height, width, order="F")
