"""Extraction of features: once, in order, independent of the batch size; bad features are refused."""

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
from bob_gauntlet.errors import BobError, NotFiniteError
from bob_gauntlet.runtime.context import RunContext
from bob_gauntlet.runtime.progress import Progress
from tests.helpers.artefacts import overwrite
from tests.helpers.contexts import context_in
from tests.helpers.synthetic_images import Colours, backbone, pictures, split


class Poisoned(Colours):
    """Colours, with one value put into the features of every image whose first pixel is white."""

    def __init__(self, poison: float) -> None:
        super().__init__()
        self.poison = poison

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the mean colours, with NaN or infinity in one feature of a marked image."""
        colours = super().forward(images)
        colours[images[:, :, 0, 0].amin(dim=1) >= 1, 3] = self.poison
        return colours


class Collapsed(nn.Module):
    """A network whose features do not depend on the image: ones go through a wide linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(771, 100)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the same features for every image, up to rounding."""
        return self.head(torch.ones(len(images), 771))


@pytest.fixture
def context(tmp_path: Path) -> RunContext:
    """A context whose artefacts lie in the test's temporary folder."""
    return context_in(tmp_path, batch_size=4)


def extract(network: Backbone, images: list[Image.Image], context: RunContext) -> np.ndarray:
    """Return the features of these images at the backbone's own size."""
    return features(network, split(images, len(images)), network.identity.transform, context)


@pytest.fixture(scope="module")
def resnet() -> Backbone:
    """A small real network."""
    return load(BackboneSpec(name="r", text="r", scheme="random", target="test_resnet"))


def test_features_are_those_of_each_image_in_order(context: RunContext) -> None:
    """Row i has the features of image i alone: here the mean colours of the quarters of its centre."""
    images = pictures(11, size=(16, 16))
    extracted = extract(backbone(Colours()), images, context)
    # mean over each 8 x 8 quarter, scaled from 0..255 to -1..1
    pixels = np.stack([np.asarray(image, np.float64) for image in images])
    quarters = pixels.reshape(11, 2, 8, 2, 8, 3).mean(axis=(2, 4)).transpose(0, 3, 1, 2).reshape(11, 12)
    np.testing.assert_allclose(extracted, quarters / 127.5 - 1, atol=1e-5)
    assert extracted.dtype == np.float32


@pytest.mark.parametrize("size", [1, 3, 7, 32])
def test_the_batch_size_changes_nothing(resnet: Backbone, tmp_path: Path, size: int) -> None:
    """The features of a real convolutional network are equal up to the last digits of float32."""
    images, small = pictures(10), resnet.identity.input_transform(32)
    in_batches = features(resnet, split(images, 10), small, context_in(tmp_path / "a", batch_size=size))
    whole = features(resnet, split(images, 10), small, context_in(tmp_path / "b", batch_size=10))
    np.testing.assert_allclose(in_batches, whole, atol=1e-4 * np.abs(whole).max())


def test_a_second_call_makes_no_forward_pass(context: RunContext) -> None:
    """Another backbone with the same fingerprint reads the same bits from the artefact."""
    images = pictures(6)
    first = extract(backbone(Colours()), images, context)
    with count_forwards() as count:
        np.testing.assert_array_equal(extract(backbone(Colours()), images, context), first)
    assert count.images == 0


def test_every_image_is_forwarded_once(context: RunContext) -> None:
    """Six images in batches of four are six forward passes, which are counted and reported as progress."""
    network = backbone(Colours())
    reported: list[int] = []

    class RecordedProgress(Progress):
        @contextmanager
        def step(self, what: str, total: int) -> Iterator[object]:
            assert total == 6
            yield reported.append

    with count_forwards() as count:
        extract(network, pictures(6), replace(context, progress=RecordedProgress()))
    assert (count.images, reported) == (6, [4, 2])


