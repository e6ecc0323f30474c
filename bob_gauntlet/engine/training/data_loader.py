"""Data loader of augmented training batches: the same batches for any number of worker processes.

The augmentation of an image depends only on seed, epoch and the image's index, so an interrupted run continues with the
batches that it would have had without the interruption.
"""

import multiprocessing
import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
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
from bob_gauntlet.datasets.file_stamps import ChangedFile
from bob_gauntlet.datasets.images import MAX_UNREADABLE_SHARE
from bob_gauntlet.engine.seeding import restored_on_cpu
from bob_gauntlet.engine.transforms import image_or_grey
from bob_gauntlet.errors import BobError
from bob_gauntlet.runtime.process_guard import guard_loader

LabelledBatch = tuple[torch.Tensor, torch.Tensor]
"""(B, 3, H, W) normalised images, and (B,) class indices or (B, C) {0, 1}."""


@dataclass(frozen=True)
class Augmentation:
    """The random changes of an image in each epoch, all by timm. The defaults are crop and horizontal flip only."""

    # smallest share of the image that a crop covers
    smallest_crop: float = 0.08
    # timm's name of an augmentation, such as "rand-m9-mstd0.5-inc1"; "" for none
    auto_augment: str = ""
    # probability that a random rectangle of the image is replaced by noise
    erasing: float = 0.0
    # "random" draws bilinear or bicubic for each image
    interpolation: str = "random"


