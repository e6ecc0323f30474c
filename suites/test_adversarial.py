"""Adversarial robustness (paper 5, Table 19): top-1 accuracy in % under attack; higher is better."""

from bob_gauntlet.gauntlet import Gauntlet
from bob_gauntlet.plugin.hooks import settings
from bob_gauntlet.protocols.adversarial import Adversarial
from bob_gauntlet.protocols.finetune import FineTune


@settings("adversarial-linear-probe-eps1")
def test_adversarial_linear_probe_eps1(gauntlet: Gauntlet, dataset: str) -> None:
    """Projected gradient descent through head and backbone, at most 1/255 a pixel value."""
    gauntlet.run(Adversarial(epsilon_255=1), dataset)


@settings("adversarial-linear-probe-eps2")
def test_adversarial_linear_probe_eps2(gauntlet: Gauntlet, dataset: str) -> None:
    """The same with at most 2/255."""
    gauntlet.run(Adversarial(epsilon_255=2), dataset)


@settings("adversarial-finetune-eps1")
def test_adversarial_finetune_eps1(gauntlet: Gauntlet, dataset: str) -> None:
    """The fine-tuned network under the same attack, as in the paper."""
    gauntlet.run(Adversarial(head=FineTune(), epsilon_255=1), dataset)


@settings("adversarial-finetune-eps2")
def test_adversarial_finetune_eps2(gauntlet: Gauntlet, dataset: str) -> None:
    """The same with at most 2/255."""
    gauntlet.run(Adversarial(head=FineTune(), epsilon_255=2), dataset)
