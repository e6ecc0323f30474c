"""A few test images with what is on them and what a detector found: kept beside the scores, small, for reports."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from faster_coco_eval.core import mask as coco
from PIL import Image

from bob_gauntlet.datasets.dataset import Split
from bob_gauntlet.datasets.objects import ImageObjects
from bob_gauntlet.engine.detection.data_loading import decode_masks
from bob_gauntlet.engine.transforms import image_or_grey
from bob_gauntlet.metrics.detections import Detections
from bob_gauntlet.runtime.context import RunContext

COUNT = 6
"""Images of a split."""

SIDE = 320
"""The longer side of a kept image at most, in px."""

BYTES = 10_000
"""Of a kept image at most: the best of QUALITIES that needs no more, or the last."""

QUALITIES = (90, 80, 70, 55, 40, 25, 12)
"""JPEG's."""

LEAST_SCORE = 0.3
"""Of a detection that is kept."""

MOST = 20
"""Objects of an image at most, the largest ones, and as many detections, those with the highest scores."""


def store_example_images(
    detections: Detections, key: Mapping[str, Any], split: Split, classes: Sequence[str], context: RunContext
) -> dict[str, Any]:
    """Keep the pictures of a split under the key of its detections; gives where they are, for the provenance."""
    context.artifacts.memo("pictures", key, lambda: pictures(detections, split, classes))
    return {"kind": "pictures", "key": dict(key)}


def pictures(detections: Detections, split: Split, classes: Sequence[str]) -> dict[str, Any]:
    """Plain types: the split, by which rule images and detections were chosen, and each image with its objects.

    Boxes are [left, top, width, height] and outlines lists of polygons [x, y, x, y, ...], a hole one as well, all in
    pixels of the kept image. An image that cannot be read is grey.
    """
    return {
        "role": split.role,
        "images": len(split),
        "least_score": LEAST_SCORE,
        "most": MOST,
        "pictures": [_picture(detections, split, classes, index) for index in chosen(split.ids)],
    }


def chosen(ids: Sequence[str], count: int = COUNT) -> list[int]:
    """The indices of `count` images: the middle ones of as many equal parts of the ids in order.

    The rule knows neither images nor detections, so that every detector shows the same ones.

    >>> chosen(["e", "d", "c", "b", "a"], 2), chosen(["a", "b"], 3)
    ([3, 1], [0, 1])
    """
    order = sorted(range(len(ids)), key=lambda index: ids[index])
    count = min(count, len(ids))
    return [order[(2 * part + 1) * len(ids) // (2 * count)] for part in range(count)]


def _picture(detections: Detections, split: Split, classes: Sequence[str], index: int) -> dict[str, Any]:
    """One image; its objects and detections are described alike, and a detection has a score."""
    assert split.objects is not None, split.role
    objects = split.objects[index]
    image, _ = image_or_grey(split, index, (objects.width, objects.height))
    scale = min(1.0, SIDE / max(image.size))
    width, height = (max(1, round(side * scale)) for side in image.size)
    found = detections.take(np.flatnonzero(detections.images == index))
    return {
        "id": split.ids[index],
        "width": width,
        "height": height,
        "jpeg": base64.b64encode(_jpeg(image.convert("RGB").resize((width, height)))).decode(),
        "objects": _true(objects, classes, scale, masks=bool(objects.masks and detections.masks)),
        "detections": _found(found, objects, classes, scale),
    }


def _true(objects: ImageObjects, classes: Sequence[str], scale: float, *, masks: bool) -> list[dict[str, Any]]:
    """The largest objects; with their outlines only where detections have them too."""
    rows = np.argsort(-objects.areas, kind="stable")[:MOST]
    pixels = decode_masks(objects, rows) if masks else [None] * len(rows)
    return [
        {**_described(objects.boxes[row], int(objects.labels[row]), classes, mask, scale), "crowd": bool(crowd)}
        for row, mask, crowd in zip(rows, pixels, objects.crowd[rows], strict=True)
    ]


def _found(found: Detections, objects: ImageObjects, classes: Sequence[str], scale: float) -> list[dict[str, Any]]:
    """The detections with the highest scores, best first."""
    rows = np.argsort(-found.scores, kind="stable")[:MOST]
    size = [objects.height, objects.width]
    described = []
    for row in rows[found.scores[rows] >= LEAST_SCORE]:
        mask = coco.decode({"size": size, "counts": found.masks[row]}) if found.masks else None
        one = _described(found.boxes[row], int(found.labels[row]), classes, mask, scale)
        described.append({**one, "score": round(float(found.scores[row]), 4)})
    return described


def _described(
    box: np.ndarray, label: int, classes: Sequence[str], mask: np.ndarray | None, scale: float
) -> dict[str, Any]:
    return {
        "box": _tenths(box * scale),
        "label": label,
        "class": classes[label],
        "outline": [] if mask is None else outline(mask, scale),
    }


def outline(mask: np.ndarray, scale: float = 1.0) -> list[list[float]]:
    """The polygons around a (height, width) mask, times `scale`: less than a pixel off, and none around a single one.

    >>> outline(np.ones((2, 4)))
    [[0.2, 0.2, 0.2, 1.8, 3.8, 1.8, 3.8, 0.2]]
    """
    # OpenCV draws through the middles of pixels: those of twice as many are nearer to the edge
    fine = np.ascontiguousarray(mask, np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    around, _ = cv2.findContours(fine, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    simple = [cv2.approxPolyDP(one, 1 / scale, True).reshape(-1, 2) for one in around]
    return [_tenths((one + 0.5) / 2 * scale) for one in simple if len(one) > 2]


def _tenths(values: np.ndarray) -> list[float]:
    """In a row, to a tenth of a pixel."""
    return [round(value, 1) for value in np.asarray(values, np.float64).ravel().tolist()]


def _jpeg(image: Image.Image) -> bytes:
    """At the best quality that fits into BYTES."""
    packed = b""
    for quality in QUALITIES:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality, optimize=True)
        packed = file.getvalue()
        if len(packed) <= BYTES:
            break
    return packed
