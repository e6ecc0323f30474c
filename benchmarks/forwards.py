"""Counts the images that go through backbones: what benchmarks and tests say about reuse rests on it."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import torch

from bob_gauntlet.backbones.backbone import Backbone


class ForwardCount:
    """The number of images that any backbone, or a copy of one in a trained network, has embedded so far."""

    def __init__(self) -> None:
        self.images = 0

    def since_last(self) -> int:
        """Return the number since the last call, or since the start."""
        images, self.images = self.images, 0
        return images


@contextmanager
def count_forwards() -> Iterator[ForwardCount]:
    """Count the images of every call of `Backbone.embed` and `Backbone.feature_maps` inside the block."""
    count = ForwardCount()
    embed, feature_maps = Backbone.embed, Backbone.feature_maps

    def counting_embed(backbone: Backbone, images: torch.Tensor) -> torch.Tensor:
        count.images += len(images)
        return embed(backbone, images)

    def counting_maps(backbone: Backbone, images: torch.Tensor) -> list[torch.Tensor]:
        count.images += len(images)
        return feature_maps(backbone, images)

    with patch.object(Backbone, "embed", counting_embed), patch.object(Backbone, "feature_maps", counting_maps):
        yield count
