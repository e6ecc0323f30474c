"""Out of distribution (paper 3.3, Tables 14-15): top-1 accuracy and AP50 in % on shifted images; higher is better."""

from bob_gauntlet.gauntlet import Gauntlet
from bob_gauntlet.plugin.hooks import settings
from bob_gauntlet.protocols.detection import Detection, OODDetection
from bob_gauntlet.protocols.finetune import FineTune
from bob_gauntlet.protocols.ood import OOD


@settings("ood-linear-probe")
def test_ood_linear_probe(gauntlet: Gauntlet, dataset: str) -> None:
    """The linear probe of unshifted images on shifted ones, and what the shift costs."""
    gauntlet.run(OOD(), dataset)


@settings("ood-finetune")
def test_ood_finetune(gauntlet: Gauntlet, dataset: str) -> None:
    """The network fine-tuned on unshifted images, as in the paper."""
    gauntlet.run(OOD(head=FineTune()), dataset)


@settings("ood-detection-frozen")
def test_ood_detection_frozen(gauntlet: Gauntlet, dataset: str) -> None:
    """A detector of boxes on the frozen backbone, trained on rendered images, tested on real ones."""
    gauntlet.run(OODDetection(Detection(mode="frozen", masks=False)), dataset)


@settings("ood-detection-finetune")
def test_ood_detection_finetune(gauntlet: Gauntlet, dataset: str) -> None:
    """The backbone learns with the heads."""
    gauntlet.run(OODDetection(Detection(mode="finetune", masks=False)), dataset)
