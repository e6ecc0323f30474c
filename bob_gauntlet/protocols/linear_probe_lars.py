"""The paper's own linear probe: a linear layer trained by LARS on augmented images; the backbone is frozen."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bob_gauntlet.protocols.heads import TrainsByGridSearch
from bob_gauntlet.protocols.recipe import canonical
from bob_gauntlet.scores.score import Fidelity

if TYPE_CHECKING:
    from bob_gauntlet.backbones.backbone import Backbone
    from bob_gauntlet.datasets.dataset import Dataset
    from bob_gauntlet.engine.training.classifier import ClassifierConfig, TrainedClassifier
    from bob_gauntlet.runtime.context import RunContext


@dataclass(frozen=True)
class LinearProbeLARS(TrainsByGridSearch):
    """A linear layer behind a BatchNorm without parameters, trained by LARS for 90 epochs (paper 3.1, Table 8; MAE).

    Images are randomly cropped, resized and flipped; there is no weight decay. The learning rate is `base_lr` x batch /
    256; it warms up from 0 and follows a cosine that changes at every step. The backbone stays in evaluation mode (in
    the original, its BatchNorm statistics changed). The head of every network begins with the BatchNorm, and pixels
    are normalised by the network's own mean and std (in the original, ResNets had no such BatchNorm, and pixels were
    normalised by ImageNet's mean and std for all). The weights of the last epoch are tested; with `fidelity="paper"`
    those of the best epoch, chosen on the reported images.

    >>> LinearProbeLARS().id
    'linear-probe-lars'
    """

    id: ClassVar[str] = "linear-probe-lars"
    version: ClassVar[int] = 1
    seeded: ClassVar[bool] = True
    mini: ClassVar[Mapping[str, Any]] = {
        "input_size": 64,
        "epochs": 12,
        "warmup_epochs": 1,
        "batch": 32,
        # one step of LARS changes weights by a share of their norm, so few steps need a high rate
        "base_lr": 50.0,
        "amp": False,
    }

    # side of the square input in pixels; None for the backbone's own size
    input_size: int | None = None
    fidelity: Fidelity = "sound"
    epochs: int = 90
    warmup_epochs: int = 10
    # images of an optimiser step, and of one forward and backward pass
    batch: int = 4096
    micro_batch: int = 512
    base_lr: float = 0.1
    amp: bool = True

    def classifiers(self, backbone: "Backbone", dataset: "Dataset", context: "RunContext") -> "list[TrainedClassifier]":
        """Return the head of each seed. A head that was trained before is read from its artefact."""
        from bob_gauntlet.engine.training.classifier import train_classifier
        from bob_gauntlet.engine.training.examples import training_examples

        classifier_config, canonical_form = self._classifier_config(backbone, len(dataset.classes)), canonical(self)
        paper = self.fidelity == "paper"
        examples_by_seed = [training_examples(dataset, seed, paper=paper) for seed in context.seeds]
        return [
            train_classifier(backbone, examples, classifier_config, seed, context, canonical_form)
            for examples, seed in zip(examples_by_seed, context.seeds, strict=True)
        ]

    def _classifier_config(self, backbone: "Backbone", classes: int) -> "ClassifierConfig":
        from bob_gauntlet.engine.training.classifier import ClassifierConfig
        from bob_gauntlet.engine.training.config import TrainingConfig
        from bob_gauntlet.engine.training.data_loader import Augmentation

        config = TrainingConfig(
            lr=self.base_lr * self.batch / 256, weight_decay=0.0, layer_decay=None, epochs=self.epochs,
            warmup_epochs=self.warmup_epochs, warmup_lr=0.0, min_lr=0.0, optimiser="lars", per_step=True,
            micro_batch=self.micro_batch, amp=self.amp, best_epoch=self.fidelity == "paper",
        )  # fmt: skip
        return ClassifierConfig(
            configs=(config,),
            augmentation=Augmentation(interpolation="bicubic"),
            batch=self.batch,
            transform=backbone.identity.input_transform(self.input_size),
            classes=classes,
            frozen=True,
        )
