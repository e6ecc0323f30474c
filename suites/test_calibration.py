"""Calibration (paper 5, Table 10): cross-entropy in nats and expected calibration error; lower is better."""

from bob_gauntlet.gauntlet import Gauntlet
from bob_gauntlet.plugin import settings
from bob_gauntlet.protocols.catalog import CALIBRATION
from bob_gauntlet.protocols.recipe import Recipe


@settings(*CALIBRATION)
def test_calibration(gauntlet: Gauntlet, recipe: Recipe, dataset: str) -> None:
    """Measure how far the confidences of the linear probe and of the fine-tuned network can be trusted."""
    gauntlet.run(recipe, dataset)
