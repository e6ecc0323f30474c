"""Detection and segmentation (paper 3.2, Tables 11-13): AP of boxes and of masks in %; higher is better."""

from bob_gauntlet.gauntlet import Gauntlet
from bob_gauntlet.plugin import settings
from bob_gauntlet.protocols.catalog import DETECTION
from bob_gauntlet.protocols.recipe import Recipe


@settings(*DETECTION)
def test_detection(gauntlet: Gauntlet, recipe: Recipe, dataset: str) -> None:
    """Train Cascade Mask R-CNN on the frozen backbone, with the backbone, and from random weights."""
    gauntlet.run(recipe, dataset)
