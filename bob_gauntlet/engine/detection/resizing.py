"""The sizes of a detector's images, and the transforms that resize and crop training images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torchvision.transforms import v2

ResizeMode = Literal["as tests", "multi-scale", "jitter"]
"""The way of resizing training images; `Scaling` explains the modes."""

DIVISOR = 32
"""The sides of a padded image are multiples of it, and of the backbone's last stride."""


@dataclass(frozen=True)
class Scaling:
    """The sizes to which images are resized and padded.

    A test image becomes as large as fits into `long` x `short` pixels, in either orientation. `training` is the mode of
    training images:

    - "as tests": they are resized like test images.
    - "multi-scale": DETR's augmentation (Carion et al., ECCV 2020). The short side gets a random length from 480 to 800
      px; half of the images are cropped at random before.
    - "jitter": large-scale jitter (Ghiasi et al., CVPR 2021). They get 0.1 to 2 times the size that fits into `long` x
      `long` pixels, and are cropped to at most `long` x `long`. All images are then padded to `long` x `long`, test
      images too.
    """

    short: int
    long: int
    training: ResizeMode
    # the sides of padded images are multiples of it
    divisor: int = DIVISOR

    def fitted(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width to which an image is resized in tests.

        >>> Scaling(800, 1333, "multi-scale").fitted(480, 640)
        (800, 1067)
        """
        scale = min(self.long / max(height, width), self.short / min(height, width))
        return max(1, round(height * scale)), max(1, round(width * scale))

    def padded(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width to which a resized image is padded.

        >>> Scaling(800, 1333, "multi-scale").padded(800, 1067)
        (800, 1088)
        """
        least = self.long if self.training == "jitter" else 1
        height, width = (-(-max(side, least) // self.divisor) * self.divisor for side in (height, width))
        return height, width


def resize_transforms(scaling: Scaling) -> Sequence[v2.Transform]:
    """Return the transforms that resize and crop a training image."""
    if scaling.training == "as tests":
        return [_ResizeAsInTests(scaling)]
    if scaling.training == "jitter":
        target = (scaling.long, scaling.long)
        return [_ScaleJitter(target, (0.1, 2.0)), _RandomCrop(scaling.long, scaling.long)]
    sizes = list(range(480, 801, 32))
    resize = v2.RandomShortestSize(sizes, max_size=scaling.long)
    crop_and_resize = v2.Compose([v2.RandomShortestSize([400, 500, 600]), _RandomCrop(384, 600), resize])
    return [v2.RandomChoice([resize, crop_and_resize])]


class _ResizeAsInTests(v2.Transform):  # type: ignore[misc]
    """Resizes an image to its size in tests."""

    def __init__(self, scaling: Scaling) -> None:
        super().__init__()
        self.scaling = scaling

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        return {"size": list(self.scaling.fitted(*v2.functional.get_size(flat_inputs[0])))}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return self._call_kernel(v2.functional.resize, inpt, size=params["size"])


class _ScaleJitter(v2.ScaleJitter):  # type: ignore[misc]
    """torchvision's scale jitter, whose images are at least one pixel wide and high."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        return {"size": tuple(max(1, side) for side in super().make_params(flat_inputs)["size"])}


class _RandomCrop(v2.Transform):  # type: ignore[misc]
    """Crops to a random place and random sides, from `least` to `most` pixels each; a shorter side stays whole."""

    def __init__(self, least: int, most: int) -> None:
        super().__init__()
        self.least, self.most = least, most

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        sides = v2.functional.get_size(flat_inputs[0])
        height, width = (_random_integer(min(side, self.least), min(side, self.most)) for side in sides)
        top, left = _random_integer(0, sides[0] - height), _random_integer(0, sides[1] - width)
        return {"top": top, "left": left, "height": height, "width": width}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return self._call_kernel(v2.functional.crop, inpt, **params)


def _random_integer(least: int, most: int) -> int:
    """Draw an integer from `least` to `most`, both included."""
    return int(torch.randint(least, most + 1, ()))
