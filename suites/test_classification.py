"""Image classification (paper 3.1, Tables 8-9): top-1 accuracy in %, mean AUC for multi-label; higher is better."""

from bob_gauntlet.gauntlet import Gauntlet
from bob_gauntlet.plugin import settings
from bob_gauntlet.protocols.catalog import CLASSIFICATION
from bob_gauntlet.protocols.recipe import Recipe


@settings(*CLASSIFICATION)
def test_classification(gauntlet: Gauntlet, recipe: Recipe, dataset: str) -> None:
    """Classify by linear probes, fine-tuning, low-shot fine-tuning and nearest neighbours."""
    gauntlet.run(recipe, dataset)
