"""Efficiency: parameters, GFLOPs, times beside a ResNet-18 (x), latency (ms), throughput (images/s), memory (MiB)."""

from bob_gauntlet.gauntlet import Gauntlet
from bob_gauntlet.plugin import settings
from bob_gauntlet.protocols.catalog import EFFICIENCY
from bob_gauntlet.protocols.recipe import Recipe


@settings(*EFFICIENCY)
def test_efficiency(gauntlet: Gauntlet, recipe: Recipe, dataset: str) -> None:
    """Time the bare backbone and a ResNet-18 on random pixels in turn; their ratio is ranked."""
    gauntlet.run(recipe, dataset)
