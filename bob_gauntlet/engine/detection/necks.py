"""Between a backbone's feature maps and a detector's heads: normalised maps, and pyramids from a single one."""

from collections.abc import Sequence
from typing import Literal

import torch
from timm.layers import LayerNorm2d  # type: ignore[attr-defined]
from torch import nn
from torch.nn import functional

LastMap = Literal["wide", "simple"]
"""How one map is blown up: at its own width, as in the paper, or halving it at each step, as ViTDet does."""


class LastMapPyramid(nn.Module):
    """A pyramid of five maps from the last one alone: 4 and 2 times as large, as it is, and 1/2 and 1/4 as large.

    Blown up by transposed convolutions, shrunk by maxima, each followed by a 1 x 1 and a 3 x 3 convolution with layer
    norm; no map is added to another (Li et al., ViTDet, ECCV 2022, figure 2; the paper's detectors on ViTs).

    >>> maps = LastMapPyramid(32, 8)([torch.zeros(1, 32, 6, 4)])
    >>> [tuple(found.shape[1:]) for found in maps]
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
        """Five maps of `channels` from the last of those given."""
        found = [reduce(resize(maps[-1])) for resize, reduce in zip(self.resize, self.reduce, strict=True)]
        return (*found, functional.max_pool2d(found[-1], 1, stride=2))


class NormalisedMaps(nn.Module):
    """Layer norm on each map of a pyramid: backbones leave theirs at scales that differ by orders of magnitude."""

    def __init__(self, widths: Sequence[int], then: nn.Module) -> None:
        super().__init__()
        self.norms = nn.ModuleList(LayerNorm2d(width) for width in widths)
        self.then = then

    def forward(self, maps: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """What comes after, of the normalised maps, in float32 whatever the arithmetic.

        mmdet casts regions to the maps' dtype; bfloat16 would move their corners by pixels, and torchvision's RoIAlign
        has no gradient in it.
        """
        found = self.then(tuple(norm(one) for norm, one in zip(self.norms, maps, strict=True)))
        return tuple(one.float() for one in found)
