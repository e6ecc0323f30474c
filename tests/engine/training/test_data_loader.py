"""Training batches: equal for any number of processes, other ones in every epoch, every image once."""

import random
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from timm.data.auto_augment import RandAugment

from bob_gauntlet.backbones.spec import InputTransform
from bob_gauntlet.datasets.dataset import Split
from bob_gauntlet.datasets.file_stamps import ChangedFile
from bob_gauntlet.datasets.images import UnreadableImage
from bob_gauntlet.engine.seeding import restored_on_cpu
from bob_gauntlet.engine.training import data_loader
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
    """Return a split whose targets are the indices of its images."""
    return replace(tiny.split(count), targets=np.arange(count))


def create_loader(split: Split, augmentation: Augmentation = FULL, **options: int) -> AugmentedLoader:
    """Return a loader of batches of 8 with seed 0."""
    return create_image_loader(split, TRANSFORM, augmentation, **{"batch_size": 8, "seed": 0, **options})


def indices_of_epoch(loader: AugmentedLoader, epoch: int) -> list[int]:
    """Return the indices of an epoch's images in order, for a split whose targets are indices."""
    return [int(t) for _, targets in loader.epoch(epoch) for t in targets]


def images_by_index(loader: AugmentedLoader, epoch: int) -> dict[int, torch.Tensor]:
    """Return the augmented images of an epoch by index, for a split whose targets are indices."""
    return {int(t): image for images, targets in loader.epoch(epoch) for image, t in zip(images, targets, strict=True)}


