"""Augmented training batches: the same images in the same order for any number of worker processes.

What is drawn for an image depends on seed, epoch and its index alone, so that an interrupted run goes on with the
batches that it would have had.
"""

import multiprocessing
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data.auto_augment import RandAugment
from timm.data.transforms_factory import create_transform
from torch.utils.data import DataLoader, Dataset, default_collate, get_worker_info

from bob_gauntlet.backbones.spec import InputTransform
from bob_gauntlet.datasets.dataset import Split
from bob_gauntlet.datasets.images import MAX_UNREADABLE_SHARE
from bob_gauntlet.engine.seeding import seeded
from bob_gauntlet.engine.transforms import image_or_grey
from bob_gauntlet.errors import BobError

LabelledBatch = tuple[torch.Tensor, torch.Tensor]
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


def create_augmentation(transform: InputTransform, augmentation: Augmentation) -> Callable[[Image.Image], torch.Tensor]:
    """From an RGB image to a (3, size, size) float32 tensor, normalised as the backbone wants it.

    >>> create_augmentation(InputTransform(size=8), Augmentation())(Image.new("RGB", (20, 10))).shape
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


DrawExample = Callable[[int], tuple[Any, bool]]
"""From an index to an example, drawn anew at each call, and whether grey stands for its image."""


class AugmentedImages:
    """Draws augmented images of a split, with their targets."""

    def __init__(self, split: Split, transform: InputTransform, augmentation: Augmentation) -> None:
        self.split, self.size = split, transform.size
        self.augment = create_augmentation(transform, augmentation)

    def __call__(self, index: int) -> tuple[tuple[torch.Tensor, Any], bool]:
        image, reason = image_or_grey(self.split, index, (self.size, self.size))
        return (self.augment(image), self.split.targets[index]), bool(reason)


def create_image_loader(
    split: Split, transform: InputTransform, augmentation: Augmentation, *, batch_size: int, seed: int, **options: Any
) -> "AugmentedLoader":
    """A stream of augmented images with their targets; `options` as for Stream."""
    # an even number, since mixup mixes a batch with itself upside down
    batch_size = max(2, min(batch_size, len(split)) // 2 * 2)
    return AugmentedLoader(
        AugmentedImages(split, transform, augmentation), split.ids, batch_size=batch_size, seed=seed, **options
    )


class AugmentedLoader:
    """The training examples of a run, epoch by epoch, in batches of one size; used by every run of a grid.

    What is left over at the end of an epoch is dropped, as another order comes with the next. `unreadable` holds the
    indices of images that could not be read; grey stands for them. `collate` makes a batch of examples; `repeats`, of
    each example how often an epoch has it on average.
    """

    def __init__(
        self,
        draw: DrawExample,
        ids: Sequence[str],
        *,
        batch_size: int,
        seed: int,
        workers: int = 0,
        pin: bool = False,
        collate: Callable[[list[Any]], Any] = default_collate,
        repeats: np.ndarray | None = None,
    ) -> None:
        self.batch_size = batch_size
        self.unreadable: set[int] = set()
        self.size = len(ids)
        self._ids = ids
        self._seed = seed
        self._repeats = repeats
        # examples of an epoch, at least
        self._least = self.size if repeats is None else int(np.floor(repeats).sum())
        self._keys: list[list[tuple[int, int]]] = []
        workers = workers if "fork" in multiprocessing.get_all_start_methods() else 0
        self._loader: Any = DataLoader(
            _Examples(draw, seed),
            batch_sampler=self._keys,
            num_workers=workers,
            persistent_workers=workers > 0,
            prefetch_factor=4 if workers else None,
            multiprocessing_context="fork" if workers else None,
            pin_memory=pin,
            collate_fn=partial(_collated, collate),
        )

    def __len__(self) -> int:
        """Batches of an epoch."""
        return max(1, self._least // self.batch_size)

    def epoch(self, number: int, first: int = 0) -> Iterator[Any]:
        """The batches of one epoch, from the one of that place on."""
        order = self._order(number)
        self._keys[:] = [
            [(number, int(index)) for index in order[place * self.batch_size : (place + 1) * self.batch_size]]
            for place in range(first, len(self))
        ]
        for found, broken in self._loader:
            self.unreadable.update(broken)
            if len(self.unreadable) > MAX_UNREADABLE_SHARE * self.size:
                names = ", ".join(self._ids[i] for i in sorted(self.unreadable)[:3])
                raise BobError(
                    f"{len(self.unreadable)} of {self.size} training images cannot be read, more than 1%: {names}; "
                    "mend or remove them"
                )
            yield found

    def _order(self, number: int) -> np.ndarray:
        """Indices of an epoch's examples, at least a batch of them."""
        rng = np.random.default_rng([self._seed, number])
        if self._repeats is None:
            order = rng.permutation(self.size)
        else:
            whole = np.floor(self._repeats)
            times = (whole + (rng.random(self.size) < self._repeats - whole)).astype(np.int64)
            order = rng.permutation(np.repeat(np.arange(self.size), times))
        return order if len(order) >= self.batch_size else np.resize(order, self.batch_size)


class _Examples(Dataset[tuple[Any, int]]):
    """Examples by (epoch, index), and the index again where grey stands for the image, else -1."""

    def __init__(self, draw: DrawExample, seed: int) -> None:
        self.draw, self.seed = draw, seed

    def __getitem__(self, key: tuple[int, int]) -> tuple[Any, int]:
        epoch, index = key
        drawn = int(np.random.SeedSequence([self.seed, epoch, index]).generate_state(1)[0])
        if get_worker_info() is None:
            with seeded(drawn):
                found, broken = self.draw(index)
        else:
            random.seed(drawn)
            np.random.seed(drawn)
            torch.default_generator.manual_seed(drawn)
            found, broken = self.draw(index)
        return found, index if broken else -1


def _collated(collate: Callable[[list[Any]], Any], examples: list[tuple[Any, int]]) -> tuple[Any, list[int]]:
    """A batch, and the indices of its examples that are grey."""
    return collate([found for found, _ in examples]), [index for _, index in examples if index >= 0]
