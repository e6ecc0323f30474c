"""Extraction: once, in order, whatever the batch size; and what cannot be features is refused."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from benchmarks.forwards import count_forwards
from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.backbones.loading import load
from bob_gauntlet.backbones.spec import BackboneSpec
from bob_gauntlet.datasets.images import read_image
from bob_gauntlet.engine.frozen.features import features, features_key
from bob_gauntlet.errors import BobError
from bob_gauntlet.runtime.context import RunContext
from bob_gauntlet.runtime.progress import Progress
from tests.helpers.contexts import context_in
from tests.helpers.synthetic_images import Colours, backbone, pictures, split


class Poisoned(Colours):
    """Colours, with one value put into the features of every image whose first pixel is white."""

    def __init__(self, poison: float) -> None:
        super().__init__()
        self.poison = poison

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """NaN or infinity in one feature of a marked image."""
        found = super().forward(images)
        found[images[:, :, 0, 0].amin(dim=1) >= 1, 3] = self.poison
        return found


class Collapsed(nn.Module):
    """What it sees does not matter: a bias goes through a wide linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(771, 100)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The same for every image, up to rounding."""
        return self.head(torch.ones(len(images), 771))


@pytest.fixture
def context(tmp_path: Path) -> RunContext:
    """Artefacts in a folder of this test's own."""
    return context_in(tmp_path, batch_size=4)


def extract(network: Backbone, images: list[Image.Image], context: RunContext) -> np.ndarray:
    """Features of these images at the backbone's own size."""
    return features(network, split(images, len(images)), network.identity.transform, context)


@pytest.fixture(scope="module")
def resnet() -> Backbone:
    """A small real network."""
    return load(BackboneSpec(name="r", text="r", scheme="random", target="test_resnet"))


def test_features_are_those_of_each_image_in_order(context: RunContext) -> None:
    """Row i is what the network gives of image i alone: here the mean colours of its centre's quarters."""
    images = pictures(11, size=(16, 16))
    found = extract(backbone(Colours()), images, context)
    # mean over each 8 x 8 quarter, scaled from 0..255 to -1..1
    pixels = np.stack([np.asarray(image, np.float64) for image in images])
    quarters = pixels.reshape(11, 2, 8, 2, 8, 3).mean(axis=(2, 4)).transpose(0, 3, 1, 2).reshape(11, 12)
    np.testing.assert_allclose(found, quarters / 127.5 - 1, atol=1e-5)
    assert found.dtype == np.float32


@pytest.mark.parametrize("size", [1, 3, 7, 32])
def test_the_batch_size_changes_nothing(resnet: Backbone, tmp_path: Path, size: int) -> None:
    """Up to the last digits of float32, on a real convolutional network."""
    images, small = pictures(10), resnet.identity.input_transform(32)
    found = features(resnet, split(images, 10), small, context_in(tmp_path / "a", batch_size=size))
    whole = features(resnet, split(images, 10), small, context_in(tmp_path / "b", batch_size=10))
    np.testing.assert_allclose(found, whole, atol=1e-4 * np.abs(whole).max())


def test_a_second_call_makes_no_forward_pass(context: RunContext) -> None:
    """Features are read back bit by bit, by another process's backbone too."""
    images = pictures(6)
    first = extract(backbone(Colours()), images, context)
    with count_forwards() as count:
        np.testing.assert_array_equal(extract(backbone(Colours()), images, context), first)
    assert count.images == 0


def test_every_image_is_forwarded_once(context: RunContext) -> None:
    """Six images in batches of four are six forwards, counted and reported as progress."""
    network = backbone(Colours())
    told: list[int] = []

    class Told(Progress):
        @contextmanager
        def step(self, what: str, total: int) -> Iterator[object]:
            assert total == 6
            yield told.append

    with count_forwards() as count:
        extract(network, pictures(6), replace(context, progress=Told()))
    assert (count.images, told) == (6, [4, 2])


