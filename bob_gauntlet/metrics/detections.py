"""The predictions of a detector on the images of a split."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bob_gauntlet.errors import BobError, NotFiniteError, named
from bob_gauntlet.metrics.finite import finite_rows
from bob_gauntlet.runtime.schema import Array, Arrays, Schema


@dataclass(frozen=True)
class Detections:
    """The m detections on the images of a split, in ascending order of the images.

    `images` (m,) int64 are the indices of the images; `boxes` (m, 4) float32 left, top, width, height in pixels of the
    original image; `scores` (m,) float32; `labels` (m,) int64 class indices. `masks` has for each detection the
    compressed counts of COCO's run lengths, at the image's size, or is (). Raises BobError where the arrays do not fit
    together, NotFiniteError where a box or score is NaN or infinite.
    """

    images: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if {len(self.boxes), len(self.scores), len(self.labels), len(self.masks) or len(self)} != {len(self)}:
            raise BobError(
                "each detection needs an image, a box, a score and a label, and either all or none have a mask"
            )
        if np.any(np.diff(self.images) < 0):
            raise BobError("detections are not in ascending order of their images; sort them")
        if bad := np.flatnonzero(~(finite_rows(self.boxes) & finite_rows(self.scores))).tolist():
            images = named(map(str, dict.fromkeys(self.images[bad].tolist())))
            raise NotFiniteError(
                f"the boxes or scores of {len(bad)} of {len(self)} detections are NaN or infinite, on images with the "
                f"indices {images}: the training diverged; lower its learning rate"
            )

    def __len__(self) -> int:
        return len(self.images)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the detections as arrays for an artefact: all masks as one row of bytes, and where each mask ends.

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

    @staticmethod
    def schema(images: int, classes: int) -> Schema:
        """Return the schema of the artefact of detections of `classes` classes on a split of `images` images."""

        def check_values(arrays: Arrays) -> None:
            ends = arrays["mask_ends"]
            if len(ends) not in (0, len(arrays["images"])) or np.any(np.diff([0, *ends, len(arrays["masks"])]) < 0):
                raise ValueError("mask_ends are not those of the masks")
            for name, count in (("images", images), ("labels", classes)):
                if np.any((arrays[name] < 0) | (arrays[name] >= count)):
                    raise ValueError(f"{name} are not from 0 to {count - 1}")
            Detections.from_arrays(arrays)

        arrays = {
            "images": Array("int64", ("detections",)),
            "boxes": Array("float32", ("detections", 4)),
            "scores": Array("float32", ("detections",)),
            "labels": Array("int64", ("detections",)),
            "masks": Array("uint8", ("bytes",)),
            "mask_ends": Array("int64", ("masks",)),
        }
        return Schema(arrays, check_values)

    def take(self, rows: np.ndarray) -> "Detections":
        """Return the detections at `rows`, which are ascending indices."""
        masks = tuple(self.masks[row] for row in rows.tolist()) if self.masks else ()
        return Detections(self.images[rows], self.boxes[rows], self.scores[rows], self.labels[rows], masks)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Detections":
        """Return the detections that `to_arrays` has turned into arrays."""
        mask_bytes, ends = arrays["masks"].tobytes(), arrays["mask_ends"].tolist()
        masks = tuple(mask_bytes[start:end] for start, end in zip([0, *ends], ends, strict=False))
        return cls(arrays["images"], arrays["boxes"], arrays["scores"], arrays["labels"], masks)
