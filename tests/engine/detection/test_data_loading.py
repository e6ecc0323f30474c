"""What a detector is shown: boxes and masks stay on their objects, sizes stay in their bounds, draws are the seed's."""

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
from bob_gauntlet.engine.seeding import seeded
from bob_gauntlet.engine.training.data_loader import AugmentedLoader
from bob_gauntlet.errors import BobError
from tests.helpers import shapes

TRAININGS = get_args(ResizeMode)
SIDES = list(range(480, 801, 32))


@pytest.fixture(autouse=True)
def ready() -> None:
    """mmdet can be imported."""
    mmdet_ops.prepare()


def scaling(training: ResizeMode, short: int = 64, long: int = 96, divisor: int = 32) -> Scaling:
    """Small, but for DETR's sizes, which are 480 to 800 pixels."""
    return Scaling(short, 700 if training == "multi-scale" else long, training, divisor)


def one(height: int, width: int, box: tuple[int, int, int, int], **more: Any) -> Split:
    """A split of one image of one square on black."""
    return shapes.split_of(
        [shapes.objects(height, width, [box], [0], **more)], [shapes.draw_image(height, width, [box], [0])]
    )


def draw(split: Split, how: Scaling, seed: int) -> DetectionSample:
    """The scene of that seed."""
    with seeded(seed):
        return AugmentedSamples(split, how, masks=True)(0)[0]


def extent(pixels: torch.Tensor) -> torch.Tensor | None:
    """Left, top, right and bottom of what is lit."""
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
    """The square that is lit, its box and its mask agree, however it was scaled, cropped and flipped."""
    left, top = at % (width - side + 1), at % (height - side + 1)
    how = scaling(training)
    found = draw(one(height, width, (left, top, side, side)), how, seed)
    assert found.masks is not None
    seen = extent(found.image[0] > 127)
    if not len(found.boxes):
        # cropped away: of the square less than two pixels are left one way
        assert seen is None or min(seen[2] - seen[0], seen[3] - seen[1]) <= 2
        return
    assert seen is not None
    assert (found.boxes[0] - seen).abs().max() <= 1.5
    drawn = extent(found.masks[0] > 0)
    assert drawn is not None
    # masks are scaled to the nearest pixel: off by up to one of the original
    longest = max(found.boxes[0, 2] - found.boxes[0, 0], found.boxes[0, 3] - found.boxes[0, 1])
    assert (found.boxes[0] - drawn).abs().max() <= max(2.0, 1.3 * float(longest) / side)
    assert found.labels.tolist() == [0]
    assert tuple(found.masks.shape[1:]) == tuple(found.image.shape[1:])
    assert found.original == (height, width)


@pytest.mark.parametrize("training", TRAININGS)
@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(20, 300), width=st.integers(20, 300), divisor=st.sampled_from([32, 42]),
    seed=st.integers(0, 10**6),
)  # fmt: skip
def test_sizes_are_within_their_bounds(training: ResizeMode, height: int, width: int, divisor: int, seed: int) -> None:
    """Of tests; 480 to 800 pixels one way and at most `long` the other; at most `long` both ways."""
    how = scaling(training, divisor=divisor)
    found = draw(one(height, width, (0, 0, width, height)), how, seed)
    sides = tuple(found.image.shape[1:])
    if training == "as tests":
        assert sides == how.fitted(height, width)
    elif training == "multi-scale":
        # rounded down
        assert {min(sides), min(sides) + 1} & set(SIDES) or max(sides) in (how.long, how.long - 1)
        assert max(sides) <= how.long
    else:
        assert max(sides) <= how.long
        whole = how.long / max(height, width)
        assert int(0.1 * whole * height) <= sides[0] <= 2 * whole * height + 1
    assert found.padded == how.padded(*sides)
    assert all(side % divisor == 0 for side in found.padded)
    if training == "jitter":
        assert set(found.padded) == {96 if divisor == 32 else 126}
    else:
        assert all(0 <= more - side < divisor for more, side in zip(found.padded, sides, strict=True))


@settings(deadline=None)
@given(st.integers(1, 3000), st.integers(1, 3000))
def test_the_size_in_tests(height: int, width: int) -> None:
    """As large as fits into 1333 x 800 either way up, in proportion."""
    high, wide = Scaling(800, 1333, "as tests").fitted(height, width)
    assert (wide, high) == Scaling(800, 1333, "as tests").fitted(width, height)
    assert max(high, wide) == 1333 or min(high, wide) == 800
    assert max(high, wide) <= 1333
    assert min(high, wide) <= 800
    scale = (high if height >= width else wide) / max(height, width)
    # the longer side is rounded too
    expected = max(1.0, scale * min(height, width))
    assert min(high, wide) == pytest.approx(expected, abs=1)