def test_the_key_holds_what_features_depend_on() -> None:
    """The key has the weights, the transform with its size, and the images, but not the batch size."""
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
    """The message counts and names two of nine images; nothing is stored, so a repaired checkpoint is tried again."""
    images = pictures(9)
    images[2] = images[7] = Image.new("RGB", (16, 16), "white")
    network = backbone(Poisoned(poison))
    with count_forwards() as count:
        for _ in range(2):
            with pytest.raises(NotFiniteError) as caught:
                extract(network, images, context)
    assert count.images == 18
    assert str(caught.value) == (
        "synthetic: the features of 2 of 9 images of test are NaN or infinite: picture-2, picture-7; "
        "check the checkpoint and its input normalisation"
    )


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
def test_stored_features_that_are_not_finite_are_extracted_again(
    context: RunContext, poison: float, caplog: pytest.LogCaptureFixture
) -> None:
    """The file has a valid checksum: a warning counts and names the images, and the features are those of before."""
    images, network = pictures(9), backbone(Colours())
    expected = extract(network, images, context)
    spoilt = expected.copy()
    spoilt[[1, 4, 5, 8], 2] = poison
    overwrite(context.artifacts, "features", features=spoilt)
    for _ in range(2):  # the second time the mended file is read
        np.testing.assert_array_equal(extract(network, images, context), expected)
    [record] = caplog.records
    assert record.getMessage().endswith(
        " is damaged (the features of 4 of 9 images of test are NaN or infinite: picture-1, picture-4, picture-5 and "
        "1 more) and is computed again"
    )
    overwrite(context.artifacts, "features", features=spoilt)
    network = backbone(Poisoned(poison))
    images[3] = Image.new("RGB", (16, 16), "white")
    with pytest.raises(NotFiniteError, match="features of 1 of 9 images of test are NaN or infinite: picture-3; check"):
        extract(network, images, context)


def test_features_that_are_all_the_same_are_refused(context: RunContext) -> None:
    """Equal features are recognised although batches of 4 and of 1 round differently."""
    torch.manual_seed(0)
    with pytest.raises(BobError, match="every image of test gets the same features"):
        extract(backbone(Collapsed()), pictures(9), context)


def test_one_image_alone_is_not_constant(context: RunContext) -> None:
    """The features of a single image are accepted, since there is no other image to differ from."""
    assert extract(backbone(Colours()), pictures(1), context).shape == (1, 12)


def test_images_that_differ_a_little_are_taken(context: RunContext) -> None:
    """A difference of one grey level in one quarter is enough."""
    images = [Image.new("RGB", (16, 16), (100, 100, 100)) for _ in range(2)]
    images[1].paste((101, 100, 100), (0, 0, 8, 8))
    assert extract(backbone(Colours()), images, context).shape == (2, 12)


def test_unreadable_images_are_named_and_counted(context: RunContext, tmp_path: Path) -> None:
    """All unreadable images are counted in one pass over the files, and three are named."""
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
    """A grey image replaces it, and the context records it, also where the features come from the artefacts."""
    images, network = pictures(100), backbone(Colours())
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    few = split(lambda i: read_image(bad) if i == 7 else images[i], 100)
    extracted = features(network, few, network.identity.transform, context)
    np.testing.assert_allclose(extracted[7], 128 / 127.5 - 1, rtol=1e-3)  # grey, at mean and standard deviation of .5
    assert not np.allclose(extracted[6], extracted[7])
    assert context.unreadable.by_role == {"test": 1}
    again = RunContext(context.artifacts)
    features(network, few, network.identity.transform, again)
    assert again.unreadable.by_role == {"test": 1}


def test_another_error_of_a_reader_is_not_swallowed(context: RunContext) -> None:
    """An error that is no UnreadableImage is raised, since it is a bug in the dataset."""

    def broken(index: int) -> Image.Image:
        raise KeyError(index)

    network = backbone(Colours())
    with pytest.raises(KeyError):
        features(network, split(broken, 3), network.identity.transform, context)
