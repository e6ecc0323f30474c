"""Training batches: the same ones whoever draws them, others in every epoch, every image once."""

import random
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from timm.data.auto_augment import RandAugment

from bob_gauntlet.backbones.spec import InputTransform
from bob_gauntlet.datasets.dataset import Split
from bob_gauntlet.datasets.images import UnreadableImage
from bob_gauntlet.engine.training.data_loader import (
    Augmentation,
    AugmentedLoader,
    create_augmentation,
    create_image_loader,
)
from bob_gauntlet.errors import BobError
from tests.helpers import tiny

FULL = Augmentation(auto_augment="rand-m9-mstd0.5-inc1", erasing=0.25)
TRANSFORM = replace(tiny.TRANSFORM, size=8)


def numbered(count: int) -> Split:
    """Images of one colour, whose targets are their indices."""
    return replace(tiny.split(count), targets=np.arange(count))


def loader(split: Split, augmentation: Augmentation = FULL, **options: int) -> AugmentedLoader:
    """Batches of 8 with seed 0."""
    return create_image_loader(split, TRANSFORM, augmentation, **{"batch_size": 8, "seed": 0, **options})


def order(found: AugmentedLoader, epoch: int) -> list[int]:
    """The indices of an epoch, where targets are indices."""
    return [int(t) for _, targets in found.epoch(epoch) for t in targets]


def by_index(found: AugmentedLoader, epoch: int) -> dict[int, torch.Tensor]:
    """What was drawn of each image."""
    return {int(t): image for images, targets in found.epoch(epoch) for image, t in zip(images, targets, strict=True)}