@pytest.mark.parametrize("training", TRAININGS)
def test_a_line_of_pixels_is_an_image(training: ResizeMode) -> None:
    """However thin it becomes."""
    for seed in range(12):
        found = draw(one(400, 2, (0, 0, 2, 400)), scaling(training), seed)
        assert min(found.image.shape[1:]) >= 1


def test_half_of_the_images_are_flipped() -> None:
    """Of 200 draws between 70 and 130 (four standard deviations), box and pixels alike."""
    split = one(64, 64, (2, 20, 10, 10))
    lefts = [float(draw(split, scaling("as tests"), seed).boxes[0, 0]) for seed in range(200)]
    assert set(lefts) == {2.0, 52.0}
    assert 70 <= lefts.count(52.0) <= 130


def test_jitter_is_a_tenth_to_twice() -> None:
    """Uniform, so that of 150 draws a tenth is below 0.29 and a tenth above 1.81; crops lie anywhere."""
    split = one(50, 50, (0, 0, 50, 50))
    scales, full = [], scaling("jitter", long=100)
    drawn = AugmentedSamples(split, full, masks=False)
    for seed in range(150):
        with seeded(seed):
            scene = drawn.augment.transforms[1](
                data_loading._to_torchvision(*data_loading.read_annotated_image(split, 0)[:2], masks=False)
            )
        scales.append(scene["image"].shape[1] / 100)
    assert 0.1 <= min(scales) < 0.29
    assert 1.81 < max(scales) <= 2
    assert np.mean(scales) == pytest.approx(1.05, abs=0.2)
    corner = one(50, 50, (0, 0, 4, 4))
    kept = [len(draw(corner, full, seed).boxes) for seed in range(100)]
    # in the half of the draws that are larger than the crop a corner is mostly outside
    assert 30 <= sum(kept) <= 75


def test_half_of_the_multi_scale_images_are_crops() -> None:
    """DETR's: the rest is the whole image at one of eleven sizes."""
    split = one(60, 60, (0, 0, 60, 60))
    shown, square = [], 0
    for seed in range(80):
        found = draw(split, scaling("multi-scale"), seed)
        square += found.image.shape[1] == found.image.shape[2]
        shown.append(tuple(found.image.shape[1:]))
    # four standard deviations of 80 draws around 40; a crop is seldom square
    assert 22 <= square <= 58
    assert len(set(shown)) > 20
    assert {min(sides) for sides in shown} <= set(SIDES) | {*range(400, 701)}


def drawn(loader: AugmentedLoader, epochs: Any = (0, 1)) -> list[DetectionSample]:
    """Every scene of some epochs."""
    return [scene for number in epochs for batch in loader.epoch(number) for scene in batch]


def equal(first: list[DetectionSample], second: list[DetectionSample]) -> bool:
    """In every pixel and number."""
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
    """For any number of processes, and from any place on; not of what was drawn before."""
    split = shapes.split(8)

    def loader(seed: int = 0, workers: int = 0) -> AugmentedLoader:
        return create_detection_loader(split, scaling(training), masks=True, batch_size=4, seed=seed, workers=workers)

    whole = drawn(loader())
    assert len(whole) == 16
    for workers in (1, 2):
        assert equal(whole, drawn(loader(workers=workers)))
    assert equal(whole[8:], drawn(loader(), (1,)))
    assert equal(whole[4:8], [scene for batch in loader().epoch(0, 1) for scene in batch])
    assert not equal(whole, drawn(loader(seed=1)))
    assert not equal(whole[:8], whole[8:])


def test_what_is_not_learned_from() -> None:
    """Crowds, what has no area, and what lies beyond the image; the rest keeps its own class and mask."""
    boxes = [(2, 3, 20, 18), (30, 4, 20, 20), (5, 40, 15, 15), (80, 10, 12, 12), (40, 40, 0, 9), (34, 38, 20, 22)]
    crowd = np.array([False, True, False, False, False, False])
    areas = np.array([360.0, 400, 0, 144, 0, 440])
    objects = shapes.objects(64, 70, boxes, [0, 0, 0, 0, 0, 1], crowd=crowd, areas=areas)
    split = shapes.split_of([objects], [shapes.draw_image(64, 70, boxes[:1], [0])])
    for seed in range(4):
        found = draw(split, scaling("as tests"), seed)
        assert found.labels.tolist() == [0, 1]
        assert found.masks is not None
        sums = found.masks.flatten(1).sum(dim=1).tolist()
        assert sums[0] == pytest.approx(360, rel=0.1)
        assert sums[1] == pytest.approx(np.pi * 110, rel=0.1)


