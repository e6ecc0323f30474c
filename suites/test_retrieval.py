"""Image retrieval (paper 3.4, Tables 16-18): mAP in %, MRR and Recall@k as fractions; higher is better."""

from bob_gauntlet.gauntlet import Gauntlet
from bob_gauntlet.plugin.hooks import settings
from bob_gauntlet.protocols.retrieval import Retrieval


@settings("retrieval")
def test_retrieval(gauntlet: Gauntlet, dataset: str) -> None:
    """Cosine similarity of frozen features, every gallery image ranked for every query."""
    gauntlet.run(Retrieval(), dataset)