@pytest.fixture(scope="module")
def undisturbed() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Two epochs, drawn by this process."""
    alone = loader(numbered(24))
    return [batch for epoch in (0, 1) for batch in alone.epoch(epoch)]


@pytest.mark.parametrize("workers", [1, 2])
def test_the_batches_do_not_depend_on_who_draws_them(
    workers: int, undisturbed: list[tuple[torch.Tensor, torch.Tensor]]
) -> None:
    """Bit for bit, in the second epoch too, and after an epoch that was left in the middle."""
    shared = loader(numbered(24), workers=workers)
    left: Iterator[object] = shared.epoch(5)
    next(left)
    found = [batch for epoch in (0, 1) for batch in shared.epoch(epoch)]
    assert len(found) == len(undisturbed) == 6
    for (images, targets), (own, truth) in zip(found, undisturbed, strict=True):
        assert torch.equal(images, own)
        assert torch.equal(targets, truth)


def test_an_epoch_draws_the_same_whatever_came_before(
    undisturbed: list[tuple[torch.Tensor, torch.Tensor]],
) -> None:
    """A run that goes on with its second epoch has the batches that it would have had."""
    found = list(loader(numbered(24)).epoch(1))
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(found, undisturbed[3:], strict=True))


def test_every_epoch_seed_and_index_draws_anew() -> None:
    """One picture under all indices: no two of its versions are equal, neither in an epoch nor between two."""
    picture = tiny.split(1).image(0).resize((32, 32))
    one = replace(numbered(16), image=lambda i: picture)
    versions = [
        image for seed in (0, 1) for epoch in (0, 1) for image in by_index(loader(one, seed=seed), epoch).values()
    ]
    assert len(versions) == 4 * 16
    assert len({version.numpy().tobytes() for version in versions}) == len(versions)


def test_every_image_comes_once_in_an_order_of_the_epoch_and_seed() -> None:
    """A permutation, another one for another epoch or seed."""
    orders = [order(loader(numbered(24), seed=seed), epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert all(sorted(each) == list(range(24)) for each in orders)
    assert len({tuple(each) for each in [*orders, range(24)]}) == 5


@pytest.mark.parametrize(
    ("images", "asked", "batch", "batches"),
    [(27, 8, 8, 3), (27, 7, 6, 4), (5, 8, 4, 1), (2, 8, 2, 1), (24, 24, 24, 1), (24, 1, 2, 12)],
)
def test_batches_are_of_one_even_size_and_the_rest_is_dropped(
    images: int, asked: int, batch: int, batches: int
) -> None:
    """Mixup needs an even number; with fewer images than a batch, the batch is smaller."""
    found = loader(numbered(images), batch_size=asked)
    sizes = [len(pictures) for pictures, _ in found.epoch(0)]
    assert (found.batch_size, len(found), found.size) == (batch, batches, images)
    assert sizes == [batch] * batches
    drawn = order(found, 0)
    assert len(set(drawn)) == len(drawn)


def test_what_is_dropped_comes_in_another_epoch() -> None:
    """The order is of all images, not of those of the first epoch."""
    found = loader(numbered(27))
    assert set(order(found, 0)) != set(range(27))
    assert set(order(found, 0)) | set(order(found, 1)) | set(order(found, 2)) == set(range(27))


def test_a_single_image_is_a_batch_of_two() -> None:
    """Of the same image, drawn in the same way."""
    [(images, targets)] = loader(numbered(1)).epoch(0)
    assert images.shape == (2, 3, 8, 8)
    assert targets.tolist() == [0, 0]


def test_labels_of_several_classes_stay_rows() -> None:
    """(B, C), as they are in the split."""
    rows = np.eye(5, dtype=np.int64)[np.arange(10) % 5]
    labels = replace(tiny.split(10), targets=rows)
    [(_, targets)] = loader(labels).epoch(0)
    assert targets.tolist() == rows[order(loader(numbered(10)), 0)].tolist()


def broken(count: int, unreadable: set[int]) -> Split:
    """White images, some of which cannot be read."""

    def image(index: int) -> Image.Image:
        if index in unreadable:
            raise UnreadableImage(f"picture-{index}.png (truncated)")
        return Image.new("RGB", (20, 10), (255, 255, 255))

    return replace(numbered(count), image=image)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_becomes_grey_and_is_counted(workers: int) -> None:
    """Two of 200, whoever reads them, and each once however often it comes."""
    found = loader(broken(200, {3, 150}), Augmentation(), workers=workers)
    assert found.unreadable == set()
    for epoch in (0, 1):
        images = by_index(found, epoch)
        assert found.unreadable == {3, 150}
        for index, image in images.items():
            level = 128 if index in {3, 150} else 255
            assert torch.allclose(image, torch.full((3, 8, 8), level / 127.5 - 1), atol=1e-6)


def test_too_many_unreadable_images_end_the_run() -> None:
    """More than one in a hundred, with names."""
    with pytest.raises(BobError, match=r"3 of 200 training images cannot be read.*train-3, train-7, train-150"):
        list(loader(broken(200, {3, 7, 150}), Augmentation()).epoch(0))


def test_plain_augmentation_is_crop_and_flip_alone() -> None:
    """One colour stays that colour, normalised; a crop covers at least the share that was asked for."""
    transform = InputTransform(size=8, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.2))
    plain = create_augmentation(transform, Augmentation())
    image = plain(Image.new("RGB", (30, 20), (51, 102, 153)))
    expected = torch.tensor([(0.2 - 0.1) / 0.5, (0.4 - 0.2) / 0.25, (0.6 - 0.3) / 0.2])
    assert image.shape == (3, 8, 8)
    assert torch.allclose(image, expected.view(3, 1, 1).expand(3, 8, 8), atol=1e-5)


def ramp() -> Image.Image:
    """Red is the column, from 0 to 240 by 2."""
    return Image.fromarray(np.tile(np.arange(0, 240, 2, dtype=np.uint8)[None, :, None], (120, 1, 3)))


def test_crops_and_flips() -> None:
    """Of a ramp: its direction tells a flip, its range the width of the crop."""
    made = create_augmentation(TRANSFORM, Augmentation(smallest_crop=0.25, interpolation="bilinear"))
    torch.manual_seed(0)
    random.seed(0)
    rows = np.stack([made(ramp())[0, 0].numpy() for _ in range(200)])
    rising = rows[:, -1] > rows[:, 0]
    assert 60 < rising.sum() < 140
    # 8 pixels of a crop lie 7/8 of its width apart; an area of a quarter at an aspect of 3/4 is 0.43 wide
    width = np.abs(rows[:, -1] - rows[:, 0]) / 2 * 255 / 240 * 8 / 7
    assert 0.40 < width.min() < 0.6
    assert width.max() > 0.9


def test_erasing_puts_noise_in_place_of_pixels() -> None:
    """Always, where its probability is 1; never by default."""
    grey = Image.new("RGB", (16, 16), (128, 128, 128))
    erased = create_augmentation(TRANSFORM, Augmentation(erasing=1.0))(grey)
    changed = erased[erased != float(create_augmentation(TRANSFORM, Augmentation())(grey).flatten()[0])]
    assert 0 < changed.numel() < erased.numel()
    assert changed.unique().numel() == changed.numel()
    assert create_augmentation(TRANSFORM, Augmentation())(grey).unique().numel() == 1


def posterisers(auto_augment: str) -> list[object]:
    """The operations of RandAugment that drop bits."""
    made = create_augmentation(TRANSFORM, Augmentation(auto_augment=auto_augment))
    [randaugment] = [part for part in made.transforms if isinstance(part, RandAugment)]  # type: ignore[attr-defined]
    return [op for op in randaugment.ops if op.name.startswith("Posterize")]


@pytest.mark.parametrize("auto_augment", ["rand-m10-inc1", "rand-m0"])
def test_posterising_keeps_a_bit(auto_augment: str) -> None:
    """timm asks for 0 bits at these magnitudes, which Pillow refuses: it gets 1; what it asks for else, it gets."""
    image = ramp()
    [op] = posterisers(auto_augment)
    op.prob = 1.0  # type: ignore[attr-defined]
    assert op.level_fn(op.magnitude, op.hparams)[0] == 0  # type: ignore[attr-defined]
    assert op(image).tobytes() == ImageOps.posterize(image, 1).tobytes()  # type: ignore[operator]
    assert op.aug_fn(image, 3).tobytes() == ImageOps.posterize(image, 3).tobytes()  # type: ignore[attr-defined]


@pytest.mark.parametrize("augmentation", [FULL, Augmentation()])
def test_the_random_state_of_the_caller_stays(augmentation: Augmentation) -> None:
    """Python's and NumPy's; torch's loader draws a number from torch's, which a training run gives back in the end."""
    before = random.getstate(), np.random.get_state()[1].tolist()
    list(loader(numbered(16), augmentation).epoch(0))
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


def test_what_is_drawn_does_not_depend_on_the_callers_random_state(
    undisturbed: list[tuple[torch.Tensor, torch.Tensor]],
) -> None:
    """Another state of all three generators gives the same batches."""
    random.seed(7)
    np.random.seed(7)
    torch.manual_seed(7)
    found = list(loader(numbered(24)).epoch(0))
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(found, undisturbed[:3], strict=True))
