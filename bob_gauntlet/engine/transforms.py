"""From an RGB image to a backbone's input, in two steps, as in timm's evaluation transform.

`preprocess` returns uint8 pixels, which take little memory; `normalise` works on whole batches on the device.
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
    """Resize an image's short side to size / crop_pct, crop the centre, and return (3, size, size) uint8 pixels.

    >>> preprocess(Image.new("RGB", (40, 20)), InputTransform(size=16)).shape
    torch.Size([3, 16, 16])
    """
    short = math.floor(transform.size / transform.crop_pct)
    width, height = image.size
    if width <= height:
        new_size = short, int(short * height / width)
    else:
        new_size = int(short * width / height), short
    if image.size != new_size:
        image = image.resize(new_size, _RESAMPLING[transform.interpolation])
    left, top = (round((side - transform.size) / 2) for side in image.size)
    if (left, top) != (0, 0):
        image = image.crop((left, top, left + transform.size, top + transform.size))
    return torch.from_numpy(np.array(image, np.uint8)).permute(2, 0, 1)


def image_or_grey(split: Split, index: int, size: tuple[int, int]) -> tuple[Image.Image, str]:
    """Return an image of a split and "". Where it cannot be read, return a grey image and the reason.

    `size` is the width and height of the grey image.
    """
    try:
        return split.image(index), ""
    except UnreadableImage as error:
        return grey(size), str(error)


def grey(size: tuple[int, int]) -> Image.Image:
    """Return the grey image that replaces an unreadable one; `size` is width and height."""
    return Image.new("RGB", size, (128, 128, 128))


def normalise(images: torch.Tensor, transform: InputTransform) -> torch.Tensor:
    """Scale (B, 3, H, W) uint8 pixels to [0, 1], subtract the mean and divide by the std of each channel: float32.

    The memory layout stays the same.
    """
    mean, std = (torch.tensor(v, device=images.device).view(1, -1, 1, 1) for v in (transform.mean, transform.std))
    return images.to(torch.float32).mul_(1 / (255 * std)).sub_(mean / std)


def normaliser(transform: InputTransform, device: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the function that normalises (B, 3, H, W) pixels in [0, 1] by channel; it is differentiable."""
    mean, std = (torch.tensor(v, device=device).view(1, -1, 1, 1) for v in (transform.mean, transform.std))
    return lambda images: (images - mean) / std


def normalise_on_one_thread(pixels: np.ndarray, transform: InputTransform) -> np.ndarray:
    """Normalise as `normalise` does, (B, H, W, 3) uint8 pixels to float32, in NumPy, which uses one thread."""
    mean, std = (np.array(values, np.float32) for values in (transform.mean, transform.std))
    scaled = pixels.astype(np.float32)
    scaled *= 1 / (255 * std)
    scaled -= mean / std
    return scaled
