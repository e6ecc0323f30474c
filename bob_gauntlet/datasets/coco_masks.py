"""Masks of an annotation file: which ones are valid, and what replaces a damaged one."""

import logging
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from bob_gauntlet.datasets.coco_fields import are_numbers
from bob_gauntlet.datasets.objects import Mask
from bob_gauntlet.errors import BobError, named

log = logging.getLogger(__name__)

_MIN_CORNERS = 3


def read_masks(
    path: Path, annotations: Sequence[Mapping[str, Any]], boxes: np.ndarray, sizes: Sequence[tuple[int, int]]
) -> tuple[Mask, ...]:
    """Return the mask of every annotation, its box where it has no valid one; () where none has a valid mask.

    Logs a warning that counts the masks without a valid part, and those that lose a part.
    """
    masks: list[Mask | None] = []
    replaced: list[str] = []
    cut: list[str] = []
    for annotation, size in zip(annotations, sizes, strict=True):
        mask, is_whole_mask = _valid_mask(path, annotation, size)
        masks.append(mask)
        if not is_whole_mask:
            (replaced if mask is None else cut).append(str(annotation.get("id", "without an id")))
    has_masks = any(mask is not None for mask in masks)
    for ids, becomes in ((replaced, "their boxes are taken" if has_masks else "no masks are measured"), (cut, "")):
        if ids:
            log.warning(
                "%s: %s of %s annotations have a damaged mask, and %s: annotations %s; correct them",
                path, f"{len(ids):,}", f"{len(annotations):,}", becomes or "its damaged parts are left out", named(ids),
            )  # fmt: skip
    if not has_masks:
        return ()
    return tuple(_box_polygon(box) if mask is None else mask for mask, box in zip(masks, boxes, strict=True))


def _valid_mask(path: Path, annotation: Mapping[str, Any], size: tuple[int, int]) -> tuple[Mask | None, bool]:
    """Return the valid parts of an annotation's mask, None where there is none, and whether no part is damaged."""
    mask = annotation.get("segmentation")
    if not mask:
        return None, True
    if isinstance(mask, list):
        valid, are_all_valid = polygons(mask)
        return valid or None, are_all_valid
    if not isinstance(mask, dict) or not mask.get("counts"):
        return None, False
    width, height = size
    if mask.get("size") != [height, width]:
        raise BobError(
            f"{path}: annotation {annotation.get('id')} has a mask of size {mask.get('size')!r:.40}, and its image has "
            f"{[height, width]}, height and width; correct or remove it"
        )
    is_valid = are_run_lengths(mask["counts"], width * height)
    return (mask if is_valid else None), is_valid


def _box_polygon(box: np.ndarray) -> Mask:
    """Return a box as a polygon.

    >>> _box_polygon(np.array([1.0, 2.0, 3.0, 4.0]))
    [[1.0, 2.0, 4.0, 2.0, 4.0, 6.0, 1.0, 6.0]]
    """
    left, top, width, height = box.tolist()
    return [[left, top, left + width, top, left + width, top + height, left, top + height]]


def polygons(parts: Sequence[Any]) -> tuple[list[list[float]], bool]:
    """Return the valid polygons [x, y, x, y, ...] of a list, and whether every part of it is valid.

    The list may also be a single polygon, and the corners of a polygon may be pairs [x, y]. A valid polygon has at
    least three corners.

    >>> polygons([[0, 0, 4, 0, 4, 4]]) == polygons([0, 0, 4, 0, 4, 4]) == polygons([[0, 0], [4, 0], [4, 4]])
    True
    >>> polygons([[0, 0, 4, 0, 4, 4], [1, 1]])
    ([[0, 0, 4, 0, 4, 4]], False)
    """
    is_one_polygon = bool(parts) and (are_numbers(parts) or (len(parts) >= _MIN_CORNERS and _are_pairs(parts)))
    candidates = [_flat(part) for part in ([parts] if is_one_polygon else parts)]
    valid = [one for one in candidates if len(one) >= 2 * _MIN_CORNERS and len(one) % 2 == 0 and are_numbers(one)]
    return valid, len(valid) == len(candidates)


def _are_pairs(corners: Any) -> bool:
    """Return whether a value is a list of pairs of numbers."""
    return isinstance(corners, list) and all(isinstance(c, list) and len(c) == 2 and are_numbers(c) for c in corners)


def _flat(polygon: Any) -> list[Any]:
    """Return the numbers of a polygon, also where its corners are pairs; [] where it is no list."""
    if not isinstance(polygon, list):
        return []
    return list(chain.from_iterable(polygon)) if _are_pairs(polygon) else polygon


def are_run_lengths(counts: Any, pixels: int) -> bool:
    """Return whether a value is the run lengths of a mask: numbers, or COCO's compressed text.

    Their sum has to be the number of pixels of the image.

    >>> are_run_lengths([2, 4], 6), are_run_lengths([2, 3], 6), are_run_lengths("24", 6), are_run_lengths("2", 6)
    (True, False, True, False)
    """
    if isinstance(counts, list):
        runs = counts if all(type(run) is int for run in counts) else []
    else:
        runs = _decompress(counts) if isinstance(counts, str) else []
    return bool(runs) and min(runs) >= 0 and sum(runs) == pixels


def _decompress(text: str) -> list[int]:
    """Return the runs of COCO's compressed text; [] where it is cut off or has other characters.

    A character has five bits of a number, the lowest first, above "0". Its sixth bit says that more follow; the fifth
    bit of the last one is the sign. From the fourth run on the number is the difference to the run before the last.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - ord("0")
        if not 0 <= bits < 64:
            return []
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    return runs if not shift else []