def test_a_box_is_cut_to_its_image() -> None:
    """Annotations may reach beyond."""
    split = one(64, 70, (50, 40, 20, 24))
    objects = replace(split.objects[0], boxes=np.array([[50.0, 40, 40, 60]]))  # type: ignore[index]
    found = draw(replace(split, objects=(objects,)), Scaling(64, 70, "as tests"), 1)
    left = 50.0 if found.image[0, 50, 60] > 127 else 0.0
    assert found.boxes.tolist() == [[left, 40, left + 20, 64]]


def test_images_without_objects_are_left_out() -> None:
    """Of the stream, with their repeats; where all are, that is said."""
    split = shapes.split(8, empty=3)
    crowd = replace(split.objects[7], crowd=np.ones(len(split.objects[7]), bool))  # type: ignore[index]
    split = replace(split, objects=(*split.objects[:7], crowd))  # type: ignore[index]
    loader = create_detection_loader(split, shapes.SCALING, masks=True, batch_size=8, seed=0)
    assert (loader.size, loader.batch_size, len(loader)) == (4, 4, 1)
    originals = {(o.height, o.width) for o in split.objects[3:7]}  # type: ignore[index]
    found = drawn(loader)
    assert all(len(scene.boxes) for scene in found)
    assert {scene.original for scene in found} == originals
    repeats = np.array([9.0, 9, 9, 1, 2, 3, 1, 9])
    often = create_detection_loader(split, shapes.SCALING, masks=True, batch_size=1, seed=0, repeats=repeats)
    counts = [scene.original for scene in drawn(often, (0,))]
    assert [counts.count((o.height, o.width)) for o in split.objects[3:7]] == [1, 2, 3, 1]  # type: ignore[index]
    with pytest.raises(BobError, match="none of the 4 images of train has an object to learn from; check its boxes"):
        create_detection_loader(shapes.split(4, empty=4), shapes.SCALING, masks=True, batch_size=2, seed=0)


def test_masks_are_made_where_they_are_wanted() -> None:
    """A detector of boxes needs none, and a dataset of boxes has none."""
    split = shapes.split(4)
    bare = tuple(replace(objects, masks=()) for objects in split.objects or ())
    for scene in drawn(
        create_detection_loader(replace(split, objects=bare), shapes.SCALING, masks=False, batch_size=2, seed=0)
    ):
        assert scene.masks is None
        assert "masks" not in scene.to_mmdet(scene.padded, "cpu").gt_instances


def test_a_size_that_is_not_the_annotated_one() -> None:
    """An image that was scaled and whose boxes were not counts as unreadable, with both sizes: grey stands for it."""
    split = shapes.split(4)
    wrong = replace(split, image=lambda i: Image.new("RGB", (31, 32)))
    scene, broken = AugmentedSamples(wrong, shapes.SCALING, masks=True)(0)
    assert broken
    assert (scene.image == 128).all()
    reasons = [reason for _, _, found in load_test_batches(wrong, shapes.SCALING, 2, threads=1) for reason in found]
    assert len(reasons) == 4
    assert re.fullmatch(r"train-0 \(of 31 x 32 pixels, annotated as \d+ x \d+\)", sorted(reasons)[0])


def unreadable(count: int) -> Split:
    """The second image is broken."""
    split = shapes.split(count)

    def image(index: int) -> Image.Image:
        if index == 1:
            raise UnreadableImage("one.jpg (truncated)")
        return split.image(index)

    return replace(split, image=image)


def test_an_image_that_cannot_be_read_is_grey() -> None:
    """And counted: in training by the stream, in tests with the reason."""
    split = unreadable(101)
    scene, broken = AugmentedSamples(split, shapes.SCALING, masks=True)(1)
    assert broken
    assert set(scene.image.unique().tolist()) == {128}
    assert not AugmentedSamples(split, shapes.SCALING, masks=True)(0)[1]
    loader = create_detection_loader(split, shapes.SCALING, masks=True, batch_size=101, seed=0)
    drawn(loader, (0,))
    assert loader.unreadable == {1}
    found = list(load_test_batches(split, shapes.SCALING, 4, threads=2))
    assert [reason for _, _, reasons in found for reason in reasons] == ["one.jpg (truncated)"]
    [grey] = [batch[indices.index(1)] for indices, batch, _ in found if 1 in indices]
    assert set(grey.image.unique().tolist()) == {128}


