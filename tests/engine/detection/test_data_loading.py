"""Data loading for detectors: boxes and masks stay on their objects, and random draws depend on the seed alone."""

import re
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from bob_gauntlet.datasets.dataset import Split
from bob_gauntlet.datasets.images import UnreadableImage
from bob_gauntlet.engine.detection import data_loading, mmdet_ops
from bob_gauntlet.engine.detection.data_loading import (
    AugmentedSamples,
    DetectionSample,
    create_detection_loader,
    load_test_batches,
    repeat_factors,
)
from bob_gauntlet.engine.detection.resizing import ResizeMode, Scaling
from bob_gauntlet.engine.training.data_loader import AugmentedLoader
from bob_gauntlet.errors import BobError
from tests.helpers import shapes

TRAININGS = get_args(ResizeMode)


@pytest.fixture(autouse=True)
def ready() -> None:
    """Make mmdet importable."""
    mmdet_ops.prepare()


def extent(pixels: torch.Tensor) -> torch.Tensor | None:
    """Return left, top, right and bottom of the pixels that are not zero."""
    rows, columns = torch.nonzero(pixels, as_tuple=True)
    if not len(rows):
        return None
    return torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], dtype=torch.float32)


@pytest.mark.parametrize("training", TRAININGS)
@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(30, 90), width=st.integers(30, 90), side=st.integers(10, 28), at=st.integers(0, 1000),
    seed=st.integers(0, 10**6),
)  # fmt: skip
@example(height=30, width=90, side=28, at=0, seed=0)
def test_boxes_stay_on_their_objects(
    training: ResizeMode, height: int, width: int, side: int, at: int, seed: int
) -> None:
    """The bright square, its box and its mask agree after any resize, crop and flip."""
    left, top = at % (width - side + 1), at % (height - side + 1)
    scaling = shapes.small_scaling(training)
    sample = shapes.augment(shapes.single_image(height, width, (left, top, side, side)), scaling, seed)
    assert sample.masks is not None
    seen = extent(sample.image[0] > 127)
    if not len(sample.boxes):
        # cropped away: of the square less than two pixels are left one way
        assert seen is None or min(seen[2] - seen[0], seen[3] - seen[1]) <= 2
        return
    assert seen is not None
    assert (sample.boxes[0] - seen).abs().max() <= 1.5
    drawn = extent(sample.masks[0] > 0)
    assert drawn is not None
    # masks are scaled to the nearest pixel: off by up to one of the original
    longest = max(sample.boxes[0, 2] - sample.boxes[0, 0], sample.boxes[0, 3] - sample.boxes[0, 1])
    assert (sample.boxes[0] - drawn).abs().max() <= max(2.0, 1.3 * float(longest) / side)
    assert sample.labels.tolist() == [0]
    assert tuple(sample.masks.shape[1:]) == tuple(sample.image.shape[1:])
    assert sample.original == (height, width)


def test_half_of_the_images_are_flipped() -> None:
    """Of 200 draws 70 to 130 are flipped (four standard deviations)."""
    split = shapes.single_image(64, 64, (2, 20, 10, 10))
    lefts = [float(shapes.augment(split, shapes.small_scaling("as tests"), seed).boxes[0, 0]) for seed in range(200)]
    assert set(lefts) == {2.0, 52.0}
    assert 70 <= lefts.count(52.0) <= 130


def all_samples(loader: AugmentedLoader, epochs: Any = (0, 1)) -> list[DetectionSample]:
    """Return all samples of some epochs."""
    return [sample for number in epochs for batch in loader.epoch(number) for sample in batch]


def equal(first: list[DetectionSample], second: list[DetectionSample]) -> bool:
    """Return whether all pixels and numbers are equal."""
    return len(first) == len(second) and all(
        a.image.shape == b.image.shape
        and torch.equal(a.image, b.image)
        and torch.equal(a.boxes, b.boxes)
        and torch.equal(a.labels, b.labels)
        and a.masks is not None
        and b.masks is not None
        and torch.equal(a.masks, b.masks)
        for a, b in zip(first, second, strict=True)
    )


