"""`cityscapes`: cars on photos of streets, cut from the polygons that its publisher ships."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from bob_gauntlet.datasets.annotated_images import AnnotatedImages, annotated_split
from bob_gauntlet.datasets.dataset import Dataset
from bob_gauntlet.datasets.locations import DataLocations
from bob_gauntlet.datasets.objects import ImageObjects, Mask
from bob_gauntlet.datasets.paper.layout import present
from bob_gauntlet.datasets.rle import encode_mask
from bob_gauntlet.errors import BobError

NAME = "cityscapes"
CLASSES = ("car",)

CROWD = "cargroup"
"""Label of cars that are not told apart: a crowd. The paper's annotations left them out, as background."""

UNDRAWN = "license plate"
"""The one label that Cityscapes' own images of instances leave out: what it lies on is seen."""

_ENDING = "_gtFine_polygons.json"


class Shape(NamedTuple):
    """An outline of an image: its label, and corners (x, y) in px."""

    label: str
    corners: list[tuple[float, float]]


def load_cityscapes(locations: DataLocations) -> Dataset:
    """Cityscapes, `test` alone: the cars of its validation images; an image without cars stays.

    Boxes, areas and masks are of the pixels in which a car is seen, since later polygons hide earlier ones; a car that
    is hidden wholly is none. The same pixels as in the publisher's gtFine_instanceIds.png; the annotations of the paper
    traced these again, and lost single pixels.
    """
    root = present(NAME, locations)
    files = sorted((root / "gtFine/val").glob(f"*/*{_ENDING}"))
    if not files:
        raise BobError(f"{NAME}: no CITY/*{_ENDING} in {root / 'gtFine/val'}; `bob data {NAME}` shows the layout")
    paths = tuple(f"leftImg8bit/val/{file.parent.name}/{file.name[: -len(_ENDING)]}_leftImg8bit.png" for file in files)
    found = AnnotatedImages(root, paths, tuple(cars(*_shapes(file)) for file in files))
    return Dataset(NAME, {"test": annotated_split("test", f"{NAME} test", found, CLASSES)}, CLASSES, multi_label=True)


def cars(width: int, height: int, shapes: Sequence[Shape]) -> ImageObjects:
    """The cars and groups of cars among the shapes of an image, from back to front.

    >>> square = [(0, 0), (0, 3), (3, 3), (3, 0)]
    >>> found = cars(8, 6, [Shape("car", square), Shape("pole", [(0, 0), (1, 0), (1, 5), (0, 5)])])
    >>> found.boxes.tolist(), found.areas.tolist(), found.masks[0]["counts"]
    ([[2.0, 0.0, 2.0, 4.0]], [8.0], [12, 4, 2, 4, 26])
    """
    canvas = Image.new("I", (width, height))
    draw = ImageDraw.Draw(canvas)
    for number, shape in enumerate(shapes, 1):
        draw.polygon(shape.corners, fill=number)
    pixels = np.asarray(canvas)
    boxes, areas, crowd, masks = [], [], [], []
    for number, shape in enumerate(shapes, 1):
        if shape.label not in (*CLASSES, CROWD):
            continue
        left, top, seen = _seen(pixels, number, shape)
        if seen.any():
            boxes.append([left, top, seen.shape[1], seen.shape[0]])
            areas.append(seen.sum())
            crowd.append(shape.label == CROWD)
            masks.append(_mask(left, top, seen, width, height))
    return ImageObjects(
        width,
        height,
        boxes=np.array(boxes, np.float64).reshape(-1, 4),
        labels=np.zeros(len(boxes), np.int64),
        areas=np.array(areas, np.float64),
        crowd=np.array(crowd, bool),
        masks=tuple(masks),
    )


def _seen(pixels: np.ndarray, number: int, shape: Shape) -> tuple[int, int, np.ndarray]:
    """Left and top of what is seen of a shape, and its pixels, as small as may be."""
    corners = np.array(shape.corners)
    left, top = np.maximum(np.floor(corners.min(axis=0)).astype(int), 0).tolist()
    right, bottom = (np.ceil(corners.max(axis=0)).astype(int) + 1).tolist()
    window = pixels[top:bottom, left:right] == number
    rows, columns = np.flatnonzero(window.any(axis=1)), np.flatnonzero(window.any(axis=0))
    if not len(rows):
        return left, top, window[:0, :0]
    seen = window[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return left + int(columns[0]), top + int(rows[0]), seen


def _mask(left: int, top: int, seen: np.ndarray, width: int, height: int) -> Mask:
    """Run lengths of pixels that lie at (left, top) in an image, from those of their columns alone."""
    strip = np.zeros((height, seen.shape[1]), bool)
    strip[top : top + seen.shape[0]] = seen
    counts = encode_mask(strip)["counts"]
    counts[0] += left * height
    after = (width - left - strip.shape[1]) * height
    if len(counts) % 2:
        counts[-1] += after
    elif after:
        counts.append(after)
    return {"size": [height, width], "counts": counts}


def _shapes(path: Path) -> tuple[int, int, list[Shape]]:
    """Width and height of an image, and the shapes that are drawn of it, in their order."""
    try:
        page = json.loads(path.read_bytes())
        shapes = [_shape(one) for one in page["objects"] if not one.get("deleted") and one["label"] != UNDRAWN]
        return int(page["imgWidth"]), int(page["imgHeight"]), shapes
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BobError(f"{path} holds no polygons of Cityscapes ({error!r:.80}); get the file anew") from error


def _shape(record: dict[str, Any]) -> Shape:
    corners = [(float(x), float(y)) for x, y in record["polygon"]]
    if len(corners) < 3 or not np.isfinite(corners).all():
        raise ValueError(f"a polygon of {len(corners)} corners")
    return Shape(str(record["label"]), corners)
