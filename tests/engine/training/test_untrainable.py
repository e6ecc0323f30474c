"""Backbones through which no gradient comes: one line, instead of a head trained on a backbone that stands still."""

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
    """A layer behind something that a user's forward may do."""

    def __init__(self, spoil: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * tiny.SIDE * tiny.SIDE, 16)
        self.spoil = spoil

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.spoil(self.layer(images.flatten(1)))


def written_over(features: torch.Tensor) -> torch.Tensor:
    """The gradient of exp needs its result, which is then changed in place."""
    found = features.exp()
    return found.add_(1)


def inferred(features: torch.Tensor) -> torch.Tensor:
    """As under a decorator torch.inference_mode."""
    with torch.inference_mode():
        return features * 2


@pytest.mark.parametrize(
    "spoil",
    [
        lambda features: features.detach(),
        lambda features: torch.from_numpy(features.detach().numpy() * 2),
        inferred,
        written_over,
    ],
    ids=["detach", "numpy", "inference mode", "in place"],
)
def test_a_backbone_without_a_differentiable_path_is_said(
    spoil: Callable[[torch.Tensor], torch.Tensor], tmp_path: Path
) -> None:
    """One line that names the backbone and the remedy."""
    good = tiny.backbone()
    bad = Backbone(good.spec, Wrapped(spoil), good.identity)
    recipe = FineTune(epochs=1, batch=8, lrs=(1e-3,), weight_decays=(0.05,))
    with pytest.raises(BobError, match="tiny cannot be trained: no gradient of the loss reaches its weights") as caught:
        list(recipe.evaluate(bad, tiny.dataset(), RunContext(Artifacts(tmp_path))))
    assert "\n" not in str(caught.value)


def test_one_with_a_path_is_trained(tmp_path: Path) -> None:
    """The same layer, unspoilt."""
    good = tiny.backbone()
    fine = Backbone(good.spec, Wrapped(lambda features: features), good.identity)
    recipe = FineTune(epochs=1, batch=8, lrs=(1e-3,), weight_decays=(0.05,))
    assert list(recipe.evaluate(fine, tiny.dataset(), RunContext(Artifacts(tmp_path))))
