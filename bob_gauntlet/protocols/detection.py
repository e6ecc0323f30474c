"""Object detection and instance segmentation: Cascade Mask R-CNN on a backbone, by MMDetection."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from bob_gauntlet.errors import BobError, MissingError
from bob_gauntlet.protocols.heads import precision_name, spread_over_seeds, training_details
from bob_gauntlet.protocols.recipe import Measured, canonical
from bob_gauntlet.runtime.artifacts import ArtifactRef
from bob_gauntlet.scores.score import Fidelity

if TYPE_CHECKING:
    from bob_gauntlet.backbones.backbone import Backbone
    from bob_gauntlet.datasets.dataset import Dataset, Split
    from bob_gauntlet.engine.detection.resizing import Scaling
    from bob_gauntlet.engine.detection.trained_detector import DetectorConfig, TrainedDetector
    from bob_gauntlet.engine.training.config import TrainingConfig
    from bob_gauntlet.metrics.detection import AveragePrecision
    from bob_gauntlet.metrics.detections import Detections
    from bob_gauntlet.runtime.context import RunContext

Mode = Literal["frozen", "finetune", "scratch"]

Kind = Literal["box", "mask"]

MAX_VALIDATION_IMAGES = 5_000
"""Images that choose a learning rate, at most, where a dataset has no validation split."""

_PARTS = ("small", "medium", "large", "rare", "common", "frequent")


@dataclass(frozen=True)
class Detection:
    """Cascade Mask R-CNN: the backbone frozen, fine-tuned with the heads, or built anew from a seed.

    The paper's recipe (3.2, Tables 11 to 13): AdamW, 36 epochs with a tenth of the rate after 27 and 33, images of
    many sizes, a grid of learning rates. A backbone with maps of several strides gets a feature pyramid network, one of
    a single stride a pyramid from its last map. The run whose boxes validation images prefer after its last epoch is
    tested as it is.

    `fidelity="sound"` has the same heads for every backbone: four convolutions with layer norm and one linear layer in
    each box head, GIoU, one convolution before the proposals. `"paper"` has the original's, which differ between
    backbones of one stride (smooth L1, two convolutions before the proposals) and others (batch norm), normalises
    pixels as for ImageNet, trains on all of train and chooses the rate on the reported images.

    >>> Detection(mode="frozen").id
    'detection-frozen'
    """

    version: ClassVar[int] = 1
    seeded: ClassVar[bool] = True
    mini: ClassVar[Mapping[str, Any]] = {
        "epochs": 8,
        "drops": (6, 7),
        "warmup_steps": 20,
        "batch": 4,
        "micro_batch": 4,
        "lrs": (5e-4,),
        "drop_path": 0.0,
        "clip": 10.0,
        "augmentation": "as tests",
        "short_side": 128,
        "long_side": 160,
        "channels": 32,
        "linear": 128,
        "anchors": 128,
        "regions": 24,
        "samples": 1,
        "proposals": (200, 100),
        "detections": 20,
        "amp": False,
    }

    mode: Mode = "finetune"
    input_size: int | None = None
    fidelity: Fidelity = "sound"
    # boxes alone without them
    masks: bool = True
    epochs: int = 36
    drops: tuple[int, ...] = (27, 33)
    warmup_steps: int = 1000
    # images of an optimiser step, and of those how many go through the network at once: halved where memory runs out
    batch: int = 16
    micro_batch: int = 2
    lrs: tuple[float, ...] = (8e-5, 1e-4, 2e-4, 3e-4)
    weight_decay: float = 0.05
    drop_path: float = 0.1
    clip: float | None = None
    # "auto" is DETR's multi-scale, and large-scale jitter for backbones of one stride
    augmentation: Literal["auto", "as tests", "multi-scale", "jitter"] = "auto"
    # in pixels: what an image is fitted into; with jitter `jitter_side` both ways, in tests at most `jitter_short` high
    short_side: int = 800
    long_side: int = 1333
    jitter_side: int = 1024
    jitter_short: int = 1024
    # how a pyramid is made of one map: as wide as it is, or halving it at each step as in ViTDet
    last_map: Literal["wide", "simple"] = "wide"
    channels: int = 256
    linear: int = 1024
    # anchors and regions in an image's loss, proposals in training and in tests, detections of an image
    anchors: int = 256
    regions: int = 512
    proposals: tuple[int, int] = (2000, 1000)
    detections: int = 100
    least_score: float = 0.05
    # points a side at which RoIAlign reads each part of a region; 0 for as many as there are pixels
    samples: int = 0
    # share of images below which a class is seen more often; 0 for none
    rare_below: float = 0.0
    # bfloat16, or float16, on a GPU
    amp: bool = True

    @property
    def id(self) -> str:
        """`detection-finetune`."""
        return f"detection-{self.mode}"

    def evaluate(self, backbone: "Backbone", dataset: "Dataset", context: "RunContext") -> Iterator[Measured]:
        """Average precision of boxes and of masks in %: means over the seeds. Of boxes alone where no mask is there."""
        own = self if _has_masks(dataset) else replace(self, masks=False)
        yield from evaluate_detectors(own, backbone, dataset, context, canonical(own))

    def detectors(
        self, backbone: "Backbone", dataset: "Dataset", context: "RunContext", canonical_form: dict[str, Any]
    ) -> "list[TrainedDetector]":
        """The detector of each seed; from the artefacts, which `canonical_form` names, where it was trained before."""
        from bob_gauntlet.engine.detection import mmdet_ops

        if dataset["train"].objects is None:
            raise MissingError(f"{dataset.name} has no boxes; a detector needs a dataset of kind coco")
        mmdet_ops.prepare()
        from bob_gauntlet.engine.detection.trained_detector import train_detector
        from bob_gauntlet.engine.training.examples import training_examples

        detector_config = self._detector_config(backbone, len(dataset.classes))
        paper = self.fidelity == "paper"
        examples_by_seed = [
            training_examples(dataset, seed, paper=paper, max_carved=MAX_VALIDATION_IMAGES) for seed in context.seeds
        ]
        return [
            train_detector(backbone, each, detector_config, seed, context, canonical_form)
            for each, seed in zip(examples_by_seed, context.seeds, strict=True)
        ]

    def precision(self, device: str) -> str:
        """Of the arithmetic on a device."""
        return precision_name(device, amp=self.amp)

    def _detector_config(self, backbone: "Backbone", classes: int) -> "DetectorConfig":
        from bob_gauntlet.engine.detection.cascade import Heads
        from bob_gauntlet.engine.detection.detector import Design, pyramid_strides
        from bob_gauntlet.engine.detection.trained_detector import DetectorConfig

        strides = pyramid_strides(backbone)
        paper, one_map = self.fidelity == "paper", len(strides) == 1
        heads = Heads(
            masks=self.masks, channels=self.channels, linear=self.linear, anchors=self.anchors, regions=self.regions,
            proposals=self.proposals, detections=self.detections, least_score=self.least_score, samples=self.samples,
            proposal_convs=2 if paper and one_map else 1, norm="batch" if paper and not one_map else "layer",
            box_loss="smooth-l1" if paper and one_map else "giou",
        )  # fmt: skip
        design = Design(
            classes, self.mode, heads, drop_path=self.drop_path, imagenet_pixels=paper, last_map=self.last_map
        )
        return DetectorConfig(
            tuple(map(self._training_config, self.lrs)), design, self._scaling(strides), self.batch, self.rare_below
        )

    def _training_config(self, lr: float) -> "TrainingConfig":
        from bob_gauntlet.engine.training.config import TrainingConfig

        return TrainingConfig(
            lr=lr, weight_decay=self.weight_decay, layer_decay=None, epochs=self.epochs, warmup_epochs=0,
            warmup_lr=lr / 1000, min_lr=0.0, per_step=True, drops=self.drops, warmup_steps=self.warmup_steps,
            micro_batch=self.micro_batch, clip=self.clip, amp=self.amp, curve=0,
        )  # fmt: skip

    def _scaling(self, strides: Sequence[int]) -> "Scaling":
        from bob_gauntlet.engine.detection.resizing import DIVISOR, Scaling

        training = self.augmentation
        if training == "auto":
            training = "jitter" if len(strides) == 1 else "multi-scale"
        # of the strides and of 32; a single one need not be a power of two
        divisor = -(-DIVISOR // strides[-1]) * strides[-1]
        if training == "jitter":
            return Scaling(self.jitter_short, self.jitter_side, training, divisor)
        return Scaling(self.short_side, self.long_side, training, divisor)


@dataclass(frozen=True)
class OODDetection:
    """A detector of boxes trained on one kind of images, tested on another kind of the same classes (3.3, Table 15).

    >>> OODDetection().id
    'ood-detection-finetune'
    """

    version: ClassVar[int] = 1
    seeded: ClassVar[bool] = True
    mini: ClassVar[Mapping[str, Any]] = {}

    detector: Detection = field(default_factory=lambda: Detection(masks=False))

    @property
    def id(self) -> str:
        """`ood-detection-finetune`."""
        return f"ood-{self.detector.id}"

    @property
    def input_size(self) -> int | None:
        """The detector's."""
        return self.detector.input_size

    def evaluate(self, backbone: "Backbone", dataset: "Dataset", context: "RunContext") -> Iterator[Measured]:
        """Average precision of boxes in %, that at an overlap of one half the paper's: means over the seeds."""
        yield from evaluate_detectors(self.detector, backbone, dataset, context, canonical(self.detector))


