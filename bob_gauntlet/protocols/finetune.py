"""End-to-end fine-tuning: all weights of the backbone are trained with the paper's schedule and augmentation."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bob_gauntlet.protocols.heads import TrainsByGridSearch
from bob_gauntlet.protocols.recipe import Reuse, canonical
from bob_gauntlet.scores.score import Fidelity

if TYPE_CHECKING:
    from bob_gauntlet.backbones.backbone import Backbone
    from bob_gauntlet.datasets.dataset import Dataset
    from bob_gauntlet.engine.training.classifier import ClassifierConfig, TrainedClassifier
    from bob_gauntlet.engine.training.config import TrainingConfig
    from bob_gauntlet.engine.training.examples import TrainingExamples
    from bob_gauntlet.runtime.context import RunContext


@dataclass(frozen=True)
class FineTune(TrainsByGridSearch):
    """Fine-tuning with AdamW, layer decay, mixup, CutMix and RandAugment; a grid of learning rates and weight decays.

    This is the paper's recipe (3.1, appendix B.1; Tables 8 and 9), built from timm: cosine schedule with warm-up, drop
    path, label smoothing, random erasing; no EMA. The run with the best validation score after its last epoch is tested
    as it is, without training again. Without a validation split, a tenth of train (at most 10,000 images) becomes the
    validation split. With `fidelity="paper"` the recipe does as the original: it trains on all of train, and keeps the
    best epoch of the best run, chosen on the images that it reports.

    >>> FineTune().id
    'finetune'
    """

    id: ClassVar[str] = "finetune"
    version: ClassVar[int] = 1
    seeded: ClassVar[bool] = True
    reuses: ClassVar[Reuse] = "network"
    mini: ClassVar[Mapping[str, Any]] = {
        "input_size": 64,
        "epochs": 5,
        "warmup_epochs": 1,
        # with a rate that changes by epochs, the whole first epoch would be at `warmup_lr`
        "per_step": True,
        "batch": 32,
        "lrs": (2e-3,),
        "scratch_lrs": (),
        "weight_decays": (5e-2,),
        # training with mixup, CutMix and erasing needs more than a few epochs
        "mixup": 0.0,
        "cutmix": 0.0,
        "erasing": 0.0,
        "stop_beaten": True,
        "amp": False,
    }

    # side of the square input in pixels; None for the backbone's own size
    input_size: int | None = None
    fidelity: Fidelity = "sound"
    epochs: int = 100
    warmup_epochs: int = 5
    warmup_lr: float = 1e-4
    min_lr: float = 1e-6
    # images of an optimiser step, and of one forward and backward pass; the latter is halved when memory runs out
    batch: int = 1024
    micro_batch: int = 128
    lrs: tuple[float, ...] = (1e-3, 5e-4, 1e-4)
    # tried in addition for a randomly initialised backbone
    scratch_lrs: tuple[float, ...] = (1e-2, 5e-3)
    weight_decays: tuple[float, ...] = (5e-2, 1e-3)
    layer_decays: tuple[float, ...] = (0.75,)
    # learning rates of SGD with Nesterov momentum, for convolutional networks only, without layer decay; () for AdamW
    conv_sgd_lrs: tuple[float, ...] = ()
    drop_path: float = 0.1
    mixup: float = 0.8
    cutmix: float = 1.0
    smoothing: float = 0.1
    auto_augment: str = "rand-m9-mstd0.5-inc1"
    erasing: float = 0.25
    # mixed precision on a GPU: bfloat16, or float16 where the GPU lacks it
    amp: bool = True
    # change the learning rate after every step, instead of after every epoch
    per_step: bool = False
    # end a run early when it is clearly behind the best run at the same epoch
    stop_beaten: bool = False

    def classifiers(self, backbone: "Backbone", dataset: "Dataset", context: "RunContext") -> "list[TrainedClassifier]":
        """Return the network of each seed. A network that was trained before is read from its artefact."""
        from bob_gauntlet.engine.training.examples import training_examples

        examples_by_seed = [training_examples(dataset, seed, paper=self.fidelity == "paper") for seed in context.seeds]
        return self.train_on_examples(backbone, examples_by_seed, len(dataset.classes), context, canonical(self))

    def train_on_examples(
        self,
        backbone: "Backbone",
        examples_by_seed: "Sequence[TrainingExamples]",
        classes: int,
        context: "RunContext",
        canonical_form: dict[str, Any],
    ) -> "list[TrainedClassifier]":
        """Train one network per seed on the examples of that seed and return them.

        `canonical_form` is the recipe's canonical form, a part of the keys of the artefacts.
        """
        from bob_gauntlet.engine.training.classifier import train_classifier

        classifier_config = self._classifier_config(backbone, classes)
        return [
            train_classifier(backbone, examples, classifier_config, seed, context, canonical_form)
            for examples, seed in zip(examples_by_seed, context.seeds, strict=True)
        ]

    def _classifier_config(self, backbone: "Backbone", classes: int) -> "ClassifierConfig":
        from bob_gauntlet.engine.training.classifier import ClassifierConfig
        from bob_gauntlet.engine.training.data_loader import Augmentation

        return ClassifierConfig(
            configs=tuple(self._training_configs(backbone)),
            augmentation=Augmentation(auto_augment=self.auto_augment, erasing=self.erasing),
            batch=self.batch,
            transform=backbone.identity.input_transform(self.input_size),
            classes=classes,
            drop_path=self.drop_path,
            stop_beaten=self.stop_beaten,
        )

    def _training_configs(self, backbone: "Backbone") -> "Iterator[TrainingConfig]":
        from bob_gauntlet.engine.training.config import TrainingConfig

        traits = backbone.identity.traits
        sgd = traits.family == "conv" and bool(self.conv_sgd_lrs)
        rates = self.conv_sgd_lrs if sgd else self.lrs + (() if traits.pretrained else self.scratch_lrs)
        for lr in rates:
            for layer_decay in (None,) if sgd else self.layer_decays:
                for weight_decay in self.weight_decays:
                    yield TrainingConfig(
                        lr=lr, weight_decay=weight_decay, layer_decay=layer_decay, epochs=self.epochs,
                        warmup_epochs=self.warmup_epochs, warmup_lr=min(self.warmup_lr, lr), min_lr=self.min_lr,
                        optimiser="sgd" if sgd else "adamw", micro_batch=self.micro_batch, mixup=self.mixup,
                        cutmix=self.cutmix, smoothing=self.smoothing, amp=self.amp, per_step=self.per_step,
                        best_epoch=self.fidelity == "paper",
                    )  # fmt: skip
