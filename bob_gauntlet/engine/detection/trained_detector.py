"""Training a detector by a grid search, and its detections on a split."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from faster_coco_eval.core import mask as coco

from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.datasets.dataset import Split
from bob_gauntlet.engine.detection.data_loading import (
    DetectionSample,
    create_detection_loader,
    load_test_batches,
    repeat_factors,
)
from bob_gauntlet.engine.detection.detector import Design, Detector
from bob_gauntlet.engine.detection.resizing import Scaling
from bob_gauntlet.engine.frozen.features import UNREADABLE, check_readable, note_unreadable, with_unreadable_count
from bob_gauntlet.engine.training.config import TrainingConfig
from bob_gauntlet.engine.training.examples import TrainingExamples
from bob_gauntlet.engine.training.grid_search import GridSearch, artefact_key, facts_of, load_or_train, weights_of
from bob_gauntlet.engine.training.loop import Trainer, half_precision
from bob_gauntlet.errors import NotFiniteError, named
from bob_gauntlet.metrics.detection import average_precision
from bob_gauntlet.metrics.detections import Detections
from bob_gauntlet.runtime.artifacts import digest
from bob_gauntlet.runtime.context import RunContext
from bob_gauntlet.runtime.schema import Arrays


@dataclass(frozen=True)
class DetectorConfig:
    """All that a detector and its training depend on, except backbone, examples and seed."""

    # one for each training run of the grid search
    configs: tuple[TrainingConfig, ...]
    design: Design
    scaling: Scaling
    # images of an optimiser step
    batch: int
    # images with a class that occurs in a smaller share of the images are repeated (LVIS); 0 for no repeats
    rare_below: float = 0.0


@dataclass
class TrainedDetector:
    """The detector of one seed, which the grid search has chosen."""

    backbone: Backbone
    detector_config: DetectorConfig
    seed: int
    # the key of the artefact that holds the weights, and its arrays
    key: dict[str, Any]
    arrays: Arrays
    _detector: Detector | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """The reason for the chosen run, and the results of the other runs, as plain types."""
        return facts_of(self.arrays)

    def detector(self) -> Detector:
        """Return the trained detector in evaluation mode; it is built at the first call."""
        if self._detector is None:
            detector = Detector(self.backbone, self.detector_config.design, self.seed)
            detector.load_learned_state(weights_of(self.arrays))
            self._detector = detector.eval()
        return self._detector

    def detections_key(self, split: Split) -> dict[str, Any]:
        """Return the key of the artefact that holds its detections on a split."""
        return {"network": digest(self.key), "split": split.fingerprint}

    def detections(self, split: Split, context: RunContext) -> Detections:
        """Return the detections on every image of a split, from the artefacts if they are there.

        Stored boxes and scores that are NaN or infinite are computed again, with a warning.
        """

        def compute() -> Arrays:
            detections, unreadable = detect_split(self.detector(), split, self.detector_config, context)
            return with_unreadable_count(detections.to_arrays(), unreadable)

        schema = Detections.schema(len(split), self.detector_config.design.classes)
        schema = replace(schema, arrays={**schema.arrays, "unreadable": UNREADABLE})
        arrays = context.artifacts.get("detections", self.detections_key(split), compute, schema)
        note_unreadable(arrays, split, context)
        return Detections.from_arrays(arrays)


class DetectorLoss:
    """The loss of a detector, which is the sum of mmdet's losses; implements `engine.training.loss.Loss`."""

    def to_device(self, batch: list[DetectionSample], device: str) -> list[DetectionSample]:
        """Return the batch as it is: the detector moves the images to its device, a few at once."""
        return batch

    def size(self, batch: list[DetectionSample]) -> int:
        """Return the number of images in the batch."""
        return len(batch)

    def loss(self, network: Detector, batch: list[DetectionSample], part: slice) -> torch.Tensor:
        """Return the loss, summed over the images `part` of the batch; mmdet's loss is their mean."""
        return network.loss(batch[part]) * len(batch[part])


def train_detector(
    backbone: Backbone,
    examples: TrainingExamples,
    detector_config: DetectorConfig,
    seed: int,
    context: RunContext,
    recipe: dict[str, Any],
) -> TrainedDetector:
    """Return the detector that a grid search chooses: read from the artefacts, or trained where it is not there yet.

    `recipe` is the recipe's canonical form, a part of the artefact key.
    """
    key = artefact_key(
        backbone, backbone.identity.transform, examples, seed, context, recipe, amp=detector_config.configs[0].amp
    )
    return TrainedDetector(
        backbone,
        detector_config,
        seed,
        key,
        load_or_train(
            key,
            lambda: _grid_search(backbone, examples, detector_config, seed, context),
            lambda: Detector(backbone, detector_config.design, seed),
            context,
        ),
    )


