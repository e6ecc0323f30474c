"""Data loading for detectors: images with their objects, resized, and in training also cropped and flipped."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import v2

from bob_gauntlet.datasets.dataset import Split
from bob_gauntlet.datasets.objects import ImageObjects
from bob_gauntlet.engine.detection.resizing import Scaling, resize_transforms
from bob_gauntlet.engine.prefetch import prefetch
from bob_gauntlet.engine.training.data_loader import AugmentedLoader
from bob_gauntlet.engine.transforms import grey, image_or_grey
from bob_gauntlet.errors import BobError

EvaluationBatch = tuple[list[int], list["DetectionSample"], list[str]]
"""Indices of images, the samples, and for each image that could not be read the reason."""


@dataclass(frozen=True)
class DetectionSample:
    """One image for a detector, (3, h, w) uint8, with its objects.

    `boxes` are (n, 4) left, top, right, bottom in pixels of `image`, `labels` (n,) class indices, `masks` (n, h, w)
    uint8 or None. `padded` is the height and width to which the image is padded, `original` those of the image file.
    """

    image: torch.Tensor
    boxes: torch.Tensor
    labels: torch.Tensor
    masks: torch.Tensor | None
    padded: tuple[int, int]
    original: tuple[int, int]

    def to_mmdet(self, batch: tuple[int, int], device: str) -> Any:
        """Return mmdet's DetDataSample of this image in a batch of that height and width."""
        from mmdet.structures import DetDataSample
        from mmdet.structures.mask import BitmapMasks
        from mmengine.structures import InstanceData

        height, width = self.image.shape[1:]
        sample = DetDataSample(
            metainfo={
                "img_shape": (height, width),
                "ori_shape": self.original,
                "pad_shape": batch,
                "batch_input_shape": batch,
                "scale_factor": (width / self.original[1], height / self.original[0]),
            }
        )
        objects = InstanceData(bboxes=self.boxes.to(device), labels=self.labels.to(device))
        if self.masks is not None:
            padding = (0, batch[1] - width, 0, batch[0] - height)
            padded_masks = torch.nn.functional.pad(self.masks, padding)
            objects.masks = BitmapMasks(padded_masks.numpy(), *batch)
        sample.gt_instances = objects
        return sample


class AugmentedSamples:
    """Makes training samples of a split: flipped, resized and cropped at random, anew at each call."""

    def __init__(self, split: Split, scaling: Scaling, *, masks: bool) -> None:
        assert split.objects is not None, split.role
        self.split, self.scaling, self.masks = split, scaling, masks
        self.augment = v2.Compose([v2.RandomHorizontalFlip(0.5), *resize_transforms(scaling)])

    def __call__(self, index: int) -> tuple[DetectionSample, bool]:
        image, objects, reason = read_annotated_image(self.split, index)
        augmented = self.augment(_to_torchvision(image, objects, masks=self.masks))
        return _to_sample(augmented, self.scaling, (objects.height, objects.width)), bool(reason)


def create_detection_loader(
    split: Split, scaling: Scaling, *, masks: bool, batch_size: int, seed: int, **options: Any
) -> AugmentedLoader:
    """Return a data loader of training samples, without the images that have no object to learn from.

    `options` are those of AugmentedLoader. Raises BobError where no image is left.
    """
    assert split.objects is not None, split.role
    kept = np.array([index for index, objects in enumerate(split.objects) if objects.learnable.any()], np.int64)
    if not len(kept):
        raise BobError(f"none of the {len(split)} images of {split.role} has an object to learn from; check its boxes")
    repeats = options.pop("repeats", None)
    kept_split = split if len(kept) == len(split) else split.take(kept, "with objects")
    return AugmentedLoader(
        AugmentedSamples(kept_split, scaling, masks=masks), kept_split.ids, batch_size=min(batch_size, len(kept_split)),
        seed=seed, collate=list, repeats=None if repeats is None else repeats[kept], **options,
    )  # fmt: skip


def load_test_batches(split: Split, scaling: Scaling, size: int, *, threads: int) -> Iterator[EvaluationBatch]:
    """Yield all images of a split without their objects, in batches of up to `size`, which threads prepare.

    The images of a batch have the same padded size, which does not depend on `size`: so detections do not depend on it.
    """
    assert split.objects is not None, split.role
    indices_by_size: dict[tuple[int, int], list[int]] = {}
    for index, objects in enumerate(split.objects):
        padded = scaling.padded(*scaling.fitted(objects.height, objects.width))
        indices_by_size.setdefault(padded, []).append(index)

    def prepare(indices: list[int]) -> EvaluationBatch:
        samples, reasons = [], []
        for index in indices:
            image, objects, reason = read_annotated_image(split, index)
            reasons += [reason] * bool(reason)
            fitted = scaling.fitted(objects.height, objects.width)
            pixels = v2.functional.resize(v2.functional.pil_to_tensor(image), list(fitted), antialias=True)
            no_objects = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), None
            original = (objects.height, objects.width)
            samples.append(DetectionSample(pixels, *no_objects, scaling.padded(*fitted), original))
        return indices, samples, reasons

    batches = [
        indices[start : start + size] for indices in indices_by_size.values() for start in range(0, len(indices), size)
    ]
    yield from prefetch(prepare, batches, threads=threads)


