"""`visda-2017`: rendered objects to train, photos to test."""

from pathlib import Path

from bob_gauntlet.datasets.dataset import Dataset
from bob_gauntlet.datasets.image_folders import ImageFiles, images_in_class_folders, labelled_split
from bob_gauntlet.datasets.locations import DataLocations
from bob_gauntlet.datasets.paper.layout import lines_of, present, shuffled, taken, unpacked
from bob_gauntlet.errors import BobError

NAME = "visda-2017"

SOURCE = 0.02
"""Share of the rendered images of each class that is kept from training, to test on what it trains on."""


def load_visda_2017(locations: DataLocations) -> Dataset:
    """VisDA-2017, syn to real: `train` is rendered, `test` is the validation photos, as in the paper.

    The publisher has no split of rendered images to test on: `source` is 2% of them, one a class or more, drawn by
    `random.Random(0)` and left out of train. An image_list.txt that is there has to agree with the folders.
    """
    root = unpacked(present(NAME, locations), "visda-2017", "visda2017", "visda")
    rendered = images_in_class_folders(root / "train", f"{NAME} train")
    photos = images_in_class_folders(root / "validation", f"{NAME} validation", rendered.classes)
    for files in (rendered, photos):
        _check_list(files)
    parts = _divided(rendered)
    splits = {role: labelled_split(role, files) for role, files in {**parts, "test": photos}.items()}
    return Dataset(NAME, splits, classes=rendered.classes)


def _divided(files: ImageFiles) -> dict[str, ImageFiles]:
    """`train` and `source` of the rendered images."""
    train, source = [], []
    for indices in shuffled(files.labels):
        count = max(1, round(len(indices) * SOURCE))
        if count == len(indices):
            raise BobError(f"{NAME} train: {files.paths[indices[0]]} is alone in its class; get the dataset anew")
        source += indices[:count]
        train += indices[count:]
    return {"train": taken(files, train), "source": taken(files, source)}


def _check_list(files: ImageFiles) -> None:
    """BobError where image_list.txt and the folders disagree, with the first image."""
    path = files.root / "image_list.txt"
    if not path.is_file():
        return
    found = dict(zip(files.paths, files.labels.tolist(), strict=True))
    seen = _listed(path)
    for image in sorted(found.keys() | seen.keys()):
        if found.get(image) != seen.get(image):
            raise BobError(f"{path} and the folders beside it disagree on {image}; get both from one source")


def _listed(path: Path) -> dict[str, int]:
    """Image -> class number, of lines such as `bus/real.jpg 2`."""
    labels = {}
    for number, line in enumerate(lines_of(path), 1):
        image, _, label = line.rpartition(" ")
        if not label.isdecimal():
            raise BobError(f"{path}, line {number}: not a path and a class number: {line!r}; get the file anew")
        labels[image] = int(label)
    return labels
