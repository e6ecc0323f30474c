"""`sim10k`, cars on rendered streets; and `sim10k-cityscapes`, which trains on them and tests on photos of streets."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from bob_gauntlet.datasets.annotated_images import AnnotatedImages, annotated_split, image_size
from bob_gauntlet.datasets.dataset import Dataset
from bob_gauntlet.datasets.locations import DataLocations
from bob_gauntlet.datasets.objects import ImageObjects
from bob_gauntlet.datasets.paper.cityscapes import load_cityscapes
from bob_gauntlet.datasets.paper.layout import present, unpacked
from bob_gauntlet.errors import BobError, MissingError

NAME = "sim10k"
BOTH = "sim10k-cityscapes"

CLASSES = ("car",)
"""What is kept of car, motorbike and person; the paper's code took all three for cars."""


def load_sim10k_cityscapes(locations: DataLocations) -> Dataset:
    """`train` is Sim10k, `test` the validation images of Cityscapes; the one class is car."""
    try:
        splits = {**load_sim10k(locations).splits, **load_cityscapes(locations).splits}
    except MissingError as error:
        raise MissingError(f"{BOTH} is made of both: {error}") from error
    return Dataset(BOTH, splits, CLASSES, multi_label=True)


def load_sim10k(locations: DataLocations) -> Dataset:
    """Sim10k, `train` alone: an image for each file of Annotations, boxes of cars without masks.

    A box reaches from xmin to xmax, so that its width is their difference, as in the paper's code; PASCAL VOC's own
    convention would make it one pixel wider and start it one pixel before.
    """
    root = unpacked(present(NAME, locations), "VOC2012")
    files = sorted(path for path in (root / "Annotations").glob("*.xml") if not path.name.startswith("."))
    if not files:
        raise BobError(f"{NAME}: no *.xml in {root / 'Annotations'}; `bob data {NAME}` shows the layout")
    paths = tuple(f"JPEGImages/{path.stem}.jpg" for path in files)
    objects = tuple(_objects(path, root / image) for path, image in zip(files, paths, strict=True))
    split = annotated_split("train", f"{NAME} train", AnnotatedImages(root, paths, objects), CLASSES)
    return Dataset(NAME, {"train": split}, CLASSES, multi_label=True)


def _objects(path: Path, image: Path) -> ImageObjects:
    """The cars of one file."""
    try:
        page = ElementTree.parse(path).getroot()
        boxes = np.array([_box(one) for one in page.iter("object") if one.findtext("name") in CLASSES])
        size = page.find("size")
        sides = () if size is None else (int(size.findtext("width", "")), int(size.findtext("height", "")))
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise BobError(f"{path} is no annotation in PASCAL VOC's format ({error}); get the file anew") from error
    width, height = sides or image_size(image)
    boxes = boxes.reshape(-1, 4)
    none = np.zeros(len(boxes))
    return ImageObjects(width, height, boxes, none.astype(np.int64), boxes[:, 2] * boxes[:, 3], crowd=none.astype(bool))


def _box(element: ElementTree.Element) -> list[float]:
    """Left, top, width and height of an object."""
    left, top, right, bottom = (float(element.findtext(f"bndbox/{edge}", "")) for edge in _EDGES)
    if not np.isfinite([left, top, right, bottom]).all():
        raise ValueError(f"a box of {left}, {top}, {right}, {bottom}")
    return [left, top, right - left, bottom - top]


_EDGES = ("xmin", "ymin", "xmax", "ymax")