def create_augmentation(transform: InputTransform, augmentation: Augmentation) -> Callable[[Image.Image], torch.Tensor]:
    """Return a function from an RGB image to an augmented (3, size, size) float32 tensor.

    The tensor is normalised as the backbone's input transform says.

    >>> create_augmentation(InputTransform(size=8), Augmentation())(Image.new("RGB", (20, 10))).shape
    torch.Size([3, 8, 8])
    """
    augment: Any = create_transform(
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
    for part in augment.transforms:
        if isinstance(part, RandAugment):
            for op in part.ops:
                if op.name.startswith("Posterize"):
                    op.aug_fn = partial(_posterize, op.aug_fn)
    return augment  # type: ignore[no-any-return]


def _posterize(posterize: Callable[..., Image.Image], image: Image.Image, bits: int, **options: Any) -> Image.Image:
    """Keep at least one bit: at the highest magnitude timm asks for 0 bits, which Pillow refuses."""
    return posterize(image, max(1, bits), **options)


DrawExample = Callable[[int], tuple[Any, bool]]
"""From an index to a newly augmented example, and whether its image was unreadable and replaced by grey."""


class AugmentedImages:
    """Returns by index an augmented image of a split with its target; see `DrawExample`."""

    def __init__(self, split: Split, transform: InputTransform, augmentation: Augmentation) -> None:
        self.split, self.size = split, transform.size
        self.augment = create_augmentation(transform, augmentation)

    def __call__(self, index: int) -> tuple[tuple[torch.Tensor, Any], bool]:
        image, reason = image_or_grey(self.split, index, (self.size, self.size))
        return (self.augment(image), self.split.targets[index]), bool(reason)


def create_image_loader(
    split: Split, transform: InputTransform, augmentation: Augmentation, *, batch_size: int, seed: int, **options: Any
) -> "AugmentedLoader":
    """Return a loader of augmented images with their targets; `options` are those of AugmentedLoader."""
    # mixup mixes a batch with the same batch in reverse order, so its size must be even
    batch_size = max(2, min(batch_size, len(split)) // 2 * 2)
    return AugmentedLoader(
        AugmentedImages(split, transform, augmentation), split.ids, batch_size=batch_size, seed=seed, **options
    )


class AugmentedLoader:
    """Yields the training examples of each epoch in batches of one size; all runs of a grid share it.

    Every epoch has another order, and its last examples are dropped where they do not fill a batch. `draw` returns an
    example by index, `collate` makes a batch of examples, and `repeats` says how often an epoch contains each example
    on average (None: once). `unreadable` collects the indices of images that could not be read; they are grey.
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
        # smallest number of examples in an epoch
        self._min_examples = self.size if repeats is None else int(np.floor(repeats).sum())
        self._keys: list[list[tuple[int, int]]] = []
        workers = workers if "fork" in multiprocessing.get_all_start_methods() else 0
        self._loader: Any = DataLoader(
            _SeededExamples(draw, seed),
            batch_sampler=self._keys,
            num_workers=workers,
            persistent_workers=workers > 0,
            prefetch_factor=4 if workers else None,
            multiprocessing_context="fork" if workers else None,
            pin_memory=pin,
            worker_init_fn=partial(guard_loader, os.getpid()) if workers else None,
            collate_fn=partial(_collate_with_unreadable, collate),
        )

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return max(1, self._min_examples // self.batch_size)

    def epoch(self, number: int, first: int = 0) -> Iterator[Any]:
        """Yield the batches of epoch `number`, beginning with batch `first`.

        Raises BobError where more than 1% of the images cannot be read.
        """
        order = self._order(number)
        self._keys[:] = [
            [(number, int(index)) for index in order[batch * self.batch_size : (batch + 1) * self.batch_size]]
            for batch in range(first, len(self))
        ]
        for examples, unreadable in self._batches():
            self.unreadable.update(unreadable)
            if len(self.unreadable) > MAX_UNREADABLE_SHARE * self.size:
                names = ", ".join(self._ids[i] for i in sorted(self.unreadable)[:3])
                raise BobError(
                    f"{len(self.unreadable)} of {self.size} training images cannot be read, more than 1%: {names}; "
                    "mend or remove them"
                )
            yield examples

    def _batches(self) -> Iterator[Any]:
        """Yield what the loader yields; of a ChangedFile of a loader process keep its line alone."""
        try:
            yield from self._loader
        except ChangedFile as error:
            # torch puts the traceback of the process before the line
            raise ChangedFile(str(error).strip().rpartition(f"{ChangedFile.__name__}: ")[2]) from error

    def _order(self, number: int) -> np.ndarray:
        """Return the indices of an epoch's examples in random order: at least one batch, else they are repeated."""
        rng = np.random.default_rng([self._seed, number])
        if self._repeats is None:
            order = rng.permutation(self.size)
        else:
            whole_repeats = np.floor(self._repeats)
            # the fraction is the probability of one more repeat
            counts = (whole_repeats + (rng.random(self.size) < self._repeats - whole_repeats)).astype(np.int64)
            order = rng.permutation(np.repeat(np.arange(self.size), counts))
        return order if len(order) >= self.batch_size else np.resize(order, self.batch_size)


class _SeededExamples(Dataset[tuple[Any, int]]):
    """Returns by (epoch, index) an example, and the index again if its image was unreadable, else -1.

    All random numbers are seeded by seed, epoch and index.
    """

    def __init__(self, draw: DrawExample, seed: int) -> None:
        self.draw, self.seed = draw, seed

    def __getitems__(self, keys: list[tuple[int, int]]) -> list[tuple[Any, int]]:
        """Return the examples of a batch; the caller's random state does not change."""
        # saving and restoring the random state costs more than drawing an example, so it is done once per batch
        with restored_on_cpu() if get_worker_info() is None else nullcontext():
            return [self[key] for key in keys]

    def __getitem__(self, key: tuple[int, int]) -> tuple[Any, int]:
        epoch, index = key
        example_seed = int(np.random.SeedSequence([self.seed, epoch, index]).generate_state(1)[0])
        random.seed(example_seed)
        np.random.seed(example_seed)
        # torch.manual_seed would seed the devices too, which takes longer than to draw an example
        torch.default_generator.manual_seed(example_seed)
        example, unreadable = self.draw(index)
        return example, index if unreadable else -1


def _collate_with_unreadable(
    collate: Callable[[list[Any]], Any], examples: list[tuple[Any, int]]
) -> tuple[Any, list[int]]:
    """Return a batch, and the indices of its examples whose image was unreadable."""
    return collate([example for example, _ in examples]), [index for _, index in examples if index >= 0]
