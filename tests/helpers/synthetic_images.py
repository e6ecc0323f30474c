"""Backbones and splits so small that tests know what they return."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.backbones.spec import BackboneIdentity, BackboneSpec, InputTransform, Traits
from bob_gauntlet.datasets.dataset import Split

SIZE = 16


class Colours(nn.Module):
    """Returns the mean colour of each quarter of an image: (B, 3, H, W) to (B, 12)."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the (B, 12) mean colours of (B, 3, H, W) images."""
        return nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)


def backbone(module: nn.Module, fingerprint: str = "f", **traits: Any) -> Backbone:
    """Return a backbone of any module, for images at 16 pixels that are normalised to [-1, 1]."""
    half = (0.5, 0.5, 0.5)
    identity = BackboneIdentity(
        fingerprint=fingerprint,
        transform=InputTransform(size=SIZE, mean=half, std=half, crop_pct=1.0),
        traits=Traits(**{"family": "conv", "pretrained": False, "features": 12, "params": 0.0, **traits}),
    )
    return Backbone(BackboneSpec(name="synthetic", text="synthetic", scheme="factory", target="a:b"), module, identity)


def pictures(count: int, seed: int = 0, size: tuple[int, int] = (20, 24)) -> list[Image.Image]:
    """Return images of noise, each another."""
    rng = np.random.default_rng(seed)
    return [Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)) for _ in range(count)]


def split(images: Sequence[Image.Image] | Callable[[int], Image.Image], count: int, fingerprint: str = "s") -> Split:
    """Return a split of one class."""
    image = images if callable(images) else images.__getitem__
    ids = tuple(f"picture-{i}" for i in range(count))
    return Split("test", fingerprint, ids, np.zeros(count, np.int64), image, ids)
