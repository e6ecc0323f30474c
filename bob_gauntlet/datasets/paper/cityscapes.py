"""The dataset `cityscapes`: cars on photos of streets, drawn from the polygons that its publisher provides."""

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
from bob_gauntlet.datasets.paper.layout import require_folder
from bob_gauntlet.datasets.rle import encode_mask
from bob_gauntlet.errors import BobError

NAME = "cityscapes"
CLASSES = ("car",)

CROWD = "cargroup"
"""Label of a group of cars that is annotated as one crowd. The paper's annotations treat such groups as background."""

UNDRAWN = "license plate"
"""The only label that Cityscapes' instance images do not draw, so that the object below it stays visible."""

_SUFFIX = "_gtFine_polygons.json"


class Shape(NamedTuple):
    """A polygon of an image: its label, and its corners (x, y) in px."""

    label: str
    corners: list[tuple[float, float]]


def load_cityscapes(locations: DataLocations) -> Dataset:
    """Load Cityscapes, `test` only: the cars on its validation images, including images without cars.

    Boxes, areas and masks cover the visible pixels of a car, since later polygons hide earlier ones; a car that is
    completely hidden is left out. The pixels are those of the publisher's gtFine_instanceIds.png. The paper's
    annotations traced the outlines of these pixels again, and lost single pixels.
    """
    root = require_folder(NAME, locations)
    files = sorted((root / "gtFine/val").glob(f"*/*{_SUFFIX}"))
    if not files:
        raise BobError(f"{NAME}: no CITY/*{_SUFFIX} in {root / 'gtFine/val'}; `bob data {NAME}` shows the layout")
    paths = tuple(f"leftImg8bit/val/{file.parent.name}/{file.name[: -len(_SUFFIX)]}_leftImg8bit.png" for file in files)
    images = AnnotatedImages(root, paths, tuple(visible_cars(*_read_shapes(file)) for file in files))
    split = annotated_split("test", f"{NAME} test", images, CLASSES, locations.hashes)
    return Dataset(NAME, {"test": split}, CLASSES, multi_label=True)


def visible_cars(width: int, height: int, shapes: Sequence[Shape]) -> ImageObjects:
    """Return the visible cars and groups of cars among the shapes of an image, which are sorted from back to front.

    >>> square = [(0, 0), (0, 3), (3, 3), (3, 0)]
    >>> cars = visible_cars(8, 6, [Shape("car", square), Shape("pole", [(0, 0), (1, 0), (1, 5), (0, 5)])])
    >>> cars.boxes.tolist(), cars.areas.tolist(), cars.masks[0]["counts"]
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
        left, top, visible = _visible_pixels(pixels, number, shape)
        if visible.any():
            boxes.append([left, top, visible.shape[1], visible.shape[0]])
            areas.append(visible.sum())
            crowd.append(shape.label == CROWD)
            masks.append(_encode_part(left, top, visible, width, height))
    return ImageObjects(
        width,
        height,
        boxes=np.array(boxes, np.float64).reshape(-1, 4),
        labels=np.zeros(len(boxes), np.int64),
        areas=np.array(areas, np.float64),
        crowd=np.array(crowd, bool),
        masks=tuple(masks),
    )


def _visible_pixels(pixels: np.ndarray, number: int, shape: Shape) -> tuple[int, int, np.ndarray]:
    """Return left and top of the visible part of a shape, and its mask, cropped to its bounding box.

    `pixels` holds the number of the shape that is visible at each pixel. The mask is empty where nothing is visible.
    """
    corners = np.array(shape.corners)
    left, top = np.maximum(np.floor(corners.min(axis=0)).astype(int), 0).tolist()
    right, bottom = (np.ceil(corners.max(axis=0)).astype(int) + 1).tolist()
    window = pixels[top:bottom, left:right] == number
    rows, columns = np.flatnonzero(window.any(axis=1)), np.flatnonzero(window.any(axis=0))
    if not len(rows):
        return left, top, window[:0, :0]
    visible = window[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return left + int(columns[0]), top + int(rows[0]), visible


def _encode_part(left: int, top: int, part: np.ndarray, width: int, height: int) -> Mask:
    """Return the run lengths of the mask of a whole image that has `part` at (left, top).

    Only the columns of `part` are encoded; the empty columns before and after it are added as numbers.
    """
    strip = np.zeros((height, part.shape[1]), bool)
    strip[top : top + part.shape[0]] = part
    counts = encode_mask(strip)["counts"]
    counts[0] += left * height
    after = (width - left - strip.shape[1]) * height
    if len(counts) % 2:
        counts[-1] += after
    elif after:
        counts.append(after)
    return {"size": [height, width], "counts": counts}


def _read_shapes(path: Path) -> tuple[int, int, list[Shape]]:
    """Return width and height of an image, and its shapes in the order in which they are drawn."""
    try:
        content = json.loads(path.read_bytes())
        drawn = [record for record in content["objects"] if not record.get("deleted") and record["label"] != UNDRAWN]
        return int(content["imgWidth"]), int(content["imgHeight"]), [_parse_shape(record) for record in drawn]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BobError(f"{path} holds no polygons of Cityscapes ({error!r:.80}); get the file again") from error


def _parse_shape(record: dict[str, Any]) -> Shape:
    """Return the shape of an entry of `objects`; ValueError where it has no finite polygon of three corners or more."""
    corners = [(float(x), float(y)) for x, y in record["polygon"]]
    if len(corners) < 3 or not np.isfinite(corners).all():
        raise ValueError(f"a polygon of {len(corners)} corners")
    return Shape(str(record["label"]), corners)
