"""The paper's own linear probe: LARS on augmented images, the backbone frozen."""

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

    Random resized crop and flip; no weight decay; cosine after every step, warm-up from 0. The learning rate is
    `base_lr` x batch / 256. The backbone stays in evaluation mode (in the original its BatchNorm statistics moved). All
    networks get the BatchNorm and their own normalisation (in the original, ResNets got none, and all were fed ImageNet
    statistics). The last epoch is tested; with `fidelity="paper"` the best one, chosen on the reported images.

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
        # LARS moves weights by a share of their size a step: few steps need a high rate
        "base_lr": 50.0,
        "amp": False,
    }

    # side of the input in pixels; None is the backbone's own
    input_size: int | None = None
    fidelity: Fidelity = "sound"
    epochs: int = 90
    warmup_epochs: int = 10
    # images of an optimiser step, and how many go through the network at once
    batch: int = 4096
    micro_batch: int = 512
    base_lr: float = 0.1
    amp: bool = True

    def classifiers(self, backbone: "Backbone", dataset: "Dataset", context: "RunContext") -> "list[TrainedClassifier]":
        """The head of each seed; from the artefacts where it was trained before."""
        from bob_gauntlet.engine.training.classifier import train_classifier
        from bob_gauntlet.engine.training.examples import training_examples

        grid, canonical_form = self._classifier_config(backbone, len(dataset.classes)), canonical(self)
        return [
            train_classifier(
                backbone,
                training_examples(dataset, seed, paper=self.fidelity == "paper"),
                grid,
                seed,
                context,
                canonical_form,
            )
            for seed in context.seeds
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
