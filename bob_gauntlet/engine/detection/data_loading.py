"""Images with their objects as a detector takes them: scaled, and in training cropped and flipped with them."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import v2

from bob_gauntlet.datasets.dataset import Split
from bob_gauntlet.datasets.objects import ImageObjects
from bob_gauntlet.engine.training.data_loader import AugmentedLoader
from bob_gauntlet.engine.transforms import grey, image_or_grey
from bob_gauntlet.errors import BobError

ResizeMode = Literal["as tests", "multi-scale", "jitter"]

DIVISOR = 32
"""An image is padded to a multiple of it, and of the backbone's last stride."""


@dataclass(frozen=True)
class Scaling:
    """How large an image becomes: in tests as large as fits into `long` x `short` pixels, either way up.

    In training the same (`as tests`); DETR's sizes around it, half of them of a crop (`multi-scale`; Carion et al.,
    ECCV 2020); or 0.1 to 2 times what fits into `long` x `long`, of which that much is cropped (`jitter`; Ghiasi et
    al., CVPR 2021). Images of `jitter` are padded to `long` x `long`.
    """

    short: int
    long: int
    training: ResizeMode
    # of the padded sides
    divisor: int = DIVISOR

    def fitted(self, height: int, width: int) -> tuple[int, int]:
        """Height and width in tests.

        >>> Scaling(800, 1333, "multi-scale").fitted(480, 640)
        (800, 1067)
        """
        scale = min(self.long / max(height, width), self.short / min(height, width))
        return max(1, round(height * scale)), max(1, round(width * scale))

    def padded(self, height: int, width: int) -> tuple[int, int]:
        """The sides of a padded image.

        >>> Scaling(800, 1333, "multi-scale").padded(800, 1067)
        (800, 1088)
        """
        least = self.long if self.training == "jitter" else 1
        height, width = (-(-max(side, least) // self.divisor) * self.divisor for side in (height, width))
        return height, width


@dataclass(frozen=True)
class DetectionSample:
    """One image for a detector: (3, h, w) uint8, its objects, and what it was scaled from.

    `boxes` are (n, 4) left, top, right, bottom in its own pixels; `masks` (n, h, w) uint8 or None; `padded` is the
    height and width that it is padded to, `original` those of the file.
    """

    image: torch.Tensor
    boxes: torch.Tensor
    labels: torch.Tensor
    masks: torch.Tensor | None
    padded: tuple[int, int]
    original: tuple[int, int]

    def to_mmdet(self, batch: tuple[int, int], device: str) -> Any:
        """What mmdet asks of an image in a batch of that height and width."""
        from mmdet.structures import DetDataSample
        from mmdet.structures.mask import BitmapMasks
        from mmengine.structures import InstanceData

        height, width = self.image.shape[1:]
        found = DetDataSample(
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
            whole = torch.nn.functional.pad(self.masks, padding)
            objects.masks = BitmapMasks(whole.numpy(), *batch)
        found.gt_instances = objects
        return found


class AugmentedSamples:
    """Draws training scenes of a split: scaled and flipped anew at each call."""

    def __init__(self, split: Split, scaling: Scaling, *, masks: bool) -> None:
        assert split.objects is not None, split.role
        self.split, self.scaling, self.masks = split, scaling, masks
        self.change = v2.Compose([v2.RandomHorizontalFlip(0.5), *_resizing(scaling)])

    def __call__(self, index: int) -> tuple[DetectionSample, bool]:
        image, objects, reason = read_annotated_image(self.split, index)
        found = self.change(_sample(image, objects, masks=self.masks))
        return _scene(found, self.scaling, (objects.height, objects.width)), bool(reason)


def build_training_loader(
    split: Split, scaling: Scaling, *, masks: bool, batch: int, seed: int, **options: Any
) -> AugmentedLoader:
    """A loader of training scenes, those without an object to learn from left out; `options` as for AugmentedLoader.

    BobError where none is left.
    """
    assert split.objects is not None, split.role
    kept = np.array([index for index, objects in enumerate(split.objects) if objects.learnable.any()], np.int64)
    if not len(kept):
        raise BobError(f"none of the {len(split)} images of {split.role} has an object to learn from; check its boxes")
    repeats = options.pop("repeats", None)
    whole = split if len(kept) == len(split) else split.take(kept, "with objects")
    return AugmentedLoader(
        AugmentedSamples(whole, scaling, masks=masks), whole.ids, batch_size=min(batch, len(whole)), seed=seed,
        collate=list, repeats=None if repeats is None else repeats[kept], **options,
    )  # fmt: skip


def load_test_batches(
    split: Split, scaling: Scaling, size: int, *, threads: int
) -> Iterator[tuple[list[int], list[DetectionSample], list[str]]]:
    """All images of a split without their objects, up to `size` at once: indices, scenes, and why some are grey.

    Those in a batch are padded to one size, and to the same whatever `size` is: what is found does not depend on it.
    Threads prepare them while the network runs.
    """
    assert split.objects is not None, split.role
    groups: dict[tuple[int, int], list[int]] = {}
    for index, objects in enumerate(split.objects):
        groups.setdefault(scaling.padded(*scaling.fitted(objects.height, objects.width)), []).append(index)
    batches = iter([group[at : at + size] for group in groups.values() for at in range(0, len(group), size)])

    def prepare(indices: list[int]) -> tuple[list[int], list[DetectionSample], list[str]]:
        made, reasons = [], []
        for index in indices:
            image, objects, reason = read_annotated_image(split, index)
            reasons += [reason] * bool(reason)
            wanted = scaling.fitted(objects.height, objects.width)
            pixels = v2.functional.resize(v2.functional.pil_to_tensor(image), list(wanted), antialias=True)
            none = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), None
            made.append(DetectionSample(pixels, *none, scaling.padded(*wanted), (objects.height, objects.width)))
        return indices, made, reasons

    with ThreadPoolExecutor(max_workers=threads) as pool:
        waiting: list[Future[Any]] = [pool.submit(prepare, batch) for batch in islice(batches, 2 * threads)]
        while waiting:
            found = waiting.pop(0).result()
            waiting += [pool.submit(prepare, batch) for batch in islice(batches, 1)]
            yield found


def read_annotated_image(split: Split, index: int) -> tuple[Image.Image, ImageObjects, str]:
    """An image, its objects, and why it is grey, if it is: unreadable, or of another size than is annotated."""
    assert split.objects is not None, split.role
    objects = split.objects[index]
    size = objects.width, objects.height
    image, reason = image_or_grey(split, index, size)
    if image.size != size:
        reason = f"{split.ids[index]} (of {image.width} x {image.height} pixels, annotated as {size[0]} x {size[1]})"
        image = grey(size)
    return image, objects, reason


def repeat_factors(split: Split, threshold: float) -> np.ndarray:
    """(N,) how often an epoch has each image: sqrt(threshold / share of images with a class), at least 1.

    The largest over the classes of the image (Gupta et al., LVIS, CVPR 2019, section 5).

    >>> from types import SimpleNamespace
    >>> rare = np.array([[1, 0]] * 99 + [[1, 1]])
    >>> repeat_factors(SimpleNamespace(targets=rare), 0.04)[[0, 99]].tolist()
    [1.0, 2.0]
    """
    share = split.targets.mean(axis=0, dtype=np.float64)
    factors = np.sqrt(threshold / np.maximum(share, 1e-12))
    found = np.ones(len(split.targets))
    for label in np.flatnonzero((factors > 1) & (share > 0)):
        has = split.targets[:, label] > 0
        found[has] = np.maximum(found[has], factors[label])
    return found


def decode_masks(objects: ImageObjects, kept: np.ndarray) -> np.ndarray:
    """(n, height, width) uint8 {0, 1} masks of the objects at `kept`."""
    from faster_coco_eval.core import mask as coco

    height, width = objects.height, objects.width
    found = np.zeros((len(kept), height, width), np.uint8)
    for place, index in enumerate(kept):
        mask = objects.masks[index]
        if isinstance(mask, list):
            packed = coco.merge(coco.frPyObjects(mask, height, width))
        else:
            packed = coco.frPyObjects(mask, height, width) if isinstance(mask["counts"], list) else mask
        found[place] = coco.decode(packed)
    return found


def _sample(image: Image.Image, objects: ImageObjects, *, masks: bool) -> dict[str, Any]:
    """What torchvision's transforms change together."""
    kept = np.flatnonzero(objects.learnable)
    corners = objects.boxes[kept].astype(np.float32)
    corners[:, 2:] += corners[:, :2]
    canvas = (objects.height, objects.width)
    boxes: Any = tv_tensors.BoundingBoxes(torch.from_numpy(corners), format="XYXY", canvas_size=canvas)
    sample = {
        "image": tv_tensors.Image(v2.functional.pil_to_tensor(image)),
        "boxes": v2.functional.clamp_bounding_boxes(boxes),
        "labels": torch.from_numpy(objects.labels[kept].astype(np.int64)),
    }
    if masks:
        sample["masks"] = tv_tensors.Mask(torch.from_numpy(decode_masks(objects, kept)))
    return sample


def _scene(sample: dict[str, Any], scaling: Scaling, original: tuple[int, int]) -> DetectionSample:
    """What is left of a sample: objects whose box still has a pixel each way."""
    image = sample["image"].as_subclass(torch.Tensor)
    height, width = image.shape[1:]
    boxes = sample["boxes"].as_subclass(torch.Tensor).clamp(min=0)
    boxes = boxes.minimum(torch.tensor([width, height, width, height], dtype=boxes.dtype))
    kept = ((boxes[:, 2:] - boxes[:, :2]) >= 1).all(dim=1)
    masks = sample["masks"].as_subclass(torch.Tensor)[kept] if "masks" in sample else None
    padded = scaling.padded(*image.shape[1:])
    return DetectionSample(image, boxes[kept], sample["labels"][kept], masks, padded, original)


def _resizing(scaling: Scaling) -> Sequence[v2.Transform]:
    """From an image of any size to one for training."""
    if scaling.training == "as tests":
        return [_Fit(scaling)]
    if scaling.training == "jitter":
        whole = (scaling.long, scaling.long)
        return [_Jitter(whole, (0.1, 2.0)), _Crop(scaling.long, scaling.long)]
    sizes = list(range(480, 801, 32))
    plain = v2.RandomShortestSize(sizes, max_size=scaling.long)
    crop = v2.Compose([v2.RandomShortestSize([400, 500, 600]), _Crop(384, 600), plain])
    return [v2.RandomChoice([plain, crop])]


class _Fit(v2.Transform):  # type: ignore[misc]
    """As large as in tests."""

    def __init__(self, scaling: Scaling) -> None:
        super().__init__()
        self.scaling = scaling

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        return {"size": list(self.scaling.fitted(*v2.functional.get_size(flat_inputs[0])))}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return self._call_kernel(v2.functional.resize, inpt, size=params["size"])


class _Jitter(v2.ScaleJitter):  # type: ignore[misc]
    """torchvision's, with a pixel each way at least."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        return {"size": tuple(max(1, side) for side in super().make_params(flat_inputs)["size"])}


class _Crop(v2.Transform):  # type: ignore[misc]
    """A part of random place and sides, each from `least` to `most` pixels, or all of a side that has fewer."""

    def __init__(self, least: int, most: int) -> None:
        super().__init__()
        self.least, self.most = least, most

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        sides = v2.functional.get_size(flat_inputs[0])
        height, width = (_drawn(min(side, self.least), min(side, self.most)) for side in sides)
        top, left = _drawn(0, sides[0] - height), _drawn(0, sides[1] - width)
        return {"top": top, "left": left, "height": height, "width": width}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return self._call_kernel(v2.functional.crop, inpt, **params)


def _drawn(least: int, most: int) -> int:
    return int(torch.randint(least, most + 1, ()))