def test_the_key_holds_what_features_depend_on() -> None:
    """Weights, transform with its size, images; and not the batch size, the limit's origin or the dataset's name."""
    network, images = backbone(Colours()), split([], 0)
    key = features_key(network, images, network.identity.transform)
    others = [
        features_key(backbone(Colours(), "other"), images, network.identity.transform),
        features_key(network, images, network.identity.input_transform(8)),
        features_key(network, replace(images, fingerprint="other"), network.identity.transform),
    ]
    assert all(key != other for other in others)
    assert key["numerics"] == "cpu float32"


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
def test_features_that_are_not_finite_are_counted(context: RunContext, poison: float) -> None:
    """Two of nine images; nothing is kept, so that mended weights are tried again."""
    images = pictures(9)
    images[2] = images[7] = Image.new("RGB", (16, 16), "white")
    network = backbone(Poisoned(poison))
    with count_forwards() as count:
        for _ in range(2):
            with pytest.raises(BobError, match="features of 2 of 9 images of test are NaN or infinite"):
                extract(network, images, context)
    assert count.images == 18


def test_features_that_are_all_the_same_are_refused(context: RunContext) -> None:
    """A network that sees nothing, in batches of 4 and of 1, which round differently."""
    torch.manual_seed(0)
    with pytest.raises(BobError, match="every image of test gets the same features"):
        extract(backbone(Collapsed()), pictures(9), context)


def test_one_image_alone_is_not_constant(context: RunContext) -> None:
    """There is nothing that it could differ from."""
    assert extract(backbone(Colours()), pictures(1), context).shape == (1, 12)


def test_images_that_differ_a_little_are_taken(context: RunContext) -> None:
    """One grey level of 255 in one quarter is a difference."""
    images = [Image.new("RGB", (16, 16), (100, 100, 100)) for _ in range(2)]
    images[1].paste((101, 100, 100), (0, 0, 8, 8))
    assert extract(backbone(Colours()), images, context).shape == (2, 12)


def test_unreadable_images_are_named_and_counted(context: RunContext, tmp_path: Path) -> None:
    """All of them, after one pass over the files, three by name."""
    paths = [tmp_path / f"{i}.png" for i in range(9)]
    for path, image in zip(paths, pictures(9), strict=True):
        image.save(path)
    for i in (1, 3, 5, 8):
        paths[i].write_bytes(paths[i].read_bytes()[:60])
    network = backbone(Colours())
    with pytest.raises(BobError) as caught:
        features(network, split(lambda i: read_image(paths[i]), 9), network.identity.transform, context)
    message = str(caught.value)
    assert message.startswith("4 of 9 images of test cannot be read, more than 1%: ")
    assert [str(paths[i]) in message for i in (1, 3, 5, 8)] == [True, True, True, False]
    assert "\n" not in message


def test_one_in_a_hundred_may_be_unreadable(context: RunContext, tmp_path: Path) -> None:
    """Grey stands for it, and the run is told, also where the features come from the artefacts."""
    images, network = pictures(100), backbone(Colours())
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    few = split(lambda i: read_image(bad) if i == 7 else images[i], 100)
    found = features(network, few, network.identity.transform, context)
    np.testing.assert_allclose(found[7], 128 / 127.5 - 1, rtol=1e-3)  # grey, at mean and standard deviation of .5
    assert not np.allclose(found[6], found[7])
    assert context.unreadable.by_role == {"test": 1}
    again = RunContext(context.artifacts)
    features(network, few, network.identity.transform, again)
    assert again.unreadable.by_role == {"test": 1}


def test_another_error_of_a_reader_is_not_swallowed(context: RunContext) -> None:
    """A bug in a dataset is a bug, not an unreadable image."""

    def broken(index: int) -> Image.Image:
        raise KeyError(index)

    network = backbone(Colours())
    with pytest.raises(KeyError):
        features(network, split(broken, 3), network.identity.transform, context)
