"""A loaded dataset: one split per role, each with images, targets and a fingerprint."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from PIL import Image

from bob_gauntlet.datasets.objects import ImageObjects


@dataclass(frozen=True)
class Split:
    """The images of one role.

    `image(i)` returns an RGB PIL image. The image is rendered or decoded at the call, so a split uses no time and
    little memory until its images are read. `targets` are (N,) int64 class indices, or (N, C) {0, 1} for multi-label
    datasets. `clusters` name what examples share (a photo, a patient); confidence intervals resample whole clusters. In
    a dataset for detection, `objects` has the annotated objects of each image, and `targets` are (N, C) uint8 {0, 1}
    and say which classes are annotated on it. `contents` are (N, 16) uint8 digests of what the images are made from,
    zeros for an absent file; None in a dataset that is rendered.
    """

    role: str
    fingerprint: str
    ids: tuple[str, ...]
    targets: np.ndarray
    image: Callable[[int], Image.Image]
    clusters: tuple[str, ...]
    objects: tuple[ImageObjects, ...] | None = None
    contents: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, indices: np.ndarray, name: str) -> "Split":
        """Return the examples at `indices` as a split; its fingerprint depends on the indices and on `name`."""
        digest = hashlib.sha256(f"{self.fingerprint}:{name}:".encode() + np.asarray(indices, np.int64).tobytes())
        return replace(
            self,
            fingerprint=digest.hexdigest()[:16],
            ids=tuple(self.ids[i] for i in indices),
            targets=self.targets[indices],
            image=lambda i: self.image(int(indices[i])),
            clusters=tuple(self.clusters[i] for i in indices),
            objects=None if self.objects is None else tuple(self.objects[i] for i in indices),
            contents=None if self.contents is None else self.contents[indices],
        )


@dataclass(frozen=True)
class Dataset:
    """A dataset with its splits by role: train, val and test, or query and gallery.

    - `relevance[q] = (positives, junk)` are gallery indices for query q. None means that images with an equal target
      are relevant and no image is junk.
    - `subsets` maps the names of published subsets ("1%") to indices into train.
    - `paper_role` is the role that the original paper reports on.
    - `restricted_classes` are the class indices that may be predicted for test images; None means all.
    - `frequencies` says how often each class is annotated: "r" (rare), "c" (common) or "f" (frequent), as in LVIS; it
      is () where that is not stated.
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
        """Return the role whose scores are reported: `test`, or for "paper" fidelity the paper's role if loaded."""
        return self.paper_role if fidelity == "paper" and self.paper_role in self.splits else "test"

    @property
    def fingerprints(self) -> dict[str, str]:
        """Role -> fingerprint."""
        return {role: split.fingerprint for role, split in self.splits.items()}
