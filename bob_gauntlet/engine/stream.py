"""Augmented training batches: the same images in the same order for any number of worker processes.

What is drawn for an image depends on seed, epoch and its index alone, so that an interrupted run goes on with the
batches that it would have had.
"""

import multiprocessing
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data.auto_augment import RandAugment
from timm.data.transforms_factory import create_transform
from torch.utils.data import DataLoader, Dataset, get_worker_info

from bob_gauntlet.backbones.spec import InputTransform
from bob_gauntlet.datasets.dataset import Split
from bob_gauntlet.datasets.images import UNREADABLE
from bob_gauntlet.engine.seeding import seeded
from bob_gauntlet.engine.transforms import image_or_grey
from bob_gauntlet.errors import BobError

Batch = tuple[torch.Tensor, torch.Tensor]
"""(B, 3, H, W) normalised images, and (B,) class indices or (B, C) {0, 1}."""


@dataclass(frozen=True)
class Augmentation:
    """What is drawn anew for an image in every epoch, all of it timm's; the defaults are crop and flip alone."""

    # share of the image that a crop covers, at least
    smallest_crop: float = 0.08
    # as timm writes it, such as "rand-m9-mstd0.5-inc1"; "" for none
    auto_augment: str = ""
    # probability that a random rectangle becomes noise
    erasing: float = 0.0
    # "random" is bilinear or bicubic
    interpolation: str = "random"


def augmenting(transform: InputTransform, augmentation: Augmentation) -> Callable[[Image.Image], torch.Tensor]:
    """From an RGB image to a (3, size, size) float32 tensor, normalised as the backbone wants it.

    >>> augmenting(InputTransform(size=8), Augmentation())(Image.new("RGB", (20, 10))).shape
    torch.Size([3, 8, 8])
    """
    made: Any = create_transform(
        (3, transform.size, transform.size),
        is_training=True,
        scale=(augmentation.smallest_crop, 1.0),
        auto_augment=augmentation.auto_augment or None,
        color_jitter=0.0,
        interpolation=augmentation.interpolation,
        mean=transform.mean,
        std=transform.std,
        re_prob=augmentation.erasing,
        re_mode="pixel",
    )
    for part in made.transforms:
        if isinstance(part, RandAugment):
            for op in part.ops:
                if op.name.startswith("Posterize"):
                    op.aug_fn = partial(_posterize, op.aug_fn)
    return made  # type: ignore[no-any-return]


def _posterize(posterize: Callable[..., Image.Image], image: Image.Image, bits: int, **options: Any) -> Image.Image:
    """timm asks for 0 bits at the highest magnitude, which Pillow refuses."""
    return posterize(image, max(1, bits), **options)


class Stream:
    """The training examples of a run, epoch by epoch, in batches of one size; used by every run of a grid.

    What is left over at the end of an epoch is dropped, as another order comes with the next. `unreadable` holds the
    indices of images that could not be read; grey stands for them.
    """

    def __init__(
        self,
        split: Split,
        transform: InputTransform,
        augmentation: Augmentation,
        *,
        batch: int,
        seed: int,
        workers: int = 0,
        pin: bool = False,
    ) -> None:
        # an even number, since mixup mixes a batch with itself upside down
        self.batch = max(2, min(batch, len(split)) // 2 * 2)
        self.unreadable: set[int] = set()
        self.size = len(split)
        self._ids = split.ids
        self._seed = seed
        self._keys: list[list[tuple[int, int]]] = []
        examples = _Examples(split, augmenting(transform, augmentation), transform.size, seed)
        workers = workers if "fork" in multiprocessing.get_all_start_methods() else 0
        self._loader: Any = DataLoader(
            examples,
            batch_sampler=self._keys,
            num_workers=workers,
            persistent_workers=workers > 0,
            prefetch_factor=4 if workers else None,
            multiprocessing_context="fork" if workers else None,
            pin_memory=pin,
        )

    def __len__(self) -> int:
        """Batches of an epoch."""
        return max(1, self.size // self.batch)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of one epoch."""
        order = np.random.default_rng([self._seed, number]).permutation(self.size)
        if len(order) < self.batch:
            order = np.resize(order, self.batch)
        self._keys[:] = [
            [(number, int(index)) for index in order[start * self.batch : (start + 1) * self.batch]]
            for start in range(len(self))
        ]
        for images, targets, broken in self._loader:
            self.unreadable.update(broken[broken >= 0].tolist())
            if len(self.unreadable) > UNREADABLE * self.size:
                names = ", ".join(self._ids[i] for i in sorted(self.unreadable)[:3])
                raise BobError(
                    f"{len(self.unreadable)} of {self.size} training images cannot be read, more than 1%: {names}; "
                    "mend or remove them"
                )
            yield images, targets


class _Examples(Dataset[tuple[torch.Tensor, Any, int]]):
    """Images by (epoch, index)."""

    def __init__(self, split: Split, augment: Callable[[Image.Image], torch.Tensor], size: int, seed: int) -> None:
        self.split, self.augment, self.size, self.seed = split, augment, size, seed

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, Any, int]:
        epoch, index = key
        image, reason = image_or_grey(self.split, index, self.size)
        broken = index if reason else -1
        drawn = int(np.random.SeedSequence([self.seed, epoch, index]).generate_state(1)[0])
        if get_worker_info() is None:
            with seeded(drawn):
                found = self.augment(image)
        else:
            random.seed(drawn)
            np.random.seed(drawn)
            torch.default_generator.manual_seed(drawn)
            found = self.augment(image)
        return found, self.split.targets[index], broken
