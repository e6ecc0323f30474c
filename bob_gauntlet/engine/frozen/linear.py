"""A linear probe as a classifier of images: backbone, features and head together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.backbones.spec import InputTransform
from bob_gauntlet.datasets.dataset import Dataset, Split
from bob_gauntlet.engine.frozen.features import features
from bob_gauntlet.engine.frozen.labelled_features import load_labelled_features
from bob_gauntlet.engine.frozen.logistic import Head
from bob_gauntlet.engine.frozen.probe import Probe, held_out_logits
from bob_gauntlet.engine.transforms import normaliser
from bob_gauntlet.errors import NotFiniteError
from bob_gauntlet.metrics.finite import describe_not_finite
from bob_gauntlet.runtime.context import RunContext


@dataclass(frozen=True)
class LinearClassifier:
    """A backbone with the linear probe of one seed; implements `protocols.heads.Classifier`."""

    backbone: Backbone
    dataset: Dataset
    input_size: int | None
    probe: Probe
    seed: int

    def scores(self, split: Split, context: RunContext) -> np.ndarray:
        """Return the (N, C) logits of a split, whose features are extracted once for all heads.

        Raises NotFiniteError where a logit is NaN or infinite.
        """
        transform = self.backbone.identity.input_transform(self.input_size)
        logits = self.probe.head.logits(features(self.backbone, split, transform, context))
        return self._finite(logits, f"images of {split.role}", split.ids)

    def held_out(self, context: RunContext) -> tuple[np.ndarray, np.ndarray]:
        """Return logits and targets of the validation images, by a head that is fitted on the training images alone.

        Raises NotFiniteError where a logit is NaN or infinite.
        """
        data = load_labelled_features(self.backbone, self.dataset, self.input_size, context)
        logits, targets = held_out_logits(data, self.probe, self.seed)
        return self._finite(logits, "validation images"), targets

    def _finite(self, logits: np.ndarray, rows: str, ids: Sequence[str] = ()) -> np.ndarray:
        """Return the logits. Raises NotFiniteError, which names the rows, where a logit is NaN or infinite."""
        if problem := describe_not_finite(logits, "logits", rows, ids):
            raise NotFiniteError(f"{self.backbone.name}: {problem}; check the checkpoint and its input normalisation")
        return logits

    def differentiable(self) -> tuple[nn.Module, Callable[[torch.Tensor], torch.Tensor]]:
        """Return the backbone's module, and a differentiable function from pixels to logits."""
        transform = self.backbone.identity.input_transform(self.input_size)
        return self.backbone.module, pixels_to_logits(self.backbone, transform, self.probe.head)


def pixels_to_logits(
    backbone: Backbone, transform: InputTransform, head: Head
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a differentiable function from (B, 3, H, W) pixels in [0, 1] to (B, C) logits, as attacks need it.

    It normalises the pixels, embeds them, standardises the features and applies the linear layer.
    """
    normalise_pixels = normaliser(transform, backbone.device)
    scaled = head.weight / head.scale[:, None]
    weight, bias = (
        torch.from_numpy(np.asarray(a, np.float32)).to(backbone.device)
        for a in (scaled, head.bias - head.mean @ scaled)
    )
    return lambda images: torch.addmm(bias, backbone.embed(normalise_pixels(images)).float(), weight)
