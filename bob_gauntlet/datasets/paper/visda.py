"""The dataset `visda-2017`: rendered objects to train on, and photos to test on."""

from pathlib import Path

from bob_gauntlet.datasets.dataset import Dataset
from bob_gauntlet.datasets.image_folders import ImageFiles, images_in_class_folders, labelled_split
from bob_gauntlet.datasets.locations import DataLocations
from bob_gauntlet.datasets.paper.layout import inner_folder, read_lines, require_folder, select_files, shuffle_by_class
from bob_gauntlet.errors import BobError

NAME = "visda-2017"

SOURCE_SHARE = 0.02
"""Share of the rendered images of each class that is held out from training, to test on images of the same kind."""


def load_visda_2017(locations: DataLocations) -> Dataset:
    """Load VisDA-2017, synthetic to real: `train` are rendered images, `test` the validation photos, as in the paper.

    The publisher has no split of rendered images to test on. `source` is therefore 2% of them, at least one per class,
    drawn with `random.Random(0)` and left out of `train`. Raises BobError where an image_list.txt, which is optional,
    disagrees with the folders.
    """
    root = inner_folder(require_folder(NAME, locations), "visda-2017", "visda2017", "visda")
    rendered = images_in_class_folders(root / "train", f"{NAME} train")
    photos = images_in_class_folders(root / "validation", f"{NAME} validation", rendered.classes)
    for files in (rendered, photos):
        _check_list(files)
    parts = _divide(rendered)
    splits = {
        role: labelled_split(role, files, hashes=locations.hashes) for role, files in {**parts, "test": photos}.items()
    }
    return Dataset(NAME, splits, classes=rendered.classes)


def _divide(files: ImageFiles) -> dict[str, ImageFiles]:
    """Divide the rendered images into `train` and `source`; BobError where a class has one image only."""
    train, source = [], []
    for indices in shuffle_by_class(files.labels):
        count = max(1, round(len(indices) * SOURCE_SHARE))
        if count == len(indices):
            only = files.paths[indices[0]]
            raise BobError(f"{NAME} train: {only} is the only image of its class; get the dataset again")
        source += indices[:count]
        train += indices[count:]
    return {"train": select_files(files, train), "source": select_files(files, source)}


def _check_list(files: ImageFiles) -> None:
    """Raise BobError that names the first image on which image_list.txt and the folders disagree."""
    path = files.root / "image_list.txt"
    if not path.is_file():
        return
    folder_labels = dict(zip(files.paths, files.labels.tolist(), strict=True))
    list_labels = _read_list(path)
    for image in sorted(folder_labels.keys() | list_labels.keys()):
        if folder_labels.get(image) != list_labels.get(image):
            raise BobError(f"{path} and the folders beside it disagree on {image}; get both from one source")


def _read_list(path: Path) -> dict[str, int]:
    """Return the class number of each image, from lines such as `bus/real.jpg 2`."""
    labels = {}
    for number, line in enumerate(read_lines(path), 1):
        image, _, label = line.rpartition(" ")
        if not label.isdecimal():
            raise BobError(f"{path}, line {number}: not a path and a class number: {line!r}; get the file again")
        labels[image] = int(label)
    return labels