def _grid_search(
    backbone: Backbone, examples: TrainingExamples, detector_config: DetectorConfig, seed: int, context: RunContext
) -> GridSearch:
    """Return the grid search over the training configs; validation is by box AP, and by AP50 between equal APs.

    A single config is not validated, since nothing is chosen by it.
    """
    train = examples.train
    loader = create_detection_loader(
        train, detector_config.scaling, masks=detector_config.design.heads.masks, batch_size=detector_config.batch,
        seed=seed, workers=context.config.loader_processes,
        repeats=repeat_factors(train, detector_config.rare_below) if detector_config.rare_below else None,
    )  # fmt: skip

    def make_trainer(config: TrainingConfig) -> Trainer:
        return Trainer(
            Detector(backbone, detector_config.design, seed),
            config,
            loader,
            DetectorLoss(),
            seed,
            context.config.device,
        )

    def validate(detector: Detector) -> tuple[float, float]:
        detections, _ = detect_split(detector, examples.validation, detector_config, context, masks=False)
        assert examples.validation.objects is not None
        names = placeholder_names(detector_config.design.classes)
        precision = average_precision(detections, examples.validation.objects, names, "box")
        return precision.ap or 0.0, precision.ap50 or 0.0

    return GridSearch(
        backbone=backbone, configs=detector_config.configs, loader=loader, make_trainer=make_trainer,
        validate=validate if len(detector_config.configs) > 1 else None, context=context,
        validation_images=len(examples.validation),
    )  # fmt: skip


def placeholder_names(count: int) -> tuple[str, ...]:
    """Return so many class names, for results by class that are not used."""
    return tuple(map(str, range(count)))


def detect_split(
    detector: Detector, split: Split, detector_config: DetectorConfig, context: RunContext, *, masks: bool = True
) -> tuple[Detections, list[str]]:
    """Return the detections of a detector in evaluation mode on a split, and why some images could not be read.

    Raises NotFiniteError, which names the images of the batch, where the detector gives NaN or infinity.
    """
    half = half_precision(context.config.device) if detector_config.configs[0].amp else None
    size = max(1, context.config.batch_size // 8)
    detections_by_image: dict[int, _ImageDetections] = {}
    unreadable: list[str] = []
    with (
        context.progress.step(f"{detector.backbone_copy.name}: detect on {split.role}", len(split)) as advance,
        torch.autocast(torch.device(context.config.device).type, half, enabled=half is not None),
    ):
        for indices, batch, reasons in load_test_batches(
            split, detector_config.scaling, size, threads=context.config.reader_threads
        ):
            unreadable += reasons
            try:
                instances_by_image = detector.detect(batch, masks=masks)
            except NotFiniteError as error:
                raise NotFiniteError(
                    f"{detector.backbone_copy.name}: {error}, on one of these images of {split.role}: "
                    f"{named(split.ids[index] for index in indices)}; check the checkpoint and its input normalisation"
                ) from error
            for index, instances in zip(indices, instances_by_image, strict=True):
                detections_by_image[index] = _to_numpy(instances)
            advance(len(indices))
    check_readable(unreadable, split)
    return _join([detections_by_image[index] for index in range(len(split))]), unreadable


_ImageDetections = tuple[np.ndarray, np.ndarray, np.ndarray, list[bytes]]
"""Boxes as left, top, width, height; scores, labels, and masks as COCO's compressed run lengths, of one image."""


def _to_numpy(instances: Any) -> _ImageDetections:
    """Return mmdet's instances of one image as arrays."""
    boxes = instances.bboxes.float().cpu().numpy()
    boxes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    masks: list[bytes] = []
    if "masks" in instances:
        pixels = instances.masks.cpu().numpy().astype(np.uint8)
        masks = [coco.encode(np.asfortranarray(mask))["counts"] for mask in pixels]
    return boxes, instances.scores.float().cpu().numpy(), instances.labels.cpu().numpy(), masks


def _join(images: Sequence[_ImageDetections]) -> Detections:
    """Return the detections of all images, in the order of the images."""
    boxes, scores, labels, masks = zip(*images, strict=True)
    return Detections(
        images=np.repeat(np.arange(len(images)), [len(image_scores) for image_scores in scores]),
        boxes=np.concatenate(boxes),
        scores=np.concatenate(scores),
        labels=np.concatenate(labels),
        masks=tuple(mask for image_masks in masks for mask in image_masks),
    )
