"""Images of squares and discs, small backbones of every kind, and detectors whose training step takes 0.05 seconds."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.backbones.build import build
from bob_gauntlet.backbones.spec import BackboneSpec
from bob_gauntlet.datasets.dataset import Dataset, Split
from bob_gauntlet.datasets.objects import ImageObjects
from bob_gauntlet.engine.detection.cascade import Heads
from bob_gauntlet.engine.detection.data_loading import AugmentedSamples, DetectionSample, create_detection_loader
from bob_gauntlet.engine.detection.detector import Design, Detector
from bob_gauntlet.engine.detection.resizing import ResizeMode, Scaling
from bob_gauntlet.engine.detection.trained_detector import DetectorConfig, DetectorLoss
from bob_gauntlet.engine.seeding import seeded
from bob_gauntlet.engine.training.config import TrainingConfig
from bob_gauntlet.engine.training.examples import TrainingExamples
from bob_gauntlet.engine.training.loop import Trainer
from bob_gauntlet.errors import MissingError

HEADS = Heads(
    channels=8, linear=16, box_convs=1, mask_convs=1, regions=8, anchors=16, proposals=(20, 10), detections=5
)  # fmt: skip

SCALING = Scaling(64, 96, "as tests")

CLASSES = ("square", "disc")

_WINDOWS: dict[str, Any] = {
    "img_size": 64, "window_size": 4, "embed_dim": 8, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2),
}  # fmt: skip
_TOKENS: dict[str, Any] = {"embed_dim": 16, "depth": 2, "num_heads": 2}

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet": ("test_resnet", {}),
    "convnext": ("test_convnext", {}),
    "efficientnet": ("test_efficientnet", {}),
    "efficientnet lite": ("tf_efficientnet_lite0", {}),
    "regnet": ("regnetx_002", {}),
    "swin": ("swin_tiny_patch4_window7_224", _WINDOWS),
    "swin v2": ("swinv2_tiny_window8_256", _WINDOWS),
    "vit 16": ("test_vit", {}),
    "vit 14": ("vit_small_patch14_reg4_dinov2", {"img_size": 56, **_TOKENS}),
    "vit 8": ("vit_tiny_patch16_224", {"img_size": 64, "patch_size": 8, **_TOKENS}),
}
"""timm's name and constructor arguments of a small network of each kind."""


def backbone(kind: str = "resnet", *, pretrained: bool = True, **arguments: Any) -> Backbone:
    """Return a backbone whose weights are not those of any seed."""
    target, kind_arguments = KINDS[kind]
    spec = BackboneSpec(name=kind, text=kind, scheme="random", target=target, arguments={**kind_arguments, **arguments})
    built = build(spec, "cpu")
    rng = torch.Generator().manual_seed(99)
    for tensor in built.module.state_dict().values():
        if tensor.is_floating_point():
            tensor.add_(0.01 * torch.rand(tensor.shape, generator=rng))
    built.identity = replace(built.identity, traits=replace(built.identity.traits, pretrained=pretrained))
    return built


def detector(network: Backbone | None = None, mode: Any = "finetune", seed: int = 0, **design: Any) -> Detector:
    """Return a thin detector of two classes, by default on a small ResNet."""
    return Detector(network or backbone(), Design(2, mode, **{"heads": HEADS, **design}), seed)


@contextmanager
def nothing_missing() -> Iterator[None]:
    """Turn a MissingError into a failure, since the plugin skips a test that raises MissingError."""
    try:
        yield
    except MissingError as error:
        raise AssertionError(str(error)) from error


def objects(height: int, width: int, boxes: Any, labels: Any, **more: Any) -> ImageObjects:
    """Return squares (label 0), whose masks are polygons, and discs (label 1), whose masks are run lengths."""
    from faster_coco_eval.core import mask as coco

    masks: list[Any] = []
    for (left, top, wide, high), label in zip(boxes, labels, strict=True):
        right, bottom = left + wide, top + high
        if label == 0:
            masks.append([[left, top, right, top, right, bottom, left, bottom]])
        else:
            masks.append(coco.encode(np.asfortranarray(disc(height, width, (left, top, wide, high)).astype(np.uint8))))
    boxes = np.array(boxes, np.float64).reshape(-1, 4)
    usual = {"areas": boxes[:, 2] * boxes[:, 3], "crowd": np.zeros(len(boxes), bool), "masks": tuple(masks)}
    return ImageObjects(width, height, boxes, np.array(labels, np.int64), **{**usual, **more})


def disc(height: int, width: int, box: Any) -> np.ndarray:
    """Return (height, width) bool pixels of the ellipse in a box."""
    left, top, wide, high = box
    y, x = np.mgrid[:height, :width] + 0.5
    return ((x - left - wide / 2) / (wide / 2)) ** 2 + ((y - top - high / 2) / (high / 2)) ** 2 <= 1


def draw_image(height: int, width: int, boxes: Any, labels: Any, noise: Any = 0) -> Image.Image:
    """Draw red squares and blue discs on black, or on noise."""
    pixels = np.zeros((height, width, 3), np.uint8) + np.uint8(noise)
    for (left, top, wide, high), label in zip(boxes, labels, strict=True):
        if label == 0:
            pixels[top : top + high, left : left + wide] = (255, 40, 40)
        else:
            pixels[disc(height, width, (left, top, wide, high))] = (40, 40, 255)
    return Image.fromarray(pixels)