def evaluate_detectors(
    recipe: Detection, backbone: "Backbone", dataset: "Dataset", context: "RunContext", canonical_form: dict[str, Any]
) -> Iterator[Measured]:
    """The metrics of a recipe's detectors on the test images of a dataset.

    Values of examples are jackknife pseudo-values, which `metrics.jackknife` explains.
    """
    found = recipe.detectors(backbone, dataset, context, canonical_form)
    # needs what `detectors` has asked for
    from bob_gauntlet.engine.detection.example_images import store_example_images

    split = dataset[dataset.reported_role(recipe.fidelity)]
    detections = [each.detections(split, context) for each in found]
    selection = "on the reported images, as in the original" if recipe.fidelity == "paper" else "on validation images"
    details = training_details(found, context.seeds, f"highest box AP {selection} after the last epoch")
    where = ArtifactRef("detections", found[0].detections_key(split))
    details["detections"] = where.to_dict()
    kinds: tuple[Kind, ...] = ("box", "mask") if recipe.masks else ("box",)
    first, *others = (each for kind in kinds for each in _measured(detections, dataset, split, kind, details))
    seen = store_example_images(detections[0], where.key, split, dataset.classes, context)
    yield replace(first, details={**first.details, "pictures": seen})
    yield from others


def _has_masks(dataset: "Dataset") -> bool:
    """Whether every object has one."""
    return all(len(one.masks) == len(one) for split in dataset.splits.values() for one in split.objects or ())


