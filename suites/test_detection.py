"""Detection and segmentation (paper 3.2, Tables 11-13): AP of boxes and of masks in %; higher is better."""

from bob_gauntlet.gauntlet import Gauntlet
from bob_gauntlet.plugin.hooks import settings
from bob_gauntlet.protocols.detection import Detection


@settings("detection-frozen")
def test_detection_frozen(gauntlet: Gauntlet, dataset: str) -> None:
    """Cascade Mask R-CNN on a backbone of which nothing changes."""
    gauntlet.run(Detection(mode="frozen"), dataset)


@settings("detection-finetune")
def test_detection_finetune(gauntlet: Gauntlet, dataset: str) -> None:
    """The backbone learns with the heads."""
    gauntlet.run(Detection(mode="finetune"), dataset)


@settings("detection-scratch")
def test_detection_scratch(gauntlet: Gauntlet, dataset: str) -> None:
    """The same architecture without its weights; measured, not ranked."""
    gauntlet.run(Detection(mode="scratch"), dataset)
