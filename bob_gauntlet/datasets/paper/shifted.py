"""`imagenet-a`, `-r`, `-v2` and `-sketch`: ImageNet-1k's training data, and test images of another kind.

Train and source are the very splits of `imagenet-1k`, so that a head trained there is found again; targets of test
are indices into its classes.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bob_gauntlet.datasets.dataset import Dataset
from bob_gauntlet.datasets.image_folders import ImageFiles, images_in_class_folders, labelled_split
from bob_gauntlet.datasets.locations import DataLocations
from bob_gauntlet.datasets.paper.imagenet import load_imagenet_1k
from bob_gauntlet.datasets.paper.layout import present, renamed, unpacked
from bob_gauntlet.errors import BobError, MissingError

CLASSES = {"imagenet-a": 200, "imagenet-r": 200, "imagenet-v2": 1000, "imagenet-sketch": 1000}
"""Classes that each has."""


def load_imagenet_a(locations: DataLocations) -> Dataset:
    """ImageNet-A: natural images that fooled a ResNet-50; logits are restricted to its 200 classes."""
    return _shifted("imagenet-a", locations, restricted=True)


def load_imagenet_r(locations: DataLocations) -> Dataset:
    """ImageNet-R: art, cartoons, toys; logits are restricted to its 200 classes."""
    return _shifted("imagenet-r", locations, restricted=True)


def load_imagenet_v2(locations: DataLocations) -> Dataset:
    """ImageNetV2: folders are WordNet ids, or numbers of which the k-th is the k-th class of ImageNet-1k, from 0."""
    return _shifted("imagenet-v2", locations, "imagenetv2-matched-frequency-format-val", "imagenetv2-matched-frequency")


def load_imagenet_sketch(locations: DataLocations) -> Dataset:
    """ImageNet-Sketch: black and white sketches of all classes."""
    return _shifted("imagenet-sketch", locations, "sketch")


def _shifted(name: str, locations: DataLocations, *inner: str, restricted: bool = False) -> Dataset:
    """ImageNet-1k with another test split; its own becomes `source`."""
    root = unpacked(present(name, locations), name, *inner)
    try:
        imagenet = load_imagenet_1k(locations)
    except MissingError as error:
        raise MissingError(f"{name} needs ImageNet-1k too: {error}") from error
    files = _test(images_in_class_folders(root, name), name, imagenet.classes)
    own = tuple(np.unique(files.labels).tolist())
    if len(imagenet.classes) == 1000 and len(own) != CLASSES[name]:
        raise BobError(f"{name}: {len(own)} class folders in {root}, it has {CLASSES[name]}; get it anew")
    source = replace(imagenet["test"], role="source")
    splits = {"train": imagenet["train"], "source": source, "test": labelled_split("test", files)}
    return Dataset(name, splits, classes=imagenet.classes, restricted_classes=own if restricted else None)


def _test(files: ImageFiles, name: str, classes: Sequence[str]) -> ImageFiles:
    """The test images under the WordNet ids of their classes, which ImageNet-1k has to have."""
    numbered = all(folder.isdecimal() for folder in files.classes)
    wnids = [_wnid(folder, classes) if numbered else folder for folder in files.classes]
    index = {wnid: number for number, wnid in enumerate(classes)}
    for wnid, folder in zip(wnids, files.classes, strict=True):
        if wnid not in index:
            raise BobError(f"{name}: folder {folder} is none of the {len(classes)} classes of imagenet-1k; remove it")
        if wnids.count(wnid) > 1:
            raise BobError(f"{name}: folder {folder} is a class that another folder is, too; remove one of them")
    paths = [f"{wnids[label]}/{path.partition('/')[2]}" for label, path in zip(files.labels, files.paths, strict=True)]
    return renamed(files, paths, np.array([index[wnids[label]] for label in files.labels]), classes)


def _wnid(folder: str, classes: Sequence[str]) -> str:
    """The class of a folder's number; the name itself where there is no such class."""
    return classes[int(folder)] if int(folder) < len(classes) else folder
