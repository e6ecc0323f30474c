"""Backbones without a gradient: an error in one line, instead of a head trained on a backbone that does not learn."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.errors import BobError
from bob_gauntlet.protocols.finetune import FineTune
from bob_gauntlet.runtime.artifacts import Artifacts
from bob_gauntlet.runtime.context import RunContext
from tests.helpers import tiny


class Wrapped(nn.Module):
    """A linear layer, and a function of its features that a user's forward might contain."""

    def __init__(self, change_features: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * tiny.SIDE * tiny.SIDE, 16)
        self.change_features = change_features

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.change_features(self.layer(images.flatten(1)))


def change_in_place(features: torch.Tensor) -> torch.Tensor:
    """Change the result of exp in place, which its gradient needs."""
    exponentials = features.exp()
    return exponentials.add_(1)


def double_in_inference_mode(features: torch.Tensor) -> torch.Tensor:
    """Double the features as under the decorator torch.inference_mode."""
    with torch.inference_mode():
        return features * 2


@pytest.mark.parametrize(
    "change_features",
    [
        lambda features: features.detach(),
        lambda features: torch.from_numpy(features.detach().numpy() * 2),
        double_in_inference_mode,
        change_in_place,
    ],
    ids=["detach", "numpy", "inference mode", "in place"],
)
def test_a_backbone_without_a_gradient_is_an_error(
    change_features: Callable[[torch.Tensor], torch.Tensor], tmp_path: Path
) -> None:
    """The error is one line that names the backbone and the remedy."""
    good = tiny.backbone()
    bad = Backbone(good.spec, Wrapped(change_features), good.identity)
    recipe = FineTune(epochs=1, batch=8, lrs=(1e-3,), weight_decays=(0.05,))
    with pytest.raises(BobError, match="tiny cannot be trained: no gradient of the loss reaches its weights") as caught:
        list(recipe.evaluate(bad, tiny.dataset(), RunContext(Artifacts(tmp_path))))
    assert "\n" not in str(caught.value)


def test_the_same_backbone_with_a_gradient_is_trained(tmp_path: Path) -> None:
    """The same layer without such a function is trained."""
    good = tiny.backbone()
    fine = Backbone(good.spec, Wrapped(lambda features: features), good.identity)
    recipe = FineTune(epochs=1, batch=8, lrs=(1e-3,), weight_decays=(0.05,))
    assert list(recipe.evaluate(fine, tiny.dataset(), RunContext(Artifacts(tmp_path))))
