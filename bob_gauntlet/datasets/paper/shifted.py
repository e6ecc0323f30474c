"""The shifted datasets `imagenet-a`, `imagenet-r`, `imagenet-v2` and `imagenet-sketch`.

Their `train` and `source` are the train and test splits of `imagenet-1k`, so that a stored head is reused. The targets
of `test` are indices into the classes of `imagenet-1k`.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bob_gauntlet.datasets.dataset import Dataset
from bob_gauntlet.datasets.image_folders import ImageFiles, images_in_class_folders, labelled_split
from bob_gauntlet.datasets.locations import DataLocations
from bob_gauntlet.datasets.paper.imagenet import load_imagenet_1k
from bob_gauntlet.datasets.paper.layout import inner_folder, relabel_files, require_folder
from bob_gauntlet.errors import BobError, MissingError

CLASS_COUNTS = {"imagenet-a": 200, "imagenet-r": 200, "imagenet-v2": 1000, "imagenet-sketch": 1000}
"""Dataset -> number of its classes."""


def load_imagenet_a(locations: DataLocations) -> Dataset:
    """Load ImageNet-A: natural images that a ResNet-50 got wrong; logits are restricted to its 200 classes."""
    return _load_shifted("imagenet-a", locations, restricted=True)


def load_imagenet_r(locations: DataLocations) -> Dataset:
    """Load ImageNet-R: art, cartoons and toys; logits are restricted to its 200 classes."""
    return _load_shifted("imagenet-r", locations, restricted=True)


def load_imagenet_v2(locations: DataLocations) -> Dataset:
    """Load ImageNetV2: its folders are WordNet ids, or numbers k from 0, which mean the k-th class of ImageNet-1k."""
    inner = ("imagenetv2-matched-frequency-format-val", "imagenetv2-matched-frequency")
    return _load_shifted("imagenet-v2", locations, *inner)


def load_imagenet_sketch(locations: DataLocations) -> Dataset:
    """Load ImageNet-Sketch: black and white sketches of all classes."""
    return _load_shifted("imagenet-sketch", locations, "sketch")


def _load_shifted(name: str, locations: DataLocations, *inner: str, restricted: bool = False) -> Dataset:
    """Return ImageNet-1k with another test split; the test split of ImageNet-1k becomes `source`."""
    root = inner_folder(require_folder(name, locations), name, *inner)
    try:
        imagenet = load_imagenet_1k(locations)
    except MissingError as error:
        raise MissingError(f"{name} needs ImageNet-1k too: {error}") from error
    files = _test_files(images_in_class_folders(root, name), name, imagenet.classes)
    test_classes = tuple(np.unique(files.labels).tolist())
    count, expected = len(test_classes), CLASS_COUNTS[name]
    if len(imagenet.classes) == 1000 and count != expected:
        raise BobError(f"{name}: {count} class folders in {root} instead of {expected}; get it again")
    source = replace(imagenet["test"], role="source")
    splits = {
        "train": imagenet["train"],
        "source": source,
        "test": labelled_split("test", files, hashes=locations.hashes),
    }
    return Dataset(name, splits, classes=imagenet.classes, restricted_classes=test_classes if restricted else None)


def _test_files(files: ImageFiles, name: str, classes: Sequence[str]) -> ImageFiles:
    """Return the test images in folders named by WordNet ids; BobError where a folder is no class of ImageNet-1k."""
    numbered = all(folder.isdecimal() for folder in files.classes)
    wnids = [_wnid(folder, classes) if numbered else folder for folder in files.classes]
    index = {wnid: number for number, wnid in enumerate(classes)}
    for wnid, folder in zip(wnids, files.classes, strict=True):
        if wnid not in index:
            raise BobError(f"{name}: folder {folder} is not a class of imagenet-1k ({len(classes)} classes); remove it")
        if wnids.count(wnid) > 1:
            raise BobError(f"{name}: folder {folder} is the same class as another folder; remove one of them")
    paths = [f"{wnids[label]}/{path.partition('/')[2]}" for label, path in zip(files.labels, files.paths, strict=True)]
    return relabel_files(files, paths, np.array([index[wnids[label]] for label in files.labels]), classes)


def _wnid(folder: str, classes: Sequence[str]) -> str:
    """Return the class with the number of a folder; the name of the folder where there is no such class."""
    return classes[int(folder)] if int(folder) < len(classes) else folder
