"""A loaded dataset: splits by role, each a sequence of images with targets, and a fingerprint."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from PIL import Image

from bob_gauntlet.datasets.objects import ImageObjects


@dataclass(frozen=True)
class Split:
    """Images of one role.

    `image(i)` gives an RGB PIL image; it is drawn or decoded at the call, so that a split costs nothing until it is
    read. `targets` are (N,) int64 class indices, or (N, C) {0, 1} for multi-label. `clusters` name what examples
    share (a photo, a patient), for honest intervals. Of a dataset for detection `objects` has what is annotated on each
    image, and `targets` are (N, C) uint8 {0, 1}: which classes are.
    """

    role: str
    fingerprint: str
    ids: tuple[str, ...]
    targets: np.ndarray
    image: Callable[[int], Image.Image]
    clusters: tuple[str, ...]
    objects: tuple[ImageObjects, ...] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, indices: np.ndarray, name: str) -> "Split":
        """The examples at `indices`, as a split whose fingerprint says how it was taken (`name`)."""
        digest = hashlib.sha256(f"{self.fingerprint}:{name}:".encode() + np.asarray(indices, np.int64).tobytes())
        return replace(
            self,
            fingerprint=digest.hexdigest()[:16],
            ids=tuple(self.ids[i] for i in indices),
            targets=self.targets[indices],
            image=lambda i: self.image(int(indices[i])),
            clusters=tuple(self.clusters[i] for i in indices),
            objects=None if self.objects is None else tuple(self.objects[i] for i in indices),
        )


@dataclass(frozen=True)
class Dataset:
    """A dataset with its splits by role: train, val, test; or query, gallery.

    `relevance[q] = (positives, junk)` are gallery indices for query q; None means that images of equal target are
    relevant and none is junk. `subsets` are indices into train by name ("1%"), as published. `paper_role` is the role
    that the original paper reports on. Only `restricted_classes` (class indices; None means all) may be predicted for
    test images. `frequencies` says how often each class is annotated: "r" (rare), "c" (common) or "f" (frequent), as in
    LVIS; () where that is not stated.
    """

    name: str
    splits: Mapping[str, Split]
    classes: tuple[str, ...]
    multi_label: bool = False
    relevance: tuple[tuple[np.ndarray, np.ndarray], ...] | None = None
    subsets: Mapping[str, np.ndarray] = field(default_factory=dict)
    paper_role: str = "test"
    restricted_classes: tuple[int, ...] | None = None
    frequencies: tuple[str, ...] = ()

    def __getitem__(self, role: str) -> Split:
        return self.splits[role]

    def reported_role(self, fidelity: str) -> str:
        """The role whose images are reported: `test`, or with "paper" the original's choice where it is there."""
        return self.paper_role if fidelity == "paper" and self.paper_role in self.splits else "test"

    @property
    def fingerprints(self) -> dict[str, str]:
        """Role -> fingerprint."""
        return {role: split.fingerprint for role, split in self.splits.items()}