@pytest.mark.parametrize("training", TRAININGS)
@pytest.mark.parametrize("threads", [1, 3])
def test_each_image_is_tested_once(training: ResizeMode, threads: int) -> None:
    """In batches that are padded to one size, and to the same however large they are; nothing is drawn."""
    split, how = shapes.split(13), scaling(training)
    padded: list[dict[int, tuple[int, int]]] = []
    for size in (1, 4, 50):
        seen: dict[int, tuple[int, int]] = {}
        for indices, batch, reasons in load_test_batches(split, how, size, threads=threads):
            assert len(indices) == len(batch) <= size
            assert reasons == []
            assert len({scene.padded for scene in batch}) == 1
            for index, scene in zip(indices, batch, strict=True):
                assert index not in seen
                seen[index] = scene.padded
                own = split.objects[index]  # type: ignore[index]
                assert scene.original == (own.height, own.width)
                assert tuple(scene.image.shape[1:]) == how.fitted(own.height, own.width)
                assert (len(scene.boxes), scene.masks) == (0, None)
        assert sorted(seen) == list(range(13))
        padded.append(seen)
    assert padded[0] == padded[1] == padded[2]


def test_an_image_of_its_own_size_is_shown_as_it_is() -> None:
    """To a detector in tests, and in training but for the flip."""
    split = one(64, 96, (10, 20, 30, 30))
    [(_, [tested], _)] = load_test_batches(split, Scaling(64, 96, "as tests"), 1, threads=1)
    pixels = torch.from_numpy(np.array(split.image(0))).permute(2, 0, 1)
    assert torch.equal(tested.image, pixels)
    trained = [draw(split, Scaling(64, 96, "as tests"), seed).image for seed in range(6)]
    assert all(torch.equal(each, pixels) or torch.equal(each, pixels.flip(2)) for each in trained)


def test_what_mmdet_is_told_of_a_scene() -> None:
    """Sizes as height and width, the scale as width and height, objects on the device, masks of the whole batch."""
    scene = replace(shapes.sample(40, 60), original=(20, 15))
    found = scene.to_mmdet((64, 96), "cpu")
    assert (found.img_shape, found.ori_shape) == ((40, 60), (20, 15))
    assert (found.pad_shape, found.batch_input_shape) == ((64, 96), (64, 96))
    assert found.scale_factor == (4.0, 2.0)
    assert torch.equal(found.gt_instances.bboxes, scene.boxes)
    assert found.gt_instances.masks.masks.shape == (1, 64, 96)
    assert scene.masks is not None
    assert np.array_equal(found.gt_instances.masks.masks[:, :40, :60], scene.masks.numpy())
    assert found.gt_instances.masks.masks.sum() == scene.masks.sum()


def test_masks_of_every_form() -> None:
    """Two polygons, runs as numbers and as compressed text: of some objects, in their order."""
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
    found = data_loading.decode_masks(objects, np.array([2, 0, 1, 3]))
    expected = np.zeros((4, 12, 10), np.uint8)
    expected[0] = expected[3] = shapes.disc(12, 10, (2, 3, 6, 8))
    expected[1, 1:4, 1:5] = expected[1, 2:9, 8:10] = 1
    expected[2, 3:8, 0] = 1
    assert found.dtype == np.uint8
    assert np.array_equal(found, expected)


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(1, 5), st.floats(0.01, 1), st.integers(0, 1000))
def test_repeat_factors_are_those_of_lvis(count: int, classes: int, threshold: float, seed: int) -> None:
    """Gupta et al., LVIS (CVPR 2019), 5: r_i = max over c in i of max(1, sqrt(t / f(c)))."""
    targets = (np.random.default_rng(seed).random((count, classes)) < 0.3).astype(np.uint8)
    split = replace(shapes.split(1), targets=targets)
    expected = []
    for row in targets:
        shares = [targets[:, c].sum() / count for c in range(classes) if row[c]]
        expected.append(max([1.0, *(max(1.0, (threshold / f) ** 0.5) for f in shares)]))
    assert repeat_factors(split, threshold) == pytest.approx(np.array(expected))


def test_an_epoch_has_an_image_as_often_as_it_is_told() -> None:
    """On average over 600 epochs; in one epoch the whole number below or above."""
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
