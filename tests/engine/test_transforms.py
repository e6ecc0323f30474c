"""The input transform against timm's evaluation transform."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform

from bob_gauntlet.backbones.spec import InputTransform
from bob_gauntlet.engine.transforms import normalise, preprocess
from tests.helpers.synthetic_images import pictures

SIZES = [(96, 96), (128, 97), (97, 128), (640, 31), (31, 640), (50, 40), (333, 500), (224, 224)]


def ours(image: Image.Image, transform: InputTransform) -> np.ndarray:
    """Return the (3, size, size) float32 input of a network from our transform."""
    return normalise(preprocess(image, transform)[None], transform)[0].numpy()


def timms(image: Image.Image, transform: InputTransform) -> np.ndarray:
    """Return the same from timm.data.create_transform."""
    evaluation_transform: Any = create_transform(
        input_size=(3, transform.size, transform.size),
        interpolation=transform.interpolation,
        mean=transform.mean,
        std=transform.std,
        crop_pct=transform.crop_pct,
        is_training=False,
    )
    tensor: torch.Tensor = evaluation_transform(image)
    return tensor.numpy()


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos", "nearest"])
def test_it_is_timms_evaluation_transform(size: tuple[int, int], interpolation: str) -> None:
    """Wide, tall, small and large images equal timm's in every pixel up to float32 rounding."""
    [image] = pictures(1, seed=1, size=size)
    transform = InputTransform(size=96, interpolation=interpolation)
    np.testing.assert_allclose(ours(image, transform), timms(image, transform), atol=1e-5)


@pytest.mark.parametrize("crop_pct", [1.0, 0.95, 0.9, 0.875, 0.7])
@pytest.mark.parametrize("side", [15, 64, 97])
def test_every_crop_and_side_is_timms(crop_pct: float, side: int) -> None:
    """Odd sides and margins are rounded as in timm."""
    [image] = pictures(1, seed=2, size=(120, 151))
    transform = InputTransform(size=side, crop_pct=crop_pct, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    np.testing.assert_allclose(ours(image, transform), timms(image, transform), atol=1e-5)


def test_an_image_of_the_right_size_does_not_change() -> None:
    """An image that has the input's size already is not resampled."""
    [image] = pictures(1, size=(32, 32))
    pixels = preprocess(image, InputTransform(size=32, crop_pct=1.0))
    np.testing.assert_array_equal(pixels.numpy(), np.asarray(image).transpose(2, 0, 1))
    assert pixels.dtype == torch.uint8


def test_a_batch_is_normalised_by_channel() -> None:
    """White is (255 / 255 - mean) / std: with mean .5 .4 .3 and std .5 .3 .1 that is 1, 2, 7."""
    transform = InputTransform(size=1, mean=(0.5, 0.4, 0.3), std=(0.5, 0.3, 0.1))
    white = torch.full((2, 3, 1, 1), 255, dtype=torch.uint8)
    torch.testing.assert_close(normalise(white, transform).flatten(1), torch.tensor([[1.0, 2.0, 7.0]] * 2))
    assert white.unique().tolist() == [255]
