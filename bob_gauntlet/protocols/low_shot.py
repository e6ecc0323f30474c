"""Low-shot fine-tuning: the whole network is trained on 1% or 10% of the labelled images."""

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

_PAPER_GRID: Mapping[str, Any] = {
    "lrs": (5e-4, 2.5e-4, 1e-4),
    "scratch_lrs": (),
    "weight_decays": (5e-2,),
    "layer_decays": (0.65, 0.75),
    "conv_sgd_lrs": (1e-1, 5e-2),
}
_NO_MIXING: Mapping[str, Any] = {"mixup": 0.0, "cutmix": 0.0, "erasing": 0.0}


@dataclass(frozen=True)
class LowShot:
    """Fine-tuning on a fraction of the training images of every class (paper 3.1, Table 8), at least one of each.

    Convolutional networks are trained by SGD, others by AdamW over a grid of learning rates and layer decays. At 1%
    there is no mixup, CutMix or erasing. Where a dataset has published lists of images (ImageNet-1k: SimCLR's), these
    are used, else images are drawn at random by seed. The 60 epochs are from the README of the original code, since the
    paper does not state them. Hyper-parameters are chosen on the dataset's whole validation split, which has more
    labels than the fraction.

    >>> LowShot(fraction=0.1).id, LowShot(fraction=0.01).tuning.mixup
    ('low-shot-10pct', 0.0)
    """

    version: ClassVar[int] = 1
    seeded: ClassVar[bool] = True
    # its network is trained on fewer images, so it is not the network of fine-tuning
    reuses: ClassVar[Reuse] = ""
    mini: ClassVar[Mapping[str, Any]] = {
        "tuning": {
            "epochs": 40,
            "per_step": False,
            "lrs": (2e-3, 5e-4),
            "layer_decays": (0.75,),
            "conv_sgd_lrs": (1e-2,),
        }
    }

    fraction: float = 0.1
    # None for the paper's recipe for the fraction
    tuning: FineTune | None = None

    def __post_init__(self) -> None:
        if self.tuning is None:
            paper_tuning = FineTune(epochs=60, **_PAPER_GRID, **(_NO_MIXING if self.fraction < 0.1 else {}))
            object.__setattr__(self, "tuning", paper_tuning)

    @property
    def id(self) -> str:
        """The protocol id, for example `low-shot-10pct`."""
        return f"low-shot-{100 * self.fraction:g}pct"

    @property
    def fine_tuning(self) -> FineTune:
        """The recipe by which the network is trained on the fraction: `tuning`, which is never None here."""
        assert self.tuning is not None
        return self.tuning

    @property
    def input_size(self) -> int | None:
        """The input size of `fine_tuning`."""
        return self.fine_tuning.input_size

    def evaluate(self, backbone: "Backbone", dataset: "Dataset", context: "RunContext") -> Iterator[Measured]:
        """Yield top-1 and top-5 in %, or mean AUC in % where images have several labels."""
        yield from evaluate_classifiers(self, backbone, dataset, context)

    def classifiers(self, backbone: "Backbone", dataset: "Dataset", context: "RunContext") -> "list[TrainedClassifier]":
        """Return the network of each seed, trained on the images that are drawn with that seed."""
        from bob_gauntlet.engine.training.examples import low_shot_examples

        paper = self.fine_tuning.fidelity == "paper"
        examples_by_seed = [low_shot_examples(dataset, self.fraction, seed, paper=paper) for seed in context.seeds]
        return self.fine_tuning.train_on_examples(
            backbone, examples_by_seed, len(dataset.classes), context, canonical(self)
        )

    def details(self, classifiers: Sequence[Any], seeds: tuple[int, ...]) -> dict[str, Any]:
        """Return the details of fine-tuning, and the fraction."""
        return {**self.fine_tuning.details(classifiers, seeds), "fraction": self.fraction}

    def reported_role(self, dataset: "Dataset") -> str:
        """Return the role that fine-tuning reports."""
        return self.fine_tuning.reported_role(dataset)
