"""Training a detector on a backbone over a grid, and what it finds on a split."""

from collections.abc import Sequence
from dataclasses import dataclass
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
from bob_gauntlet.engine.frozen.features import check_readable, note_unreadable, with_unreadable_count
from bob_gauntlet.engine.training.config import TrainingConfig
from bob_gauntlet.engine.training.examples import TrainingExamples
from bob_gauntlet.engine.training.grid_search import GridSearch, artefact_key, facts_of, load_or_train, weights_of
from bob_gauntlet.engine.training.loop import Trainer, half_precision
from bob_gauntlet.metrics.detection import average_precision
from bob_gauntlet.metrics.detections import Detections
from bob_gauntlet.runtime.artifacts import Arrays, digest
from bob_gauntlet.runtime.context import RunContext


@dataclass(frozen=True)
class DetectorConfig:
    """What is trained, and how: all that a detector depends on beside backbone, examples and seed."""

    configs: tuple[TrainingConfig, ...]
    design: Design
    scaling: Scaling
    # images of an optimiser step
    batch: int
    # classes that fewer images than this share have are seen more often (LVIS); 0 for none
    rare_below: float = 0.0


@dataclass
class TrainedDetector:
    """The chosen detector of one seed."""

    backbone: Backbone
    detector_config: DetectorConfig
    seed: int
    # of the artefact that holds the weights
    key: dict[str, Any]
    arrays: Arrays
    _detector: Detector | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """How the run was chosen and what became of the others: plain types."""
        return facts_of(self.arrays)

    def detector(self) -> Detector:
        """The trained detector, in evaluation mode; built at the first call."""
        if self._detector is None:
            detector = Detector(self.backbone, self.detector_config.design, self.seed)
            detector.load_learned_state(weights_of(self.arrays))
            self._detector = detector.eval()
        return self._detector

    def detections_key(self, split: Split) -> dict[str, Any]:
        """Of the artefact that holds its detections on a split."""
        return {"network": digest(self.key), "split": split.fingerprint}

    def detections(self, split: Split, context: RunContext) -> Detections:
        """What it finds on every image of a split; kept by detector and split."""

        def compute() -> Arrays:
            detector = self.detector()
            before = detector.images_forwarded
            found, unreadable = detect_split(detector, split, self.detector_config, context)
            self.backbone.images_forwarded += detector.images_forwarded - before
            return with_unreadable_count(found.to_arrays(), unreadable)

        kept = context.artifacts.get("detections", self.detections_key(split), compute)
        note_unreadable(kept, split, context)
        return Detections.from_arrays(kept)


class DetectorLoss:
    """Objects on images: mmdet's losses."""

    def to_device(self, batch: list[DetectionSample], device: str) -> list[DetectionSample]:
        """As they are: the detector moves them, a few at once."""
        return batch

    def size(self, batch: list[DetectionSample]) -> int:
        """Images of the batch."""
        return len(batch)

    def loss(self, network: Detector, batch: list[DetectionSample], part: slice) -> torch.Tensor:
        """mmdet's is a mean over the images that it is given."""
        return network.loss(batch[part]) * len(batch[part])


def train_detector(
    backbone: Backbone,
    examples: TrainingExamples,
    detector_config: DetectorConfig,
    seed: int,
    context: RunContext,
    recipe: dict[str, Any],
) -> TrainedDetector:
    """The detector that a grid gives, from the artefacts where it was trained before."""
    key = artefact_key(
        backbone, backbone.identity.transform, examples, seed, context, recipe, amp=detector_config.configs[0].amp
    )
    return TrainedDetector(
        backbone,
        detector_config,
        seed,
        key,
        load_or_train(key, lambda: _search(backbone, examples, detector_config, seed, context), context),
    )


def _search(
    backbone: Backbone, examples: TrainingExamples, detector_config: DetectorConfig, seed: int, context: RunContext
) -> GridSearch:
    fit = examples.train
    loader = create_detection_loader(
        fit, detector_config.scaling, masks=detector_config.design.heads.masks, batch_size=detector_config.batch,
        seed=seed, workers=context.config.loader_processes,
        repeats=repeat_factors(fit, detector_config.rare_below) if detector_config.rare_below else None,
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
        found, _ = detect_split(detector, examples.validation, detector_config, context, masks=False)
        assert examples.validation.objects is not None
        aps = average_precision(found, examples.validation.objects, class_names(detector_config.design.classes), "box")
        return aps.ap or 0.0, aps.ap50 or 0.0

    return GridSearch(
        backbone=backbone, configs=detector_config.configs, loader=loader, make_trainer=make_trainer, validate=validate,
        context=context, validation_images=len(examples.validation),
    )  # fmt: skip


def class_names(count: int) -> tuple[str, ...]:
    """Names for classes where nobody reads them."""
    return tuple(map(str, range(count)))


def detect_split(
    detector: Detector, split: Split, detector_config: DetectorConfig, context: RunContext, *, masks: bool = True
) -> tuple[Detections, list[str]]:
    """What a detector in evaluation mode finds on a split, and why some images could not be read."""
    half = half_precision(context.config.device) if detector_config.configs[0].amp else None
    size = max(1, context.config.batch_size // 8)
    found: dict[int, Any] = {}
    unreadable: list[str] = []
    with (
        context.progress.step(f"{detector.backbone_copy.name}: detect on {split.role}", len(split)) as advance,
        torch.autocast(torch.device(context.config.device).type, half, enabled=half is not None),
    ):
        for indices, batch, reasons in load_test_batches(
            split, detector_config.scaling, size, threads=context.config.reader_threads
        ):
            unreadable += reasons
            for index, instances in zip(indices, detector.detect(batch, masks=masks), strict=True):
                found[index] = _plain(instances)
            advance(len(indices))
    check_readable(unreadable, split)
    return _joined([found[index] for index in range(len(split))]), unreadable


def _plain(found: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[bytes]]:
    """Boxes as left, top, width, height, scores, labels and packed masks of one image's instances."""
    boxes = found.bboxes.float().cpu().numpy()
    boxes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    masks: list[bytes] = []
    if "masks" in found:
        pixels = found.masks.cpu().numpy().astype(np.uint8)
        masks = [coco.encode(np.asfortranarray(one))["counts"] for one in pixels]
    return boxes, found.scores.float().cpu().numpy(), found.labels.cpu().numpy(), masks


def _joined(images: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray, list[bytes]]]) -> Detections:
    boxes, scores, labels, masks = zip(*images, strict=True)
    return Detections(
        images=np.repeat(np.arange(len(images)), [len(one) for one in scores]),
        boxes=np.concatenate(boxes),
        scores=np.concatenate(scores),
        labels=np.concatenate(labels),
        masks=tuple(mask for one in masks for mask in one),
    )
