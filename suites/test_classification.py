"""Image classification (paper 3.1, Tables 8-9): top-1 accuracy in %; higher is better."""

from bob_gauntlet.gauntlet import Gauntlet
from bob_gauntlet.plugin import settings
from bob_gauntlet.protocols.knn import KNN
from bob_gauntlet.protocols.linear_probe import LinearProbe


@settings("linear-probe")
def test_linear_probe(gauntlet: Gauntlet, dataset: str) -> None:
    """Multinomial logistic regression on frozen features."""
    gauntlet.run(LinearProbe(), dataset)


@settings("knn")
def test_knn(gauntlet: Gauntlet, dataset: str) -> None:
    """Weighted nearest neighbours on frozen features; measured, not ranked."""
    gauntlet.run(KNN(), dataset)
