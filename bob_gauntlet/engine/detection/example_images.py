"""A few test images with their objects and detections, which a report draws: small, stored beside the scores.

Their artefacts are of the kind "pictures".
"""

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
from bob_gauntlet.runtime.artifacts import ArtifactRef
from bob_gauntlet.runtime.context import RunContext
from bob_gauntlet.runtime.schema import json_schema
from bob_gauntlet.scores.pictures import PicturesDict, check_pictures
from bob_gauntlet.scores.provenance import ArtifactRefDict

IMAGE_COUNT = 6
"""Images of a split."""

MAX_SIDE = 320
"""The longer side of a stored image at most, in pixels."""

MAX_BYTES = 10_000
"""Bytes of a stored image at most: it has the highest of JPEG_QUALITIES that needs no more, or else the lowest."""

JPEG_QUALITIES = (90, 80, 70, 55, 40, 25, 12)

MIN_SCORE = 0.3
"""The least score of a stored detection."""

MAX_OBJECTS = 20
"""Objects of an image at most, the largest ones, and detections of an image at most, those with the highest scores."""


def store_example_images(
    detections: Detections, key: Mapping[str, Any], split: Split, classes: Sequence[str], context: RunContext
) -> ArtifactRefDict:
    """Store the example images of a split under the key of its detections; return their reference for provenance."""
    schema = json_schema(PicturesDict, check_pictures)
    context.artifacts.memo("pictures", key, lambda: describe_example_images(detections, split, classes), schema)
    return ArtifactRef("pictures", dict(key)).to_dict()


def describe_example_images(detections: Detections, split: Split, classes: Sequence[str]) -> dict[str, Any]:
    """Return the example images of a split with their objects and detections, and how they were chosen: plain types.

    Boxes are [left, top, width, height], and outlines lists of polygons [x, y, x, y, ...], where a hole is a polygon
    too. Both are in pixels of the stored image. An image that cannot be read is grey.
    """
    return {
        "role": split.role,
        "images": len(split),
        "least_score": MIN_SCORE,
        "most": MAX_OBJECTS,
        "pictures": [_describe_image(detections, split, classes, index) for index in choose_examples(split.ids)],
    }


def choose_examples(ids: Sequence[str], count: int = IMAGE_COUNT) -> list[int]:
    """Return the indices of `count` images that are evenly spaced in the order of their ids.

    The ids are divided into `count` equal parts, and the middle one of each part is taken. The choice depends neither
    on images nor on detections, so that all detectors have the same example images.

    >>> choose_examples(["e", "d", "c", "b", "a"], 2), choose_examples(["a", "b"], 3)
    ([3, 1], [0, 1])
    """
    order = sorted(range(len(ids)), key=lambda index: ids[index])
    count = min(count, len(ids))
    return [order[(2 * part + 1) * len(ids) // (2 * count)] for part in range(count)]


def _describe_image(detections: Detections, split: Split, classes: Sequence[str], index: int) -> dict[str, Any]:
    """Return one image with its objects and detections."""
    assert split.objects is not None, split.role
    objects = split.objects[index]
    image, _ = image_or_grey(split, index, (objects.width, objects.height))
    scale = min(1.0, MAX_SIDE / max(image.size))
    width, height = (max(1, round(side * scale)) for side in image.size)
    image_detections = detections.take(np.flatnonzero(detections.images == index))
    return {
        "id": split.ids[index],
        "width": width,
        "height": height,
        "jpeg": base64.b64encode(_encode_jpeg(image.convert("RGB").resize((width, height)))).decode(),
        "objects": _describe_objects(objects, classes, scale, masks=bool(objects.masks and detections.masks)),
        "detections": _describe_detections(image_detections, objects, classes, scale),
    }


def _describe_objects(
    objects: ImageObjects, classes: Sequence[str], scale: float, *, masks: bool
) -> list[dict[str, Any]]:
    """Return the largest objects; their outlines are empty without `masks`."""
    rows = np.argsort(-objects.areas, kind="stable")[:MAX_OBJECTS]
    pixels = decode_masks(objects, rows) if masks else [None] * len(rows)
    return [
        {**_describe(objects.boxes[row], int(objects.labels[row]), classes, mask, scale), "crowd": bool(crowd)}
        for row, mask, crowd in zip(rows, pixels, objects.crowd[rows], strict=True)
    ]


def _describe_detections(
    detections: Detections, objects: ImageObjects, classes: Sequence[str], scale: float
) -> list[dict[str, Any]]:
    """Return the detections of one image with the highest scores, best first."""
    rows = np.argsort(-detections.scores, kind="stable")[:MAX_OBJECTS]
    size = [objects.height, objects.width]
    described = []
    for row in rows[detections.scores[rows] >= MIN_SCORE]:
        mask = coco.decode({"size": size, "counts": detections.masks[row]}) if detections.masks else None
        entry = _describe(detections.boxes[row], int(detections.labels[row]), classes, mask, scale)
        described.append({**entry, "score": round(float(detections.scores[row]), 4)})
    return described


def _describe(
    box: np.ndarray, label: int, classes: Sequence[str], mask: np.ndarray | None, scale: float
) -> dict[str, Any]:
    """Return the box, class and outline of an object or a detection, times `scale`."""
    return {
        "box": _round_to_tenths(box * scale),
        "label": label,
        "class": classes[label],
        "outline": [] if mask is None else trace_outline(mask, scale),
    }


def trace_outline(mask: np.ndarray, scale: float = 1.0) -> list[list[float]]:
    """Return the polygons around a (height, width) mask, times `scale`.

    They are less than a pixel from the mask's edge. A mask of a single pixel has no polygon.

    >>> trace_outline(np.ones((2, 4)))
    [[0.2, 0.2, 0.2, 1.8, 3.8, 1.8, 3.8, 0.2]]
    """
    # OpenCV's contours run through the centres of pixels; with twice as many pixels they are nearer to the edge
    fine = np.ascontiguousarray(mask, np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    contours, _ = cv2.findContours(fine, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    polygons = [cv2.approxPolyDP(contour, 1 / scale, True).reshape(-1, 2) for contour in contours]
    return [_round_to_tenths((polygon + 0.5) / 2 * scale) for polygon in polygons if len(polygon) > 2]


def _round_to_tenths(values: np.ndarray) -> list[float]:
    """Return the values as a flat list, rounded to a tenth of a pixel."""
    return [round(value, 1) for value in np.asarray(values, np.float64).ravel().tolist()]


def _encode_jpeg(image: Image.Image) -> bytes:
    """Return the image as JPEG, at the highest quality that fits into MAX_BYTES."""
    content = b""
    for quality in JPEG_QUALITIES:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality, optimize=True)
        content = file.getvalue()
        if len(content) <= MAX_BYTES:
            break
    return content
