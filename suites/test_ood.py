"""Out of distribution (paper 3.3, Tables 14-15): top-1 accuracy and AP50 in % on shifted images; higher is better."""

from bob_gauntlet.gauntlet import Gauntlet
from bob_gauntlet.plugin import settings
from bob_gauntlet.protocols.catalog import OUT_OF_DISTRIBUTION
from bob_gauntlet.protocols.recipe import Recipe


@settings(*OUT_OF_DISTRIBUTION)
def test_ood(gauntlet: Gauntlet, recipe: Recipe, dataset: str) -> None:
    """Test classifiers and detectors on images of another kind than they were trained on."""
    gauntlet.run(recipe, dataset)
