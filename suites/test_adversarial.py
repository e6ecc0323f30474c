"""Adversarial robustness (paper 5, Table 19): top-1 accuracy in % under attack; higher is better."""

from bob_gauntlet.gauntlet import Gauntlet
from bob_gauntlet.plugin import settings
from bob_gauntlet.protocols.catalog import ADVERSARIAL
from bob_gauntlet.protocols.recipe import Recipe


@settings(*ADVERSARIAL)
def test_adversarial(gauntlet: Gauntlet, recipe: Recipe, dataset: str) -> None:
    """Attack the linear probe and the fine-tuned network by projected gradient descent, within 1/255 and 2/255."""
    gauntlet.run(recipe, dataset)
