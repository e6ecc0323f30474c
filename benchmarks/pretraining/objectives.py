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
        transform = backbone.ticket.transform
        self.mean = torch.tensor(transform.mean).view(3, 1, 1)
        self.std = torch.tensor(transform.std).view(3, 1, 1)
        self.heads(backbone.ticket.traits.features, classes)

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


class Rotation(Objective):
    """Which of four rotations an image was given (Gidaris et al., ICLR 2018); all four of each image in a batch."""

    def heads(self, width: int, classes: int) -> None:
        """A linear classifier of four ways."""
        self.classifier = nn.Linear(width, 4)

    def forward(self, batch: Batch) -> torch.Tensor:
        """The loss of the four rotations of a quarter of the batch."""
        quarter = max(1, len(batch.images) // 4)
        images = view(Batch(batch.images[:quarter], batch.targets[:quarter], batch.is_photo[:quarter]), self.size)
        turned = torch.cat([images.rot90(turns, (2, 3)) for turns in range(4)])
        return F.cross_entropy(self.classifier(self.embed(turned)), torch.arange(4).repeat_interleave(quarter))


class SimCLR(Objective):
    """Two views of an image find each other among all views (Chen et al., ICML 2020), temperature 0.2."""

    def heads(self, width: int, classes: int) -> None:
        """The projector."""
        self.projector = mlp(width, 256, 128)

    def forward(self, batch: Batch) -> torch.Tensor:
        """NT-Xent of two views of each image."""
        count = len(batch.images)
        views = torch.cat([view(batch, self.size, 0.3), view(batch, self.size, 0.3)])
        projected = F.normalize(self.projector(self.embed(views)), dim=1)
        similar = (projected @ projected.T / 0.2).fill_diagonal_(float("-inf"))
        return F.cross_entropy(similar, torch.arange(2 * count).roll(count))


def mlp(width: int, hidden: int, out: int) -> nn.Sequential:
    """Two layers with a GELU between."""
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, out))


OBJECTIVES: dict[str, Callable[[Backbone, int, int], Objective]] = {
    "supervised": Supervised,
    "rotation": Rotation,
    "simclr": SimCLR,
}
