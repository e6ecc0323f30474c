"""Object detection and instance segmentation: Cascade Mask R-CNN on a backbone, built by MMDetection."""

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
"""The most images that are carved out of train where no validation split chooses the learning rate."""

_SUBSETS = ("small", "medium", "large", "rare", "common", "frequent")
"""Fields of `AveragePrecision` that count only objects of one size, or only classes of one frequency."""


@dataclass(frozen=True)
class Detection:
    """Cascade Mask R-CNN whose backbone is frozen, fine-tuned with the heads, or trained from scratch.

    This is the paper's recipe (3.2, Tables 11 to 13): AdamW, 36 epochs with the learning rate divided by 10 after 27
    and 33, multi-scale augmentation, a grid of learning rates. A backbone with feature maps of several strides gets a
    feature pyramid network; one with a single stride gets a pyramid that is made of its last map. The run with the
    highest box AP on validation images after its last epoch is tested as it is, without training again.

    With `fidelity="sound"` the heads are the same for every backbone: four convolutions with layer norm and one linear
    layer in each box head, GIoU loss, one convolution in the region proposal network. With `"paper"` they are the
    original's: smooth L1 loss and two convolutions in the region proposal network for backbones of one stride, batch
    norm for the others. Pixels are then normalised by ImageNet's mean and std, the detector is trained on all of train,
    and the learning rate is chosen on the reported images.

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
    # False: the detector has no mask head
    masks: bool = True
    epochs: int = 36
    drops: tuple[int, ...] = (27, 33)
    warmup_steps: int = 1000
    # images of an optimiser step, and of one forward and backward pass; the latter is halved when memory runs out
    batch: int = 16
    micro_batch: int = 2
    lrs: tuple[float, ...] = (8e-5, 1e-4, 2e-4, 3e-4)
    weight_decay: float = 0.05
    drop_path: float = 0.1
    clip: float | None = None
    # "auto": large-scale jitter for backbones of one stride, DETR's multi-scale augmentation for others
    augmentation: Literal["auto", "as tests", "multi-scale", "jitter"] = "auto"
    # sizes in pixels into which images are fitted: `short_side` x `long_side`; with jitter, training images
    # `jitter_side` x `jitter_side`, and test images `jitter_short` x `jitter_side`
    short_side: int = 800
    long_side: int = 1333
    jitter_side: int = 1024
    jitter_short: int = 1024
    # how a pyramid is made of one feature map (see `engine.detection.necks`)
    last_map: Literal["wide", "simple"] = "wide"
    channels: int = 256
    linear: int = 1024
    # per image: anchors and regions that are sampled for the training losses, region proposals in training and in
    # tests, and detections
    anchors: int = 256
    regions: int = 512
    proposals: tuple[int, int] = (2000, 1000)
    detections: int = 100
    least_score: float = 0.05
    # points per side that RoIAlign samples in each bin of a region; 0 for as many as the bin has pixels
    samples: int = 0
    # images with a class that occurs in a smaller share of the images are repeated (LVIS); 0 for no repeats
    rare_below: float = 0.0
    # mixed precision on a GPU: bfloat16, or float16 where the GPU lacks it
    amp: bool = True

    @property
    def id(self) -> str:
        """The protocol id, for example `detection-finetune`."""
        return f"detection-{self.mode}"

    def evaluate(self, backbone: "Backbone", dataset: "Dataset", context: "RunContext") -> Iterator[Measured]:
        """Yield the average precision of boxes and of masks in %: means over the seeds.

        Where an object has no mask, the detector has no mask head, and only boxes are measured.
        """
        recipe = self if _has_masks(dataset) else replace(self, masks=False)
        yield from evaluate_detectors(recipe, backbone, dataset, context, canonical(recipe))

    def detectors(
        self, backbone: "Backbone", dataset: "Dataset", context: "RunContext", canonical_form: dict[str, Any]
    ) -> "list[TrainedDetector]":
        """Return the detector of each seed. A detector that was trained before is read from its artefact.

        `canonical_form` is the recipe's canonical form, a part of the keys of the artefacts. Raises MissingError where
        the dataset has no boxes, or a package that detection needs is absent.
        """
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
            train_detector(backbone, examples, detector_config, seed, context, canonical_form)
            for examples, seed in zip(examples_by_seed, context.seeds, strict=True)
        ]

    def precision(self, device: str) -> str:
        """Return the precision used on `device`."""
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

        mode = self.augmentation
        if mode == "auto":
            mode = "jitter" if len(strides) == 1 else "multi-scale"
        # the smallest multiple of the last stride that is at least DIVISOR; a single stride need not be a power of two
        divisor = -(-DIVISOR // strides[-1]) * strides[-1]
        if mode == "jitter":
            return Scaling(self.jitter_short, self.jitter_side, mode, divisor)
        return Scaling(self.short_side, self.long_side, mode, divisor)


@dataclass(frozen=True)
class OODDetection:
    """A box detector that is trained on one kind of images and tested on another kind (paper 3.3, Table 15).

    >>> OODDetection().id
    'ood-detection-finetune'
    """

    version: ClassVar[int] = 1
    seeded: ClassVar[bool] = True
    mini: ClassVar[Mapping[str, Any]] = {}

    detector: Detection = field(default_factory=lambda: Detection(masks=False))

    @property
    def id(self) -> str:
        """The protocol id, for example `ood-detection-finetune`."""
        return f"ood-{self.detector.id}"

    @property
    def input_size(self) -> int | None:
        """The input size of the detector."""
        return self.detector.input_size

    def evaluate(self, backbone: "Backbone", dataset: "Dataset", context: "RunContext") -> Iterator[Measured]:
        """Yield the average precision of boxes in %: means over the seeds. The paper reports the one at IoU 0.5."""
        yield from evaluate_detectors(self.detector, backbone, dataset, context, canonical(self.detector))


def evaluate_detectors(
    recipe: Detection, backbone: "Backbone", dataset: "Dataset", context: "RunContext", canonical_form: dict[str, Any]
) -> Iterator[Measured]:
    """Yield the metrics of a recipe's detectors on the reported split of a dataset.

    Values per image are jackknife pseudo-values, which `metrics.jackknife` explains.
    """
    detectors = recipe.detectors(backbone, dataset, context, canonical_form)
    # imports packages whose presence `detectors` has checked
    from bob_gauntlet.engine.detection.example_images import store_example_images

    split = dataset[dataset.reported_role(recipe.fidelity)]
    detections_by_seed = [detector.detections(split, context) for detector in detectors]
    images = "the reported images, as in the original" if recipe.fidelity == "paper" else "validation images"
    chosen = f"highest box AP on {images} after the last epoch" if len(recipe.lrs) > 1 else "only run, not validated"
    details = training_details(detectors, context.seeds, chosen)
    detections_ref = ArtifactRef("detections", detectors[0].detections_key(split))
    details["detections"] = detections_ref.to_dict()
    kinds: tuple[Kind, ...] = ("box", "mask") if recipe.masks else ("box",)
    first, *others = (
        measured for kind in kinds for measured in _measure(detections_by_seed, dataset, split, kind, details)
    )
    pictures = store_example_images(detections_by_seed[0], detections_ref.key, split, dataset.classes, context)
    yield replace(first, details={**first.details, "pictures": pictures})
    yield from others


def _has_masks(dataset: "Dataset") -> bool:
    """Return whether every object of a dataset has a mask."""
    return all(
        len(objects.masks) == len(objects) for split in dataset.splits.values() for objects in split.objects or ()
    )


def _measure(
    detections_by_seed: "Sequence[Detections]",
    dataset: "Dataset",
    split: "Split",
    kind: Kind,
    details: Mapping[str, Any],
) -> Iterator[Measured]:
    """Yield AP, AP50 and AP75 of boxes or masks; the details of the first state AP by size, frequency and class."""
    from bob_gauntlet.metrics.jackknife import jackknife

    precisions = [_average_precision(detections, dataset, split, kind) for detections in detections_by_seed]
    detections_per_image = len(detections_by_seed[0]) / len(split)
    for metric in ("ap", "ap50", "ap75"):
        values = [getattr(precision, metric) for precision in precisions]
        if None in values:
            raise BobError(f"no image of {dataset.name}'s {split.role} has an object; check its annotations")
        pseudo_values = [jackknife(precision.matches, split.clusters, metric) for precision in precisions]
        extra = {**details, **spread_over_seeds(values), "detections_per_image": detections_per_image}
        if metric == "ap":
            extra |= {name: ap for name in _SUBSETS if (ap := getattr(precisions[0], name)) is not None}
            extra["by_class"] = dict(precisions[0].by_class)
        per_image, clusters = np.mean([each for each, _ in pseudo_values], axis=0), pseudo_values[0][1]
        yield Measured(f"{metric}_{kind}", float(np.mean(values)), per_image, split.ids, clusters, extra)


def _average_precision(detections: "Detections", dataset: "Dataset", split: "Split", kind: Kind) -> "AveragePrecision":
    """Return COCO's average precision, or LVIS's where the dataset states how frequent its classes are."""
    from bob_gauntlet.metrics.detection import average_precision, federated_average_precision

    assert split.objects is not None, split.role
    if dataset.frequencies:
        return federated_average_precision(detections, split.objects, dataset.classes, dataset.frequencies, kind)
    return average_precision(detections, split.objects, dataset.classes, kind)
