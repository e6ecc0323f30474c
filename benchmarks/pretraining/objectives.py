"""Training objectives: classification, contrastive learning (SimCLR), and prediction of the rotation.

An objective has the heads and the loss on top of a backbone; its `forward` maps a batch to a scalar loss.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.pretraining.pool import Batch
from benchmarks.pretraining.views import random_view
from bob_gauntlet.backbones.backbone import Backbone


class Objective(nn.Module):
    """A loss on a backbone's pooled features, the same that bob extracts. The backbone is not a submodule."""

    def __init__(self, backbone: Backbone, classes: int, size: int) -> None:
        super().__init__()
        self.backbone, self.size = backbone, size
        transform = backbone.identity.transform
        self.mean = torch.tensor(transform.mean).view(3, 1, 1)
        self.std = torch.tensor(transform.std).view(3, 1, 1)
        self.build_heads(backbone.identity.traits.features, classes)

    def build_heads(self, width: int, classes: int) -> None:
        """Build the heads for features of this width."""
        raise NotImplementedError

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Return the (B, D) features of images in 0..1."""
        return self.backbone.embed((images - self.mean) / self.std)


class Supervised(Objective):
    """Cross-entropy over photos and digits with a label smoothing of 0.1."""

    def build_heads(self, width: int, classes: int) -> None:
        """Build a linear classifier."""
        self.classifier = nn.Linear(width, classes)

    def forward(self, batch: Batch) -> torch.Tensor:
        """Return the loss of one view of each image."""
        logits = self.classifier(self.embed(random_view(batch, self.size)))
        return F.cross_entropy(logits, batch.targets, label_smoothing=0.1)


class SimCLR(Objective):
    """SimCLR: identify the other view of an image among all views (Chen et al., ICML 2020), temperature 0.2."""

    def build_heads(self, width: int, classes: int) -> None:
        """Build the projector."""
        self.projector = mlp(width, 256, 128)

    def forward(self, batch: Batch) -> torch.Tensor:
        """Return the NT-Xent loss of two views of each image."""
        views = torch.cat([random_view(batch, self.size, 0.3), random_view(batch, self.size, 0.3)])
        return nt_xent(self.projector(self.embed(views)))


class Rotation(Objective):
    """Predict which of four rotations was applied, together with SimCLR on the rotated images.

    The combination is that of Tack et al., NeurIPS 2020. Rotation alone (Gidaris et al., ICLR 2018) learns nothing
    here, because half of the photos are textures that look the same in every rotation.
    """

    def build_heads(self, width: int, classes: int) -> None:
        """Build a linear classifier of the four rotations, and a projector."""
        self.classifier = nn.Linear(width, 4)
        self.projector = mlp(width, 256, 128)

    def forward(self, batch: Batch) -> torch.Tensor:
        """Return NT-Xent of two views with the same rotation, plus half the cross-entropy of the four rotations."""
        quarter_turns = torch.arange(len(batch.images)) % 4
        views = [random_view(batch, self.size, 0.3) for _ in range(2)]
        features = self.embed(torch.cat([rotate(images, quarter_turns) for images in views]))
        rotation_loss = F.cross_entropy(self.classifier(features), quarter_turns.repeat(2))
        return nt_xent(self.projector(features)) + 0.5 * rotation_loss


def nt_xent(projected: torch.Tensor, temperature: float = 0.2) -> torch.Tensor:
    """Return the cross-entropy of identifying the other view: rows i and i + N of (2N, D) are views of one image."""
    count = len(projected) // 2
    projected = F.normalize(projected, dim=1)
    similarities = (projected @ projected.T / temperature).fill_diagonal_(float("-inf"))
    return F.cross_entropy(similarities, torch.arange(2 * count).roll(count))


def rotate(images: torch.Tensor, quarter_turns: torch.Tensor) -> torch.Tensor:
    """Rotate square images (B, 3, S, S), each by its number of quarter turns."""
    rotated = torch.stack([images.rot90(turns, (2, 3)) for turns in range(4)])
    return rotated[quarter_turns, torch.arange(len(images))]


def mlp(width: int, hidden: int, out: int) -> nn.Sequential:
    """Build two linear layers with a GELU between them."""
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, out))


OBJECTIVES: dict[str, Callable[[Backbone, int, int], Objective]] = {
    "supervised": Supervised,
    "rotation": Rotation,
    "simclr": SimCLR,
}
