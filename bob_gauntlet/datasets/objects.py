"""The annotated objects of an image: their boxes, classes and masks, as the publisher ships them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Mask = Any
"""A mask as in COCO's files: polygons [[x, y, x, y, ...], ...] in pixels, or {"size": [height, width], "counts": ...},
where the counts are a list of run lengths in column order, or their compressed text."""


@dataclass(frozen=True)
class ImageObjects:
    """The n annotated objects of one image of `width` x `height` pixels.

    `boxes` are (n, 4) float64 left, top, width, height in pixels, as annotated. `labels` are (n,) int64 class indices.
    `areas` are (n,) float64 in square pixels, of the mask where there is one. `crowd` (n,) bool marks annotations that
    stand for several objects. `masks` has a mask for each object, or is () in a dataset that has boxes only.

    In LVIS each image is annotated for some of the classes: `negative` are the classes that were looked for and are not
    on the image, `incomplete` are the classes of which not all objects are annotated.
    """

    width: int
    height: int
    boxes: np.ndarray
    labels: np.ndarray
    areas: np.ndarray
    crowd: np.ndarray
    masks: tuple[Mask, ...] = ()
    negative: tuple[int, ...] = ()
    incomplete: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def learnable(self) -> np.ndarray:
        """(n,) bool: whether a detector is trained on the object.

        It is not trained on crowds, on boxes below 1 x 1 pixel or outside the image, or on objects without area.

        >>> objects = ImageObjects(8, 8, np.array([[0, 0, 4, 4], [8, 0, 4, 4], [1, 1, 0, 5.0]]),
        ...     labels=np.zeros(3, int), areas=np.ones(3), crowd=np.zeros(3, bool))
        >>> objects.learnable.tolist()
        [True, False, False]
        """
        left, top, width, height = self.boxes.T
        inside_x = np.minimum(left + width, self.width) - np.maximum(left, 0)
        inside_y = np.minimum(top + height, self.height) - np.maximum(top, 0)
        has_pixels = (width >= 1) & (height >= 1) & (inside_x > 0) & (inside_y > 0) & (self.areas > 0)
        return np.asarray(has_pixels & ~self.crowd.astype(bool))

    @property
    def canonical(self) -> Mapping[str, Any]:
        """All annotations as JSON types, for fingerprints."""
        return {
            "size": [self.width, self.height],
            "boxes": self.boxes.tolist(),
            "labels": self.labels.tolist(),
            "areas": self.areas.tolist(),
            "crowd": self.crowd.astype(int).tolist(),
            "masks": list(self.masks),
            "federated": [list(self.negative), list(self.incomplete)],
        }
