"""Image retrieval (paper 3.4, Tables 16-18): mAP in %, MRR and Recall@k as fractions; higher is better."""

from bob_gauntlet.gauntlet import Gauntlet
from bob_gauntlet.plugin import settings
from bob_gauntlet.protocols.catalog import RETRIEVAL
from bob_gauntlet.protocols.recipe import Recipe


@settings(*RETRIEVAL)
def test_retrieval(gauntlet: Gauntlet, recipe: Recipe, dataset: str) -> None:
    """Rank every gallery image for every query by the cosine similarity of frozen features."""
    gauntlet.run(recipe, dataset)
