"""The documented schema of the example images of a detection setting, an artefact of the kind `pictures`.

`engine.detection.example_images` makes them and a report draws them. Boxes are [left, top, width, height], and outlines
lists of polygons [x, y, x, y, ...], where a hole is a polygon too. Both are in pixels of the stored image.
"""

from collections.abc import Mapping
from typing import Any, TypedDict

Box = tuple[float, float, float, float]

# in this form, because "class" cannot be the name of an attribute
ObjectDict = TypedDict(
    "ObjectDict", {"box": Box, "label": int, "class": str, "outline": list[list[float]], "crowd": bool}
)
"""One annotated object; its label is the index of its class."""

DetectionDict = TypedDict(
    "DetectionDict", {"box": Box, "label": int, "class": str, "outline": list[list[float]], "score": float}
)
"""One detection, with its score in 0..1."""


class PictureDict(TypedDict):
    """One image as base64 of a JPEG, its annotated objects, and its detections by falling score."""

    id: str
    width: int
    height: int
    jpeg: str
    objects: list[ObjectDict]
    detections: list[DetectionDict]


class PicturesDict(TypedDict):
    """The images of one split, and how they and their detections were chosen."""

    role: str
    # images of the whole split
    images: int
    # the least score of a detection, and the most objects or detections of an image
    least_score: float
    most: int
    pictures: list[PictureDict]


def check_pictures(pictures: Mapping[str, Any]) -> None:
    """Raise ValueError where an image has no size, or a polygon has half a point."""
    for picture in pictures["pictures"]:
        if picture["width"] < 1 or picture["height"] < 1:
            raise ValueError(f"picture {picture['id']} has no size")
        for annotated in (*picture["objects"], *picture["detections"]):
            if any(len(polygon) % 2 for polygon in annotated["outline"]):
                raise ValueError(f"picture {picture['id']} has an outline with half a point")
