"""Image classification (paper 3.1, Tables 8-9): top-1 accuracy in %, mean AUC for multi-label; higher is better."""

from bob_gauntlet.gauntlet import Gauntlet
from bob_gauntlet.plugin.hooks import settings
from bob_gauntlet.protocols.finetune import FineTune
from bob_gauntlet.protocols.knn import KNN
from bob_gauntlet.protocols.linear_probe import LinearProbe
from bob_gauntlet.protocols.linear_probe_lars import LinearProbeLARS
from bob_gauntlet.protocols.low_shot import LowShot


@settings("linear-probe")
def test_linear_probe(gauntlet: Gauntlet, dataset: str) -> None:
    """Multinomial logistic regression on frozen features."""
    gauntlet.run(LinearProbe(), dataset)


@settings("linear-probe-lars")
def test_linear_probe_lars(gauntlet: Gauntlet, dataset: str) -> None:
    """The paper's: a linear layer trained by LARS on augmented images, the backbone frozen."""
    gauntlet.run(LinearProbeLARS(), dataset)


@settings("finetune")
def test_finetune(gauntlet: Gauntlet, dataset: str) -> None:
    """Every weight learns, under the paper's schedule and augmentation."""
    gauntlet.run(FineTune(), dataset)


@settings("low-shot-10pct")
def test_low_shot_10pct(gauntlet: Gauntlet, dataset: str) -> None:
    """Fine-tuning on a tenth of the labels."""
    gauntlet.run(LowShot(fraction=0.1), dataset)


@settings("low-shot-1pct")
def test_low_shot_1pct(gauntlet: Gauntlet, dataset: str) -> None:
    """Fine-tuning on a hundredth of the labels, at least one of each class."""
    gauntlet.run(LowShot(fraction=0.01), dataset)


@settings("knn")
def test_knn(gauntlet: Gauntlet, dataset: str) -> None:
    """Weighted nearest neighbours on frozen features; measured, not ranked."""
    gauntlet.run(KNN(), dataset)
