"""From an RGB image to a backbone's input, as timm's evaluation transform does it, in two steps.

`preprocess` gives uint8 pixels, which are small to keep and to move; `normalise` runs on whole batches on the device.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from bob_gauntlet.backbones.spec import InputTransform
from bob_gauntlet.datasets.dataset import Split
from bob_gauntlet.datasets.images import UnreadableImage

_RESAMPLING = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
    "lanczos": Image.Resampling.LANCZOS,
}


def preprocess(image: Image.Image, transform: InputTransform) -> torch.Tensor:
    """Resize the short side to size / crop_pct and crop the centre: (3, size, size) uint8.

    >>> preprocess(Image.new("RGB", (40, 20)), InputTransform(size=16)).shape
    torch.Size([3, 16, 16])
    """
    short = math.floor(transform.size / transform.crop_pct)
    width, height = image.size
    if width <= height:
        wanted = short, int(short * height / width)
    else:
        wanted = int(short * width / height), short
    if image.size != wanted:
        image = image.resize(wanted, _RESAMPLING[transform.interpolation])
    left, top = (round((side - transform.size) / 2) for side in image.size)
    if (left, top) != (0, 0):
        image = image.crop((left, top, left + transform.size, top + transform.size))
    return torch.from_numpy(np.array(image, np.uint8)).permute(2, 0, 1)


def image_or_grey(split: Split, index: int, size: tuple[int, int]) -> tuple[Image.Image, str]:
    """An image of a split and ""; where it cannot be read, grey of that width and height, and the reason."""
    try:
        return split.image(index), ""
    except UnreadableImage as error:
        return grey(size), str(error)


def grey(size: tuple[int, int]) -> Image.Image:
    """What stands for an image that cannot be read, of that width and height."""
    return Image.new("RGB", size, (128, 128, 128))


def normalise(images: torch.Tensor, transform: InputTransform) -> torch.Tensor:
    """(B, 3, H, W) uint8 to float32: scaled to [0, 1], minus mean, over std, by channel; the memory layout stays."""
    mean, std = (torch.tensor(v, device=images.device).view(1, -1, 1, 1) for v in (transform.mean, transform.std))
    return images.to(torch.float32).mul_(1 / (255 * std)).sub_(mean / std)


def normaliser(transform: InputTransform, device: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """The same of (B, 3, H, W) numbers in [0, 1], out of place and differentiable."""
    mean, std = (torch.tensor(v, device=device).view(1, -1, 1, 1) for v in (transform.mean, transform.std))
    return lambda images: (images - mean) / std


def normalise_on_one_thread(pixels: np.ndarray, transform: InputTransform) -> np.ndarray:
    """The same for (B, H, W, 3) uint8 in NumPy, on one thread."""
    mean, std = (np.array(values, np.float32) for values in (transform.mean, transform.std))
    scaled = pixels.astype(np.float32)
    scaled *= 1 / (255 * std)
    scaled -= mean / std
    return scaled
