"""Every recipe with a network that gives NaN or infinity: it stops with the reason, and damaged features are mended."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.datasets.dataset import Dataset
from bob_gauntlet.errors import NotFiniteError
from bob_gauntlet.protocols.calibration import Calibration
from bob_gauntlet.protocols.catalog import PROTOCOLS
from bob_gauntlet.protocols.knn import KNN
from bob_gauntlet.protocols.linear_probe import LinearProbe
from bob_gauntlet.protocols.linear_probe_lars import LinearProbeLARS
from bob_gauntlet.protocols.low_shot import LowShot
from bob_gauntlet.protocols.ood import OOD
from bob_gauntlet.protocols.retrieval import Retrieval
from tests.helpers import tiny
from tests.helpers.artefacts import spoil
from tests.helpers.contexts import context_in
from tests.helpers.fine_tuning import PLAIN

PROBE = LinearProbe(strengths=(1.0, 0.1))

ON_FEATURES: tuple[Any, ...] = (KNN(ks=(1, 5)), PROBE, OOD(head=PROBE), Calibration(head=PROBE), Retrieval())
"""Recipes that measure frozen features."""

TRAINED: tuple[Any, ...] = (
    PLAIN, LowShot(fraction=0.25, tuning=PLAIN), LinearProbeLARS(epochs=2, warmup_epochs=1, batch=16), OOD(head=PLAIN),
    Calibration(head=PLAIN),
)  # fmt: skip
"""Recipes that measure trained networks."""

ELSEWHERE = {
    "Adversarial": "tests/protocols/test_adversarial.py",
    "Detection": "tests/engine/detection/test_trained_detector.py",
    "OODDetection": "tests/engine/detection/test_trained_detector.py",
    "Efficiency": "random pixels, and no decision",
}
"""Class of a recipe -> the test of what it does with NaN, or why it needs none."""


class Fragile(nn.Module):
    """A network that gives one value in the place of the features of white images."""

    def __init__(self, module: nn.Module, value: float) -> None:
        super().__init__()
        self.module, self.value = module, value

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return (B, D) features."""
        is_white = (images > 0.99).flatten(1).all(dim=1)
        return torch.where(is_white[:, None], self.value, self.module(images))


def fragile_backbone(value: float) -> Backbone:
    """Return the tiny backbone, which gives one value for white images."""
    whole = tiny.backbone()
    return Backbone(whole.spec, Fragile(whole.module, value), whole.identity)


def dataset(*, white: int | None = None) -> Dataset:
    """Return a dataset with the roles of all recipes; one test or query image is white."""
    test = tiny.split(48, "test")
    if white is not None:
        image = test.image
        blank = Image.new("RGB", (6, 6), "white")
        test = replace(test, image=lambda i: blank if i == white else image(i), fingerprint="with a white image")
    splits = {
        "train": tiny.split(48), "val": tiny.split(24, "val"), "test": test, "source": tiny.split(30, "source"),
        "query": replace(test, role="query"), "gallery": tiny.split(24, "gallery"),
    }  # fmt: skip
    return Dataset("patterns", splits, classes=("a", "b", "c"))


def values(
    recipe: Any, folder: Path, backbone: Backbone | None = None, data: Dataset | None = None
) -> dict[str, float]:
    """Return metric -> value of a recipe."""
    measured = recipe.evaluate(backbone or tiny.backbone(), data or dataset(), context_in(folder))
    return {each.metric: each.value for each in measured}


def test_every_recipe_is_tried() -> None:
    """A new recipe needs a row in one of the tables above."""
    tried = {type(recipe).__name__ for recipe in (*ON_FEATURES, *TRAINED)}
    assert {type(recipe).__name__ for recipe in PROTOCOLS.values()} == tried | set(ELSEWHERE)


@pytest.mark.parametrize("value", [torch.nan, -torch.inf])
@pytest.mark.parametrize("recipe", [*ON_FEATURES, *TRAINED], ids=lambda recipe: recipe.id)
def test_one_test_image_of_nan_stops_a_recipe(recipe: Any, value: float, tmp_path: Path) -> None:
    """The message counts and names the image, and says what to check."""
    role = "query" if isinstance(recipe, Retrieval) else "test"
    expected = rf"1 of 48 images of {role} are NaN or infinite: test-5; check "
    with pytest.raises(NotFiniteError, match=expected) as caught:
        values(recipe, tmp_path, fragile_backbone(value), dataset(white=5))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("recipe", ON_FEATURES, ids=lambda recipe: recipe.id)
def test_damaged_features_change_no_score(
    recipe: Any, bad: float, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """NaN or infinity in any stored split is noticed at every read: the features are extracted again."""
    expected, context = values(recipe, tmp_path), context_in(tmp_path)
    shutil.rmtree(tmp_path / "heads", ignore_errors=True)
    spoilt = spoil(context.artifacts, "features", "features", bad)
    assert values(recipe, tmp_path) == expected
    assert len(caplog.records) == spoilt >= 2
    assert all("images of" in record.message and "computed again" in record.message for record in caplog.records)
