"""What the networks are trained to do: tell classes apart, recognise views, or tell which way is up.

Each objective is the heads and the loss on top of a backbone; its `forward` takes a batch to a scalar loss.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.pretraining.pool import Batch
from benchmarks.pretraining.views import view
from bob_gauntlet.backbones.backbone import Backbone


class Objective(nn.Module):
    """A loss on a backbone's pooled features, the ones that bob will extract. The backbone is not a submodule."""

    def __init__(self, backbone: Backbone, classes: int, size: int) -> None:
        super().__init__()
        self.backbone, self.size = backbone, size
        transform = backbone.identity.transform
        self.mean = torch.tensor(transform.mean).view(3, 1, 1)
        self.std = torch.tensor(transform.std).view(3, 1, 1)
        self.heads(backbone.identity.traits.features, classes)

    def heads(self, width: int, classes: int) -> None:
        """Build what stands on features of that width."""
        raise NotImplementedError

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Features (B, D) of images in 0..1."""
        return self.backbone.embed((images - self.mean) / self.std)


class Supervised(Objective):
    """Cross-entropy over photos and digits, labels smoothed by 0.1."""

    def heads(self, width: int, classes: int) -> None:
        """A linear classifier."""
        self.classifier = nn.Linear(width, classes)

    def forward(self, batch: Batch) -> torch.Tensor:
        """The loss of one view of each image."""
        logits = self.classifier(self.embed(view(batch, self.size)))
        return F.cross_entropy(logits, batch.targets, label_smoothing=0.1)


class SimCLR(Objective):
    """Two views of an image find each other among all views (Chen et al., ICML 2020), temperature 0.2."""

    def heads(self, width: int, classes: int) -> None:
        """The projector."""
        self.projector = mlp(width, 256, 128)

    def forward(self, batch: Batch) -> torch.Tensor:
        """NT-Xent of two views of each image."""
        views = torch.cat([view(batch, self.size, 0.3), view(batch, self.size, 0.3)])
        return nt_xent(self.projector(self.embed(views)))


class Rotation(Objective):
    """Which of four rotations an image was given, beside SimCLR on the rotated images (as Tack et al., NeurIPS 2020).

    Rotation alone (Gidaris et al., ICLR 2018) learns nothing here: half of the photos are textures without an up.
    """

    def heads(self, width: int, classes: int) -> None:
        """A linear classifier of four ways, and a projector."""
        self.classifier = nn.Linear(width, 4)
        self.projector = mlp(width, 256, 128)

    def forward(self, batch: Batch) -> torch.Tensor:
        """NT-Xent of two views of each image, both turned alike, plus half the cross-entropy of the four ways."""
        turns = torch.arange(len(batch.images)) % 4
        views = [view(batch, self.size, 0.3) for _ in range(2)]
        features = self.embed(torch.cat([turned(images, turns) for images in views]))
        return nt_xent(self.projector(features)) + 0.5 * F.cross_entropy(self.classifier(features), turns.repeat(2))


def nt_xent(projected: torch.Tensor, temperature: float = 0.2) -> torch.Tensor:
    """Cross-entropy of finding one's other view: rows i and i + N of (2N, D) belong together."""
    count = len(projected) // 2
    projected = F.normalize(projected, dim=1)
    similar = (projected @ projected.T / temperature).fill_diagonal_(float("-inf"))
    return F.cross_entropy(similar, torch.arange(2 * count).roll(count))


def turned(images: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """Square images (B, 3, S, S), each turned by its number of quarters."""
    ways = torch.stack([images.rot90(way, (2, 3)) for way in range(4)])
    return ways[turns, torch.arange(len(images))]


def mlp(width: int, hidden: int, out: int) -> nn.Sequential:
    """Two layers with a GELU between."""
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, out))


OBJECTIVES: dict[str, Callable[[Backbone, int, int], Objective]] = {
    "supervised": Supervised,
    "rotation": Rotation,
    "simclr": SimCLR,
}
