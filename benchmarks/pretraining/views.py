"""Random views of a batch, computed on tensors, so that they take a fraction of the time of the forward pass."""

import torch
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as T

from benchmarks.pretraining.pool import Batch

# the matrix RGB -> YIQ (NTSC, as in colorsys); hue is an angle in the plane of I and Q
_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])


def random_view(batch: Batch, size: int, smallest: float = 0.5, largest: float = 1.0) -> torch.Tensor:
    """Return random crops, flipped, with random colours and blur: (B, 3, size, size) in 0..1.

    The side of a crop is `smallest` to `largest` of the image's side. Digits are not flipped, and at least 0.85 of
    their side is kept.
    """
    least = torch.where(batch.is_photo, smallest, 0.85)
    most = torch.where(batch.is_photo, largest, 1.1)
    images = _blur(_change_colours(_crop(batch, size, least, most)))
    return (images + 0.02 * torch.rand(len(images), 1, 1, 1) * torch.randn_like(images)).clamp(0, 1)


def _crop(batch: Batch, size: int, least: torch.Tensor, most: torch.Tensor) -> torch.Tensor:
    """Crop each image at a random place, with a side between `least` and `most`, and flip half of the photos."""
    count = len(batch.images)
    scale = least + (most - least) * torch.rand(count)
    stretch = torch.exp(torch.empty(count).uniform_(-0.15, 0.15))
    width, height = (scale * stretch).clamp(max=1.1), (scale / stretch).clamp(max=1.1)
    flip = torch.where(batch.is_photo & (torch.rand(count) < 0.5), -1.0, 1.0)
    zeros = torch.zeros(count)
    shift_x, shift_y = ((2 * torch.rand(count) - 1) * (1 - side).abs() for side in (width, height))
    affine = torch.stack([width * flip, zeros, shift_x, zeros, height, shift_y], 1).view(count, 2, 3)
    grid = F.affine_grid(affine, [count, 3, size, size], align_corners=False)
    return F.grid_sample(batch.images, grid, padding_mode="border", align_corners=False)


def _change_colours(images: torch.Tensor) -> torch.Tensor:
    """Change brightness and contrast by up to 40%, and saturation and hue in YIQ; a fifth of the images become grey."""
    count = len(images)
    brightness, contrast = (torch.empty(count, 1, 1, 1).uniform_(0.6, 1.4) for _ in range(2))
    saturation = torch.empty(count).uniform_(0.4, 1.6) * (torch.rand(count) > 0.2)
    angle = torch.empty(count).uniform_(-0.5, 0.5)
    cos, sin = saturation * angle.cos(), saturation * angle.sin()
    zero, one = torch.zeros(count), torch.ones(count)
    rotation = torch.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], 1).view(count, 3, 3)
    matrix = torch.linalg.inv(_YIQ) @ rotation @ _YIQ
    images = torch.einsum("bij,bjhw->bihw", matrix, images)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return ((images - mean) * contrast + mean * brightness).clamp(0, 1)


def _blur(images: torch.Tensor) -> torch.Tensor:
    """Blur the first third of the batch, which is in random order, with one Gaussian of random width."""
    third = len(images) // 3
    if not third:
        return images
    sigma = float(torch.empty(1).uniform_(0.3, 2.0))
    return torch.cat([T.gaussian_blur(images[:third], [9, 9], [sigma, sigma]), images[third:]])