@pytest.mark.parametrize("training", ["as tests", "jitter"])
def test_draws_are_a_function_of_seed_epoch_and_index(training: ResizeMode) -> None:
    """Samples are the same with any number of processes and from any batch on, whatever was drawn before."""
    split = shapes.split(8)

    def loader(seed: int = 0, workers: int = 0) -> AugmentedLoader:
        return create_detection_loader(
            split, shapes.small_scaling(training), masks=True, batch_size=4, seed=seed, workers=workers
        )

    whole = all_samples(loader())
    assert len(whole) == 16
    for workers in (1, 2):
        assert equal(whole, all_samples(loader(workers=workers)))
    assert equal(whole[8:], all_samples(loader(), (1,)))
    assert equal(whole[4:8], [sample for batch in loader().epoch(0, 1) for sample in batch])
    assert not equal(whole, all_samples(loader(seed=1)))
    assert not equal(whole[:8], whole[8:])


def test_what_is_not_learned_from() -> None:
    """Crowds, objects without area and objects outside the image are left out; others keep their class and mask."""
    boxes = [(2, 3, 20, 18), (30, 4, 20, 20), (5, 40, 15, 15), (80, 10, 12, 12), (40, 40, 0, 9), (34, 38, 20, 22)]
    crowd = np.array([False, True, False, False, False, False])
    areas = np.array([360.0, 400, 0, 144, 0, 440])
    objects = shapes.objects(64, 70, boxes, [0, 0, 0, 0, 0, 1], crowd=crowd, areas=areas)
    split = shapes.split_of([objects], [shapes.draw_image(64, 70, boxes[:1], [0])])
    for seed in range(4):
        sample = shapes.augment(split, shapes.small_scaling("as tests"), seed)
        assert sample.labels.tolist() == [0, 1]
        assert sample.masks is not None
        sums = sample.masks.flatten(1).sum(dim=1).tolist()
        assert sums[0] == pytest.approx(360, rel=0.1)
        assert sums[1] == pytest.approx(np.pi * 110, rel=0.1)


def test_a_box_is_cut_to_its_image() -> None:
    """A box that reaches beyond the image is clipped to it."""
    split = shapes.single_image(64, 70, (50, 40, 20, 24))
    objects = replace(split.objects[0], boxes=np.array([[50.0, 40, 40, 60]]))  # type: ignore[index]
    sample = shapes.augment(replace(split, objects=(objects,)), Scaling(64, 70, "as tests"), 1)
    left = 50.0 if sample.image[0, 50, 60] > 127 else 0.0
    assert sample.boxes.tolist() == [[left, 40, left + 20, 64]]


def test_images_without_objects_are_left_out() -> None:
    """The loader leaves them out with their repeats, and it is an error if no image is left."""
    split = shapes.split(8, empty=3)
    crowd = replace(split.objects[7], crowd=np.ones(len(split.objects[7]), bool))  # type: ignore[index]
    split = replace(split, objects=(*split.objects[:7], crowd))  # type: ignore[index]
    loader = create_detection_loader(split, shapes.SCALING, masks=True, batch_size=8, seed=0)
    assert (loader.size, loader.batch_size, len(loader)) == (4, 4, 1)
    originals = {(o.height, o.width) for o in split.objects[3:7]}  # type: ignore[index]
    samples = all_samples(loader)
    assert all(len(sample.boxes) for sample in samples)
    assert {sample.original for sample in samples} == originals
    repeats = np.array([9.0, 9, 9, 1, 2, 3, 1, 9])
    often = create_detection_loader(split, shapes.SCALING, masks=True, batch_size=1, seed=0, repeats=repeats)
    counts = [sample.original for sample in all_samples(often, (0,))]
    assert [counts.count((o.height, o.width)) for o in split.objects[3:7]] == [1, 2, 3, 1]  # type: ignore[index]
    with pytest.raises(BobError, match="none of the 4 images of train has an object to learn from; check its boxes"):
        create_detection_loader(shapes.split(4, empty=4), shapes.SCALING, masks=True, batch_size=2, seed=0)