def read_annotated_image(split: Split, index: int) -> tuple[Image.Image, ImageObjects, str]:
    """Return an image, its objects, and "" or the reason why the image is grey.

    It is grey where the file is unreadable, or has another size than the one that was annotated.
    """
    assert split.objects is not None, split.role
    objects = split.objects[index]
    size = objects.width, objects.height
    image, reason = image_or_grey(split, index, size)
    if image.size != size:
        reason = f"{split.ids[index]} (of {image.width} x {image.height} pixels, annotated as {size[0]} x {size[1]})"
        image = grey(size)
    return image, objects, reason


def repeat_factors(split: Split, threshold: float) -> np.ndarray:
    """Return (N,) how often an epoch has each image: sqrt(threshold / share of images with a class), at least 1.

    Of the classes of an image the largest factor counts (Gupta et al., LVIS, CVPR 2019, section 5).

    >>> from types import SimpleNamespace
    >>> rare = np.array([[1, 0]] * 99 + [[1, 1]])
    >>> repeat_factors(SimpleNamespace(targets=rare), 0.04)[[0, 99]].tolist()
    [1.0, 2.0]
    """
    share = split.targets.mean(axis=0, dtype=np.float64)
    class_factors = np.sqrt(threshold / np.maximum(share, 1e-12))
    factors = np.ones(len(split.targets))
    for label in np.flatnonzero((class_factors > 1) & (share > 0)):
        has_class = split.targets[:, label] > 0
        factors[has_class] = np.maximum(factors[has_class], class_factors[label])
    return factors


def decode_masks(objects: ImageObjects, kept: np.ndarray) -> np.ndarray:
    """Return (n, height, width) uint8 {0, 1} masks of the objects at the indices `kept`."""
    from faster_coco_eval.core import mask as coco

    height, width = objects.height, objects.width
    pixels = np.zeros((len(kept), height, width), np.uint8)
    for place, index in enumerate(kept):
        mask = objects.masks[index]
        if isinstance(mask, list):
            run_lengths = coco.merge(coco.frPyObjects(mask, height, width))
        else:
            run_lengths = coco.frPyObjects(mask, height, width) if isinstance(mask["counts"], list) else mask
        pixels[place] = coco.decode(run_lengths)
    return pixels


def _to_torchvision(image: Image.Image, objects: ImageObjects, *, masks: bool) -> dict[str, Any]:
    """Return image, boxes, labels and masks as torchvision's transforms take them, to transform them together."""
    kept = np.flatnonzero(objects.learnable)
    corners = objects.boxes[kept].astype(np.float32)
    corners[:, 2:] += corners[:, :2]
    canvas = (objects.height, objects.width)
    boxes: Any = tv_tensors.BoundingBoxes(torch.from_numpy(corners), format="XYXY", canvas_size=canvas)
    inputs = {
        "image": tv_tensors.Image(v2.functional.pil_to_tensor(image)),
        "boxes": v2.functional.clamp_bounding_boxes(boxes),
        "labels": torch.from_numpy(objects.labels[kept].astype(np.int64)),
    }
    if masks:
        inputs["masks"] = tv_tensors.Mask(torch.from_numpy(decode_masks(objects, kept)))
    return inputs


def _to_sample(transformed: dict[str, Any], scaling: Scaling, original: tuple[int, int]) -> DetectionSample:
    """Return the sample of transformed inputs, with the objects whose box is still at least a pixel wide and high."""
    image = transformed["image"].as_subclass(torch.Tensor)
    height, width = image.shape[1:]
    boxes = transformed["boxes"].as_subclass(torch.Tensor).clamp(min=0)
    boxes = boxes.minimum(torch.tensor([width, height, width, height], dtype=boxes.dtype))
    kept = ((boxes[:, 2:] - boxes[:, :2]) >= 1).all(dim=1)
    masks = transformed["masks"].as_subclass(torch.Tensor)[kept] if "masks" in transformed else None
    padded = scaling.padded(*image.shape[1:])
    return DetectionSample(image, boxes[kept], transformed["labels"][kept], masks, padded, original)
