"""The sizes of a detector's images: in tests, and after the random transforms of training."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bob_gauntlet.engine.detection import data_loading
from bob_gauntlet.engine.detection.data_loading import AugmentedSamples
from bob_gauntlet.engine.detection.resizing import ResizeMode, Scaling
from bob_gauntlet.engine.seeding import seeded
from tests.helpers import shapes

TRAININGS = get_args(ResizeMode)
SIDES = list(range(480, 801, 32))
"""The short sides of DETR's multi-scale images."""


@pytest.mark.parametrize("training", TRAININGS)
@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(20, 300), width=st.integers(20, 300), divisor=st.sampled_from([32, 42]),
    seed=st.integers(0, 10**6),
)  # fmt: skip
def test_sizes_are_within_their_bounds(training: ResizeMode, height: int, width: int, divisor: int, seed: int) -> None:
    """The sides of every mode are within its bounds, and padded sides are multiples of the divisor."""
    scaling = shapes.small_scaling(training, divisor=divisor)
    sample = shapes.augment(shapes.single_image(height, width, (0, 0, width, height)), scaling, seed)
    sides = tuple(sample.image.shape[1:])
    if training == "as tests":
        assert sides == scaling.fitted(height, width)
    elif training == "multi-scale":
        # rounded down
        assert {min(sides), min(sides) + 1} & set(SIDES) or max(sides) in (scaling.long, scaling.long - 1)
        assert max(sides) <= scaling.long
    else:
        assert max(sides) <= scaling.long
        whole = scaling.long / max(height, width)
        assert int(0.1 * whole * height) <= sides[0] <= 2 * whole * height + 1
    assert sample.padded == scaling.padded(*sides)
    assert all(side % divisor == 0 for side in sample.padded)
    if training == "jitter":
        assert set(sample.padded) == {96 if divisor == 32 else 126}
    else:
        assert all(0 <= more - side < divisor for more, side in zip(sample.padded, sides, strict=True))


@settings(deadline=None)
@given(st.integers(1, 3000), st.integers(1, 3000))
def test_the_size_in_tests(height: int, width: int) -> None:
    """An image is as large as fits into 1333 x 800 in either orientation, with its aspect ratio."""
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
    """An image of 400 x 2 pixels still has at least one pixel each way."""
    for seed in range(12):
        sample = shapes.augment(shapes.single_image(400, 2, (0, 0, 2, 400)), shapes.small_scaling(training), seed)
        assert min(sample.image.shape[1:]) >= 1


def test_jitter_is_a_tenth_to_twice() -> None:
    """Scales are uniform: of 150 draws a tenth is below 0.29 and a tenth above 1.81; crops lie anywhere."""
    split = shapes.single_image(50, 50, (0, 0, 50, 50))
    scales, full = [], shapes.small_scaling("jitter", long=100)
    samples = AugmentedSamples(split, full, masks=False)
    for seed in range(150):
        with seeded(seed):
            resized = samples.augment.transforms[1](
                data_loading._to_torchvision(*data_loading.read_annotated_image(split, 0)[:2], masks=False)
            )
        scales.append(resized["image"].shape[1] / 100)
    assert 0.1 <= min(scales) < 0.29
    assert 1.81 < max(scales) <= 2
    assert np.mean(scales) == pytest.approx(1.05, abs=0.2)
    corner = shapes.single_image(50, 50, (0, 0, 4, 4))
    kept = [len(shapes.augment(corner, full, seed).boxes) for seed in range(100)]
    # in the half of the draws that are larger than the crop a corner is mostly outside
    assert 30 <= sum(kept) <= 75


def test_half_of_the_multi_scale_images_are_crops() -> None:
    """As in DETR half of the images are crops, and the others whole images at one of eleven sizes."""
    split = shapes.single_image(60, 60, (0, 0, 60, 60))
    shown, square = [], 0
    for seed in range(80):
        sample = shapes.augment(split, shapes.small_scaling("multi-scale"), seed)
        square += sample.image.shape[1] == sample.image.shape[2]
        shown.append(tuple(sample.image.shape[1:]))
    # four standard deviations of 80 draws around 40; a crop is seldom square
    assert 22 <= square <= 58
    assert len(set(shown)) > 20
    assert {min(sides) for sides in shown} <= set(SIDES) | {*range(400, 701)}
