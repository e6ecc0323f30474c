"""Short fine-tuning of the tiny network, and the runs of a recipe's grid."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.datasets.dataset import Dataset
from bob_gauntlet.protocols.finetune import FineTune
from bob_gauntlet.protocols.recipe import Measured
from tests.helpers import tiny
from tests.helpers.contexts import context_in

AUGMENTED = FineTune(epochs=2, warmup_epochs=1, batch=16, lrs=(1e-2,), weight_decays=(0.05,))
"""Two epochs of three steps with all augmentation."""

PLAIN = replace(AUGMENTED, epochs=4, mixup=0.0, cutmix=0.0, erasing=0.0, auto_augment="")
"""Four epochs without augmentation that mixes images, so that the network learns in few steps."""


def measure(
    recipe: Any, folder: Path, dataset: Dataset | None = None, backbone: Backbone | None = None, **options: Any
) -> dict[str, Measured]:
    """Return metric -> what a recipe measures, by default of the tiny network on the tiny dataset."""
    context = context_in(folder, **options)
    return {m.metric: m for m in recipe.evaluate(backbone or tiny.backbone(), dataset or tiny.dataset(), context)}


def grid_rows(recipe: FineTune, **traits: Any) -> list[tuple[str, float, float, float | None]]:
    """Return optimiser, learning rate, weight decay and layer decay of every run of a recipe's grid."""
    grid = recipe._classifier_config(tiny.backbone(**traits), 3)
    return [(config.optimiser, config.lr, config.weight_decay, config.layer_decay) for config in grid.configs]
