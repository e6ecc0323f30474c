"""The function `image` of splits that are read from files."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from bob_gauntlet.datasets.file_stamps import ChangedFile, file_stamp
from bob_gauntlet.datasets.images import UnreadableImage, read_image


@dataclass(frozen=True, eq=False)
class ImageReader:
    """Reads image i of `paths`, which are relative to `root`, as long as the file is the one that was listed.

    `stamps` are the (N, 3) stamps of the files when they were listed; the fingerprint covers the content that they had
    then. `sizes` are (width, height) as annotated, None where there are no annotations.
    """

    root: Path
    paths: tuple[str, ...]
    stamps: np.ndarray
    sizes: tuple[tuple[int, int], ...] | None = None

    def __call__(self, index: int) -> Image.Image:
        """Read an image as RGB, upright as annotated.

        Raises UnreadableImage for a missing or broken file, and ChangedFile where the file changed since it was listed.
        """
        path = self.path(index)
        try:
            image = read_image(path, None if self.sizes is None else self.sizes[index])
        except UnreadableImage:
            self._check(index, path)
            raise
        self._check(index, path)
        return image

    def path(self, index: int) -> Path:
        """Return the path of an image's file."""
        return self.root / self.paths[index]

    @property
    def missing(self) -> tuple[str, ...]:
        """Those of the paths that have no file."""
        return tuple(self.paths[i] for i in np.flatnonzero(self.stamps[:, 0] < 0))

    def _check(self, index: int, path: Path) -> None:
        """Raise ChangedFile unless the file is as it was listed. After reading, this covers the time of reading too."""
        if file_stamp(path) != tuple(self.stamps[index].tolist()):
            raise ChangedFile.at(path)