def test_masks_are_made_where_they_are_wanted() -> None:
    """Without `masks` samples have no masks, and the dataset needs none."""
    split = shapes.split(4)
    bare = tuple(replace(objects, masks=()) for objects in split.objects or ())
    for sample in all_samples(
        create_detection_loader(replace(split, objects=bare), shapes.SCALING, masks=False, batch_size=2, seed=0)
    ):
        assert sample.masks is None
        assert "masks" not in sample.to_mmdet(sample.padded, "cpu").gt_instances


def test_a_size_that_is_not_the_annotated_one() -> None:
    """An image of another size than annotated counts as unreadable, with both sizes in the reason, and is grey."""
    split = shapes.split(4)
    wrong = replace(split, image=lambda i: Image.new("RGB", (31, 32)))
    sample, broken = AugmentedSamples(wrong, shapes.SCALING, masks=True)(0)
    assert broken
    assert (sample.image == 128).all()
    reasons = [reason for batch in load_test_batches(wrong, shapes.SCALING, 2, threads=1) for reason in batch[2]]
    assert len(reasons) == 4
    assert re.fullmatch(r"train-0 \(of 31 x 32 pixels, annotated as \d+ x \d+\)", sorted(reasons)[0])


def unreadable(count: int) -> Split:
    """Return a split whose second image cannot be read."""
    split = shapes.split(count)

    def image(index: int) -> Image.Image:
        if index == 1:
            raise UnreadableImage("one.jpg (truncated)")
        return split.image(index)

    return replace(split, image=image)


def test_an_image_that_cannot_be_read_is_grey() -> None:
    """The loader counts it in training, and the reason comes with the batch in tests."""
    split = unreadable(101)
    sample, broken = AugmentedSamples(split, shapes.SCALING, masks=True)(1)
    assert broken
    assert set(sample.image.unique().tolist()) == {128}
    assert not AugmentedSamples(split, shapes.SCALING, masks=True)(0)[1]
    loader = create_detection_loader(split, shapes.SCALING, masks=True, batch_size=101, seed=0)
    all_samples(loader, (0,))
    assert loader.unreadable == {1}
    batches = list(load_test_batches(split, shapes.SCALING, 4, threads=2))
    assert [reason for _, _, reasons in batches for reason in reasons] == ["one.jpg (truncated)"]
    [grey] = [batch[indices.index(1)] for indices, batch, _ in batches if 1 in indices]
    assert set(grey.image.unique().tolist()) == {128}


@pytest.mark.parametrize("training", TRAININGS)
@pytest.mark.parametrize("threads", [1, 3])
def test_each_image_is_tested_once(training: ResizeMode, threads: int) -> None:
    """Each image is in one batch; its padded size is that of its batch, and does not depend on the batch size."""
    split, scaling = shapes.split(13), shapes.small_scaling(training)
    padded: list[dict[int, tuple[int, int]]] = []
    for size in (1, 4, 50):
        seen: dict[int, tuple[int, int]] = {}
        for indices, batch, reasons in load_test_batches(split, scaling, size, threads=threads):
            assert len(indices) == len(batch) <= size
            assert reasons == []
            assert len({sample.padded for sample in batch}) == 1
            for index, sample in zip(indices, batch, strict=True):
                assert index not in seen
                seen[index] = sample.padded
                objects = split.objects[index]  # type: ignore[index]
                assert sample.original == (objects.height, objects.width)
                assert tuple(sample.image.shape[1:]) == scaling.fitted(objects.height, objects.width)
                assert (len(sample.boxes), sample.masks) == (0, None)
        assert sorted(seen) == list(range(13))
        padded.append(seen)
    assert padded[0] == padded[1] == padded[2]


def test_an_image_of_the_test_size_is_not_resized() -> None:
    """Its pixels are unchanged in tests, and in training but for the flip."""
    split = shapes.single_image(64, 96, (10, 20, 30, 30))
    [(_, [tested], _)] = load_test_batches(split, Scaling(64, 96, "as tests"), 1, threads=1)
    pixels = torch.from_numpy(np.array(split.image(0))).permute(2, 0, 1)
    assert torch.equal(tested.image, pixels)
    trained = [shapes.augment(split, Scaling(64, 96, "as tests"), seed).image for seed in range(6)]
    assert all(torch.equal(each, pixels) or torch.equal(each, pixels.flip(2)) for each in trained)


