"""Efficiency: parameters (M), GFLOPs, latency (ms), throughput (images/s), peak memory (MiB)."""

from bob_gauntlet.gauntlet import Gauntlet
from bob_gauntlet.plugin.hooks import settings
from bob_gauntlet.protocols.efficiency import Efficiency


@settings("efficiency", exclusive=True)
def test_efficiency(gauntlet: Gauntlet, dataset: str) -> None:
    """The bare backbone on random pixels; times are compared on one device only."""
    gauntlet.run(Efficiency(), dataset)