def _measured(
    detections: "Sequence[Detections]", dataset: "Dataset", split: "Split", kind: Kind, details: Mapping[str, Any]
) -> Iterator[Measured]:
    """AP, AP50 and AP75 of boxes or masks; the first says what it is of each size and class."""
    from bob_gauntlet.metrics.jackknife import jackknife

    precisions = [_average_precision(each, dataset, split, kind) for each in detections]
    for metric in ("ap", "ap50", "ap75"):
        values = [getattr(each, metric) for each in precisions]
        if None in values:
            raise BobError(f"no image of {dataset.name}'s {split.role} has an object; check its annotations")
        pseudo = [jackknife(each.matches, split.clusters, metric) for each in precisions]
        extra = {**details, **spread_over_seeds(values), "detections_per_image": len(detections[0]) / len(split)}
        if metric == "ap":
            extra |= {name: found for name in _PARTS if (found := getattr(precisions[0], name)) is not None}
            extra["by_class"] = dict(precisions[0].by_class)
        yield Measured(
            f"{metric}_{kind}", float(np.mean(values)), np.mean([own for own, _ in pseudo], axis=0), split.ids,
            pseudo[0][1], extra,
        )  # fmt: skip


def _average_precision(detections: "Detections", dataset: "Dataset", split: "Split", kind: Kind) -> "AveragePrecision":
    """COCO's average precision, or LVIS's where the dataset says how frequent its classes are."""
    from bob_gauntlet.metrics.detection import average_precision, federated_average_precision

    assert split.objects is not None, split.role
    if dataset.frequencies:
        return federated_average_precision(detections, split.objects, dataset.classes, dataset.frequencies, kind)
    return average_precision(detections, split.objects, dataset.classes, kind)
