"""Modules between a backbone's feature maps and a detector's heads: layer norms, and a pyramid from a single map."""

from collections.abc import Sequence
from typing import Literal

import torch
from timm.layers import LayerNorm2d  # type: ignore[attr-defined]
from torch import nn
from torch.nn import functional

LastMap = Literal["wide", "simple"]
"""Kinds of neck of one map: "wide" keeps its number of channels, as in the paper; "simple" halves it at each step, as
ViTDet does."""


class LastMapPyramid(nn.Module):
    """A pyramid of five maps from the last map alone: 4 and 2 times as large, as it is, and 1/2 and 1/4 as large.

    Transposed convolutions enlarge the map, max pooling shrinks it. A 1 x 1 and a 3 x 3 convolution with layer norm
    follow on each map but the smallest, which is the next larger one, subsampled. No map is added to another. (Li et
    al., ViTDet, ECCV 2022, figure 2; the paper's detectors on ViTs.)

    >>> maps = LastMapPyramid(32, 8)([torch.zeros(1, 32, 6, 4)])
    >>> [tuple(level.shape[1:]) for level in maps]
    [(8, 24, 16), (8, 12, 8), (8, 6, 4), (8, 3, 2), (8, 2, 1)]
    """

    def __init__(self, width: int, channels: int, kind: LastMap = "wide") -> None:
        super().__init__()
        half, quarter = (width, width) if kind == "wide" else (width // 2, width // 4)
        self.resize = nn.ModuleList(
            [
                nn.Sequential(
                    nn.ConvTranspose2d(width, half, 2, stride=2),
                    LayerNorm2d(half),
                    nn.GELU(),
                    nn.ConvTranspose2d(half, quarter, 2, stride=2),
                ),
                nn.ConvTranspose2d(width, half, 2, stride=2),
                nn.Identity(),
                nn.MaxPool2d(2, ceil_mode=True),
            ]
        )
        self.reduce = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(wide, channels, 1, bias=False),
                LayerNorm2d(channels),
                nn.Conv2d(channels, channels, 3, padding=1, bias=False),
                LayerNorm2d(channels),
            )
            for wide in (quarter, half, width, width)
        )

    def forward(self, maps: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Return five maps with `channels` channels, made from the last of `maps`."""
        levels = [reduce(resize(maps[-1])) for resize, reduce in zip(self.resize, self.reduce, strict=True)]
        return (*levels, functional.max_pool2d(levels[-1], 1, stride=2))


class NormalisedMaps(nn.Module):
    """Layer norm on each of a backbone's maps, then the module `then`.

    Without it the maps of different backbones differ in scale by orders of magnitude.
    """

    def __init__(self, widths: Sequence[int], then: nn.Module) -> None:
        super().__init__()
        self.norms = nn.ModuleList(LayerNorm2d(width) for width in widths)
        self.then = then

    def forward(self, maps: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Return the output of `then` for the normalised maps, in float32 also under mixed precision.

        mmdet casts regions to the dtype of the maps: bfloat16 would move their corners by pixels, and torchvision's
        RoIAlign has no gradient in bfloat16.
        """
        outputs = self.then(tuple(norm(level) for norm, level in zip(self.norms, maps, strict=True)))
        return tuple(output.float() for output in outputs)
