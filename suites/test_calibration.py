"""Calibration (paper 5, Table 10): cross-entropy in nats and expected calibration error; lower is better."""

from bob_gauntlet.gauntlet import Gauntlet
from bob_gauntlet.plugin.hooks import settings
from bob_gauntlet.protocols.calibration import Calibration
from bob_gauntlet.protocols.finetune import FineTune
from bob_gauntlet.protocols.linear_probe import LinearProbe


@settings("calibration-linear-probe")
def test_calibration_linear_probe(gauntlet: Gauntlet, dataset: str) -> None:
    """Of the linear probe's head, as trained and after temperature scaling."""
    gauntlet.run(Calibration(head=LinearProbe()), dataset)


@settings("calibration-finetune")
def test_calibration_finetune(gauntlet: Gauntlet, dataset: str) -> None:
    """Of the fine-tuned network, as in the paper."""
    gauntlet.run(Calibration(head=FineTune()), dataset)