def test_the_sample_that_mmdet_gets() -> None:
    """Sizes are (height, width), the scale is (width, height), and masks have the size of the batch."""
    sample = replace(shapes.sample(40, 60), original=(20, 15))
    converted = sample.to_mmdet((64, 96), "cpu")
    assert (converted.img_shape, converted.ori_shape) == ((40, 60), (20, 15))
    assert (converted.pad_shape, converted.batch_input_shape) == ((64, 96), (64, 96))
    assert converted.scale_factor == (4.0, 2.0)
    assert torch.equal(converted.gt_instances.bboxes, sample.boxes)
    assert converted.gt_instances.masks.masks.shape == (1, 64, 96)
    assert sample.masks is not None
    assert np.array_equal(converted.gt_instances.masks.masks[:, :40, :60], sample.masks.numpy())
    assert converted.gt_instances.masks.masks.sum() == sample.masks.sum()


def test_masks_of_every_form() -> None:
    """Polygons, run lengths, compressed bytes and compressed text are decoded, in the order of the indices."""
    from faster_coco_eval.core import mask as coco

    squares = [[1, 1, 5, 1, 5, 4, 1, 4], [8, 2, 10, 2, 10, 9, 8, 9]]
    packed = coco.encode(np.asfortranarray(shapes.disc(12, 10, (2, 3, 6, 8)).astype(np.uint8)))
    masks = (
        squares,
        {"size": [12, 10], "counts": [3, 5, 112]},
        packed,
        {**packed, "counts": packed["counts"].decode()},
    )
    objects = shapes.objects(12, 10, [(1, 1, 9, 8)] * 4, [0] * 4, masks=masks)
    pixels = data_loading.decode_masks(objects, np.array([2, 0, 1, 3]))
    expected = np.zeros((4, 12, 10), np.uint8)
    expected[0] = expected[3] = shapes.disc(12, 10, (2, 3, 6, 8))
    expected[1, 1:4, 1:5] = expected[1, 2:9, 8:10] = 1
    expected[2, 3:8, 0] = 1
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, expected)


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(1, 5), st.floats(0.01, 1), st.integers(0, 1000))
def test_repeat_factors_are_those_of_lvis(count: int, classes: int, threshold: float, seed: int) -> None:
    """They are r_i = max over c in i of max(1, sqrt(t / f(c))) (Gupta et al., LVIS, CVPR 2019, section 5)."""
    targets = (np.random.default_rng(seed).random((count, classes)) < 0.3).astype(np.uint8)
    split = replace(shapes.split(1), targets=targets)
    expected = []
    for row in targets:
        shares = [targets[:, c].sum() / count for c in range(classes) if row[c]]
        expected.append(max([1.0, *(max(1.0, (threshold / f) ** 0.5) for f in shares)]))
    assert repeat_factors(split, threshold) == pytest.approx(np.array(expected))


def test_an_epoch_has_an_image_as_often_as_its_repeat_factor() -> None:
    """The mean over 600 epochs is the factor, and one epoch has the integer below or above it."""
    repeats = np.array([1.0, 1.5, 2.25, 3.0, 1.1])
    loader = AugmentedLoader(lambda i: (i, False), list("abcde"), batch_size=1, seed=0, collate=list, repeats=repeats)
    # the examples of an epoch, before what is left over at its end is dropped
    orders = [loader._order(number) for number in range(600)]
    counts = np.array([np.bincount(order, minlength=5) for order in orders])
    # four standard deviations: at most 0.5 / sqrt(600) each
    assert counts.mean(axis=0) == pytest.approx(repeats, abs=0.082)
    assert ((counts == np.floor(repeats)) | (counts == np.ceil(repeats))).all()
    assert len(loader) == 8
    epochs = [[example for batch in loader.epoch(number) for example in batch] for number in range(40)]
    assert all(len(epoch) == 8 for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert [example for batch in loader.epoch(3, 5) for example in batch] == epochs[3][5:]
    few = AugmentedLoader(
        lambda i: (i, False), list("ab"), batch_size=9, seed=0, collate=list, repeats=np.array([1.0, 2.0])
    )
    [[*batch]] = few.epoch(0)
    assert sorted(set(batch)) == [0, 1]
    assert len(batch) == 9