def split(count: int = 8, role: str = "train", *, most: int = 2, empty: int = 0) -> Split:
    """Return a split of images of up to 72 x 80 pixels with one to `most` objects side by side; `empty` have none."""
    rng = np.random.default_rng([count, len(role)])
    annotated, images = [], []
    for index in range(count):
        height, width = int(rng.integers(56, 73)), int(rng.integers(64, 81))
        number = 0 if index < empty else int(rng.integers(1, most + 1))
        boxes, labels = [], []
        for place in range(number):
            side = int(rng.integers(16, 29))
            left = place * width // 2 + int(rng.integers(0, width // 2 - side + 1))
            boxes.append((left, int(rng.integers(0, height - side + 1)), side, side))
            labels.append(int(rng.integers(0, 2)))
        annotated.append(objects(height, width, boxes, labels))
        images.append(draw_image(height, width, boxes, labels, rng.integers(0, 90, (height, width, 3))))
    return split_of(annotated, images, role)


def split_of(annotated: Any, images: Any, role: str = "train") -> Split:
    """Return a split of those images; `annotated` are the objects of each image."""
    ids = tuple(f"{role}-{i}" for i in range(len(images)))
    targets = np.array([[label in each.labels for label in range(len(CLASSES))] for each in annotated], np.uint8)
    image = images if callable(images) else images.__getitem__
    return Split(role, f"{role} {len(images)}", ids, targets, image, ids, tuple(annotated))


def dataset(train: int = 8, val: int = 4, test: int = 4, **more: Any) -> Dataset:
    """Return a dataset of squares and discs with that many images by role."""
    counts = {"train": train, "val": val, "test": test}
    return Dataset("shapes", {role: split(count, role) for role, count in counts.items() if count}, CLASSES, **more)


def sample(height: int, width: int, divisor: int = 32, seed: int = 0) -> DetectionSample:
    """Return a sample of noise with one square."""
    noise = np.random.default_rng([height, width, seed]).integers(0, 90, (height, width, 3))
    box = (8, 6, width // 2, height // 2)
    image = torch.from_numpy(np.array(draw_image(height, width, [box], [0], noise))).permute(2, 0, 1)
    mask = torch.zeros(1, height, width, dtype=torch.uint8)
    mask[:, 6 : 6 + height // 2, 8 : 8 + width // 2] = 1
    corners = torch.tensor([[8.0, 6.0, 8.0 + width // 2, 6.0 + height // 2]])
    padded = -(-height // divisor) * divisor, -(-width // divisor) * divisor
    return DetectionSample(image, corners, torch.tensor([0]), mask, padded, (height, width))


def small_scaling(training: ResizeMode, short: int = 64, long: int = 96, divisor: int = 32) -> Scaling:
    """Return small sizes; only those of "multi-scale" are 480 to 800 pixels."""
    return Scaling(short, 700 if training == "multi-scale" else long, training, divisor)


def single_image(height: int, width: int, box: tuple[int, int, int, int], **more: Any) -> Split:
    """Return a split of one image with one square on black."""
    return split_of([objects(height, width, [box], [0], **more)], [draw_image(height, width, [box], [0])])


def augment(split: Split, scaling: Scaling, seed: int) -> DetectionSample:
    """Return the augmented sample of the first image for that seed."""
    with seeded(seed):
        return AugmentedSamples(split, scaling, masks=True)(0)[0]


def config(**changes: Any) -> TrainingConfig:
    """Return a config of two epochs of AdamW."""
    usual: dict[str, Any] = {
        "lr": 1e-3, "weight_decay": 0.05, "layer_decay": None, "epochs": 2, "warmup_epochs": 0, "warmup_lr": 1e-6,
        "min_lr": 0.0, "per_step": True, "micro_batch": 4, "clip": 10.0, "curve": 0,
    }  # fmt: skip
    return TrainingConfig(**{**usual, **changes})


def detector_config(*configs: TrainingConfig, mode: Any = "finetune", **changes: Any) -> DetectorConfig:
    """Return a detector config with batches of four images."""
    usual: dict[str, Any] = {"design": Design(2, mode, HEADS), "scaling": SCALING, "batch": 4}
    return DetectorConfig(configs=configs or (config(),), **{**usual, **changes})


def examples() -> TrainingExamples:
    """Return eight images for training and four for validation."""
    return TrainingExamples(split(8), split(4, "val"))


State = dict[str, torch.Tensor]


def copy_state(module: nn.Module) -> State:
    """Return a copy of all tensors, also of those that are not in a checkpoint."""
    return {
        name: tensor.detach().clone() for name, tensor in [*module.named_parameters(), *module.named_buffers()]
    }  # fmt: skip


def changed_names(before: State, after: State) -> set[str]:
    """Return the names of the tensors that differ."""
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


def train_steps(trained: Detector, steps: int = 3, lr: float = 1e-2) -> tuple[State, State]:
    """Train a detector for some steps; return the state of its backbone before and after."""
    # 32 is no multiple of a patch of 14 pixels
    scaling = replace(SCALING, divisor=42 if trained.backbone_copy.name == "vit 14" else 32)
    masks = trained.design.heads.masks
    loader = create_detection_loader(split(8), scaling, masks=masks, batch_size=4, seed=0)
    before = copy_state(trained.backbone_copy.module)
    trainer = Trainer(trained, config(lr=lr, epochs=9, max_steps=steps), loader, DetectorLoss(), 0, "cpu")
    heads = copy_state(trained.model.roi_head)
    while not trainer.finished:
        trainer.train_epoch(lambda count: None)
    assert trainer.state.steps == steps
    assert changed_names(heads, copy_state(trained.model.roi_head))
    return before, copy_state(trained.backbone_copy.module)
