"""Efficiency: parameters (M), GFLOPs, latency (ms), throughput (images/s), peak memory (MiB)."""

from bob_gauntlet.gauntlet import Gauntlet
from bob_gauntlet.plugin import settings
from bob_gauntlet.protocols.catalog import EFFICIENCY
from bob_gauntlet.protocols.recipe import Recipe


@settings(*EFFICIENCY)
def test_efficiency(gauntlet: Gauntlet, recipe: Recipe, dataset: str) -> None:
    """Time the bare backbone on random pixels; times are compared on one device only."""
    gauntlet.run(recipe, dataset)
