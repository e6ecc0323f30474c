"""Low-shot fine-tuning: the whole network on a hundredth or a tenth of the labels."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from bob_gauntlet.protocols.finetune import FineTune
from bob_gauntlet.protocols.heads import evaluate_classifiers
from bob_gauntlet.protocols.recipe import Measured, Reuse, canonical

if TYPE_CHECKING:
    from bob_gauntlet.backbones.backbone import Backbone
    from bob_gauntlet.datasets.dataset import Dataset
    from bob_gauntlet.engine.training.classifier import TrainedClassifier
    from bob_gauntlet.runtime.context import RunContext

_GRID: Mapping[str, Any] = {
    "lrs": (5e-4, 2.5e-4, 1e-4),
    "scratch_lrs": (),
    "weight_decays": (5e-2,),
    "layer_decays": (0.65, 0.75),
    "conv_sgd_lrs": (1e-1, 5e-2),
}
_UNMIXED: Mapping[str, Any] = {"mixup": 0.0, "cutmix": 0.0, "erasing": 0.0}


@dataclass(frozen=True)
class LowShot:
    """Fine-tuning on a fraction of the training images of every class (paper 3.1, Table 8), at least one of each.

    AdamW for transformers over rates and layer decays, SGD for convolutional networks; at 1% without mixup, CutMix and
    erasing. The published lists are used where a dataset has them (ImageNet-1k: SimCLR's), else a seeded draw. 60
    epochs are the README's of the original; the paper names none. Hyper-parameters are chosen on the dataset's whole
    validation split, which holds more labels than the fraction does.

    >>> LowShot(fraction=0.1).id, LowShot(fraction=0.01).tuning.mixup
    ('low-shot-10pct', 0.0)
    """

    version: ClassVar[int] = 1
    seeded: ClassVar[bool] = True
    # its network is trained on fewer images than fine-tuning's
    reuses: ClassVar[Reuse] = ""
    mini: ClassVar[Mapping[str, Any]] = {
        "tuning": {"epochs": 40, "lrs": (2e-3, 5e-4), "layer_decays": (0.75,), "conv_sgd_lrs": (1e-2,)}
    }

    fraction: float = 0.1
    # None is the paper's recipe for that fraction
    tuning: FineTune | None = None

    def __post_init__(self) -> None:
        if self.tuning is None:
            own = FineTune(epochs=60, **_GRID, **(_UNMIXED if self.fraction < 0.1 else {}))
            object.__setattr__(self, "tuning", own)

    @property
    def id(self) -> str:
        """`low-shot-10pct`."""
        return f"low-shot-{100 * self.fraction:g}pct"

    @property
    def fine_tuning(self) -> FineTune:
        """How the fraction is trained on."""
        assert self.tuning is not None
        return self.tuning

    @property
    def input_size(self) -> int | None:
        """Fine-tuning's."""
        return self.fine_tuning.input_size

    def evaluate(self, backbone: "Backbone", dataset: "Dataset", context: "RunContext") -> Iterator[Measured]:
        """Top-1 and top-5 in %; mean AUC in % where images have several labels."""
        yield from evaluate_classifiers(self, backbone, dataset, context)

    def classifiers(self, backbone: "Backbone", dataset: "Dataset", context: "RunContext") -> "list[TrainedClassifier]":
        """The network of each seed; each seed draws a fraction of its own."""
        from bob_gauntlet.engine.training.examples import low_shot_examples

        paper = self.fine_tuning.fidelity == "paper"
        examples_by_seed = [low_shot_examples(dataset, self.fraction, seed, paper=paper) for seed in context.seeds]
        return self.fine_tuning.train_on_examples(
            backbone, examples_by_seed, len(dataset.classes), context, canonical(self)
        )

    def details(self, classifiers: Sequence[Any], seeds: tuple[int, ...]) -> dict[str, Any]:
        """Fine-tuning's, and the fraction."""
        return {**self.fine_tuning.details(classifiers, seeds), "fraction": self.fraction}

    def reported_role(self, dataset: "Dataset") -> str:
        """As fine-tuning."""
        return self.fine_tuning.reported_role(dataset)
