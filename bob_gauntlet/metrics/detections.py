"""What a detector predicts on the images of a split."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bob_gauntlet.errors import BobError


@dataclass(frozen=True)
class Detections:
    """What a detector found on the images of a split, in ascending order of the images.

    `images` (m,) int64 are the indices of the images; `boxes` (m, 4) float32 left, top, width, height in pixels of the
    original image; `scores` (m,) float32; `labels` (m,) int64 class indices. `masks` has the compressed counts of
    COCO's run lengths of each one, at the image's size, or is (). Raises BobError where the arrays do not fit together
    or a number is not finite.
    """

    images: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if {len(self.boxes), len(self.scores), len(self.labels), len(self.masks) or len(self)} != {len(self)}:
            raise BobError("detections need an image, box, score and label each, and all of them a mask or none")
        if np.any(np.diff(self.images) < 0):
            raise BobError("detections come image by image; sort them by their images")
        if not (np.isfinite(self.boxes).all() and np.isfinite(self.scores).all()):
            raise BobError("a box or score is not finite: the training diverged; lower its learning rate")

    def __len__(self) -> int:
        return len(self.images)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Plain arrays for `bob_gauntlet.runtime.artifacts`: all masks as bytes in a row, and where each ends.

        >>> some = Detections(np.zeros(2, int), np.ones((2, 4)), np.ones(2), np.zeros(2, int), (b"12", b"3"))
        >>> some.to_arrays()["mask_ends"].tolist()
        [2, 3]
        """
        return {
            "images": np.asarray(self.images, np.int64),
            "boxes": np.asarray(self.boxes, np.float32).reshape(-1, 4),
            "scores": np.asarray(self.scores, np.float32),
            "labels": np.asarray(self.labels, np.int64),
            "masks": np.frombuffer(b"".join(self.masks), np.uint8),
            "mask_ends": np.cumsum([len(mask) for mask in self.masks], dtype=np.int64),
        }

    def take(self, rows: np.ndarray) -> "Detections":
        """Those at some ascending indices."""
        masks = tuple(self.masks[row] for row in rows.tolist()) if self.masks else ()
        return Detections(self.images[rows], self.boxes[rows], self.scores[rows], self.labels[rows], masks)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Detections":
        """The detections of `to_arrays`."""
        row, ends = arrays["masks"].tobytes(), arrays["mask_ends"].tolist()
        masks = tuple(row[start:end] for start, end in zip([0, *ends], ends, strict=False))
        return cls(arrays["images"], arrays["boxes"], arrays["scores"], arrays["labels"], masks)