@pytest.fixture(scope="module")
def uninterrupted() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The batches of two epochs, drawn by this process."""
    loader = create_loader(numbered(24))
    return [batch for epoch in (0, 1) for batch in loader.epoch(epoch)]


@pytest.mark.parametrize("workers", [1, 2])
def test_the_batches_do_not_depend_on_the_number_of_processes(
    workers: int, uninterrupted: list[tuple[torch.Tensor, torch.Tensor]]
) -> None:
    """The batches are identical, also in the second epoch, and after an epoch that was not read to its end."""
    loader = create_loader(numbered(24), workers=workers)
    unfinished_epoch: Iterator[object] = loader.epoch(5)
    next(unfinished_epoch)
    batches = [batch for epoch in (0, 1) for batch in loader.epoch(epoch)]
    assert len(batches) == len(uninterrupted) == 6
    for (images, targets), (expected_images, expected_targets) in zip(batches, uninterrupted, strict=True):
        assert torch.equal(images, expected_images)
        assert torch.equal(targets, expected_targets)


def test_an_epoch_does_not_depend_on_earlier_epochs(
    uninterrupted: list[tuple[torch.Tensor, torch.Tensor]],
) -> None:
    """A run that continues with its second epoch has the batches of a run without an interruption."""
    batches = list(create_loader(numbered(24)).epoch(1))
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(batches, uninterrupted[3:], strict=True))


def test_every_epoch_seed_and_index_has_another_augmentation() -> None:
    """With one picture at all indices, no two of its augmented versions are equal, in one epoch or in two."""
    picture = tiny.split(1).image(0).resize((32, 32))
    one = replace(numbered(16), image=lambda i: picture)
    versions = [
        image
        for seed in (0, 1)
        for epoch in (0, 1)
        for image in images_by_index(create_loader(one, seed=seed), epoch).values()
    ]
    assert len(versions) == 4 * 16
    assert len({version.numpy().tobytes() for version in versions}) == len(versions)


def test_every_image_comes_once_in_an_order_of_epoch_and_seed() -> None:
    """The order is a permutation, and another one for another epoch or seed."""
    orders = [indices_of_epoch(create_loader(numbered(24), seed=seed), epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert all(sorted(each) == list(range(24)) for each in orders)
    assert len({tuple(each) for each in [*orders, range(24)]}) == 5


@pytest.mark.parametrize(
    ("images", "requested_batch_size", "batch_size", "batches"),
    [(27, 8, 8, 3), (27, 7, 6, 4), (5, 8, 4, 1), (2, 8, 2, 1), (24, 24, 24, 1), (24, 1, 2, 12)],
)
def test_batches_are_of_one_even_size_and_the_rest_is_dropped(
    images: int, requested_batch_size: int, batch_size: int, batches: int
) -> None:
    """The size is even, as mixup needs it, and smaller if there are fewer images."""
    loader = create_loader(numbered(images), batch_size=requested_batch_size)
    sizes = [len(pictures) for pictures, _ in loader.epoch(0)]
    assert (loader.batch_size, len(loader), loader.size) == (batch_size, batches, images)
    assert sizes == [batch_size] * batches
    indices = indices_of_epoch(loader, 0)
    assert len(set(indices)) == len(indices)


def test_images_that_are_dropped_come_in_another_epoch() -> None:
    """Each epoch permutes all images, not only those of the first epoch."""
    loader = create_loader(numbered(27))
    first, second, third = (set(indices_of_epoch(loader, epoch)) for epoch in (0, 1, 2))
    assert first != set(range(27))
    assert first | second | third == set(range(27))


def test_a_single_image_is_a_batch_of_two() -> None:
    """The batch holds the same image twice."""
    [(images, targets)] = create_loader(numbered(1)).epoch(0)
    assert images.shape == (2, 3, 8, 8)
    assert targets.tolist() == [0, 0]


def test_several_labels_stay_rows() -> None:
    """The targets of a batch are (B, C), as in the split."""
    rows = np.eye(5, dtype=np.int64)[np.arange(10) % 5]
    labels = replace(tiny.split(10), targets=rows)
    [(_, targets)] = create_loader(labels).epoch(0)
    assert targets.tolist() == rows[indices_of_epoch(create_loader(numbered(10)), 0)].tolist()


def split_with_unreadable(count: int, unreadable: set[int]) -> Split:
    """Return a split of white images, some of which cannot be read."""

    def image(index: int) -> Image.Image:
        if index in unreadable:
            raise UnreadableImage(f"picture-{index}.png (truncated)")
        return Image.new("RGB", (20, 10), (255, 255, 255))

    return replace(numbered(count), image=image)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_becomes_grey_and_is_counted(workers: int) -> None:
    """Two of 200 are counted once each, however often they are read and by any process."""
    loader = create_loader(split_with_unreadable(200, {3, 150}), Augmentation(), workers=workers)
    assert loader.unreadable == set()
    for epoch in (0, 1):
        images = images_by_index(loader, epoch)
        assert loader.unreadable == {3, 150}
        for index, image in images.items():
            level = 128 if index in {3, 150} else 255
            assert torch.allclose(image, torch.full((3, 8, 8), level / 127.5 - 1), atol=1e-6)


def test_too_many_unreadable_images_end_the_run() -> None:
    """More than one in a hundred is an error that names the first of them."""
    with pytest.raises(BobError, match=r"3 of 200 training images cannot be read.*train-3, train-7, train-150"):
        list(create_loader(split_with_unreadable(200, {3, 7, 150}), Augmentation()).epoch(0))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_changed_file_ends_the_run_in_one_line(workers: int) -> None:
    """It is no grey image, and a loader process adds no traceback to the line."""

    def changed(index: int) -> Image.Image:
        raise ChangedFile.at(Path(f"/data/{index}.jpg"))

    loader = create_loader(replace(split_with_unreadable(8, set()), image=changed), Augmentation(), workers=workers)
    with pytest.raises(ChangedFile) as caught:
        list(loader.epoch(0))
    assert re.fullmatch(r"/data/\d.jpg changed while its dataset was in use; run again when .*", str(caught.value))


def test_the_default_augmentation_is_only_crop_and_flip() -> None:
    """An image of one colour keeps that colour, normalised."""
    transform = InputTransform(size=8, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.2))
    plain = create_augmentation(transform, Augmentation())
    image = plain(Image.new("RGB", (30, 20), (51, 102, 153)))
    expected = torch.tensor([(0.2 - 0.1) / 0.5, (0.4 - 0.2) / 0.25, (0.6 - 0.3) / 0.2])
    assert image.shape == (3, 8, 8)
    assert torch.allclose(image, expected.view(3, 1, 1).expand(3, 8, 8), atol=1e-5)


def ramp() -> Image.Image:
    """Return an image whose red value is twice the column, from 0 to 238."""
    return Image.fromarray(np.tile(np.arange(0, 240, 2, dtype=np.uint8)[None, :, None], (120, 1, 3)))


def test_crops_and_flips() -> None:
    """The direction of a ramp shows a flip, and its range the width of a crop."""
    augment = create_augmentation(TRANSFORM, Augmentation(smallest_crop=0.25, interpolation="bilinear"))
    torch.manual_seed(0)
    random.seed(0)
    rows = np.stack([augment(ramp())[0, 0].numpy() for _ in range(200)])
    rising = rows[:, -1] > rows[:, 0]
    assert 60 < rising.sum() < 140
    # 8 pixels of a crop lie 7/8 of its width apart; an area of a quarter at an aspect of 3/4 is 0.43 wide
    width = np.abs(rows[:, -1] - rows[:, 0]) / 2 * 255 / 240 * 8 / 7
    assert 0.40 < width.min() < 0.6
    assert width.max() > 0.9


def test_erasing_puts_noise_in_place_of_pixels() -> None:
    """Erasing happens always with probability 1, and never by default."""
    grey = Image.new("RGB", (16, 16), (128, 128, 128))
    erased = create_augmentation(TRANSFORM, Augmentation(erasing=1.0))(grey)
    changed = erased[erased != float(create_augmentation(TRANSFORM, Augmentation())(grey).flatten()[0])]
    assert 0 < changed.numel() < erased.numel()
    assert changed.unique().numel() == changed.numel()
    assert create_augmentation(TRANSFORM, Augmentation())(grey).unique().numel() == 1


def posterize_operations(auto_augment: str) -> list[object]:
    """Return the operations of RandAugment that reduce the number of bits."""
    augment = create_augmentation(TRANSFORM, Augmentation(auto_augment=auto_augment))
    [randaugment] = [part for part in augment.transforms if isinstance(part, RandAugment)]  # type: ignore[attr-defined]
    return [op for op in randaugment.ops if op.name.startswith("Posterize")]


@pytest.mark.parametrize("auto_augment", ["rand-m10-inc1", "rand-m0"])
def test_posterizing_keeps_a_bit(auto_augment: str) -> None:
    """At these magnitudes timm asks for 0 bits, which Pillow refuses, and gets 1 bit; other numbers do not change."""
    image = ramp()
    [op] = posterize_operations(auto_augment)
    op.prob = 1.0  # type: ignore[attr-defined]
    assert op.level_fn(op.magnitude, op.hparams)[0] == 0  # type: ignore[attr-defined]
    assert op(image).tobytes() == ImageOps.posterize(image, 1).tobytes()  # type: ignore[operator]
    assert op.aug_fn(image, 3).tobytes() == ImageOps.posterize(image, 3).tobytes()  # type: ignore[attr-defined]


@pytest.mark.parametrize("augmentation", [FULL, Augmentation()])
def test_the_callers_random_state_does_not_change(augmentation: Augmentation) -> None:
    """Python's and NumPy's state stay; torch's is used by its loader, and a training run restores it at the end."""
    before = random.getstate(), np.random.get_state()[1].tolist()
    list(create_loader(numbered(16), augmentation).epoch(0))
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


def test_the_batches_do_not_depend_on_the_callers_random_state(
    uninterrupted: list[tuple[torch.Tensor, torch.Tensor]],
) -> None:
    """Other states of the three generators give the same batches."""
    random.seed(7)
    np.random.seed(7)
    torch.manual_seed(7)
    batches = list(create_loader(numbered(24)).epoch(0))
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(batches, uninterrupted[:3], strict=True))


def test_the_random_state_is_saved_once_in_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saving and restoring it takes longer than to draw an example; three batches of eight save it three times."""
    calls: list[int] = []

    def count() -> AbstractContextManager[None]:
        calls.append(1)
        return restored_on_cpu()

    monkeypatch.setattr(data_loader, "restored_on_cpu", count)
    list(create_loader(numbered(24)).epoch(0))
    assert len(calls) == 3
