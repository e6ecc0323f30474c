"""The datasets `sim10k`, cars on rendered streets, and `sim10k-cityscapes`, which tests on photos of streets."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from bob_gauntlet.datasets.annotated_images import AnnotatedImages, annotated_split, image_size
from bob_gauntlet.datasets.dataset import Dataset
from bob_gauntlet.datasets.locations import DataLocations
from bob_gauntlet.datasets.objects import ImageObjects
from bob_gauntlet.datasets.paper.cityscapes import load_cityscapes
from bob_gauntlet.datasets.paper.layout import inner_folder, require_folder
from bob_gauntlet.errors import BobError, MissingError

NAME = "sim10k"
BOTH = "sim10k-cityscapes"

CLASSES = ("car",)
"""Only cars are kept, of car, motorbike and person; the paper's code took all three for cars."""

_EDGES = ("xmin", "ymin", "xmax", "ymax")


def load_sim10k_cityscapes(locations: DataLocations) -> Dataset:
    """Load `sim10k-cityscapes`: `train` is Sim10k, `test` are the validation images of Cityscapes, the class is car."""
    try:
        splits = {**load_sim10k(locations).splits, **load_cityscapes(locations).splits}
    except MissingError as error:
        raise MissingError(f"{BOTH} is made of sim10k and cityscapes: {error}") from error
    return Dataset(BOTH, splits, CLASSES, multi_label=True)


def load_sim10k(locations: DataLocations) -> Dataset:
    """Load Sim10k, `train` only: an image for each file in Annotations, with boxes of cars and without masks.

    A box reaches from xmin to xmax, so that its width is their difference, as in the paper's code. In the convention of
    PASCAL VOC it would start one pixel earlier and be one pixel wider.
    """
    root = inner_folder(require_folder(NAME, locations), "VOC2012")
    files = sorted(path for path in (root / "Annotations").glob("*.xml") if not path.name.startswith("."))
    if not files:
        raise BobError(f"{NAME}: no *.xml in {root / 'Annotations'}; `bob data {NAME}` shows the layout")
    paths = tuple(f"JPEGImages/{path.stem}.jpg" for path in files)
    objects = tuple(_read_cars(path, root / image) for path, image in zip(files, paths, strict=True))
    split = annotated_split("train", f"{NAME} train", AnnotatedImages(root, paths, objects), CLASSES, locations.hashes)
    return Dataset(NAME, {"train": split}, CLASSES, multi_label=True)


def _read_cars(path: Path, image: Path) -> ImageObjects:
    """Return the cars of one annotation file; the size comes from `image` where the file does not state it."""
    try:
        root = ElementTree.parse(path).getroot()
        boxes = np.array([_parse_box(entry) for entry in root.iter("object") if entry.findtext("name") in CLASSES])
        size = root.find("size")
        sides = () if size is None else (int(size.findtext("width", "")), int(size.findtext("height", "")))
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise BobError(f"{path} is not an annotation in PASCAL VOC's format ({error}); get the file again") from error
    width, height = sides or image_size(image)
    boxes = boxes.reshape(-1, 4)
    zeros = np.zeros(len(boxes))
    labels, areas = zeros.astype(np.int64), boxes[:, 2] * boxes[:, 3]
    return ImageObjects(width, height, boxes, labels, areas, crowd=zeros.astype(bool))


def _parse_box(element: ElementTree.Element) -> list[float]:
    """Return left, top, width and height of an object; ValueError where one of them is not a finite number."""
    left, top, right, bottom = (float(element.findtext(f"bndbox/{edge}", "")) for edge in _EDGES)
    if not np.isfinite([left, top, right, bottom]).all():
        raise ValueError(f"a box of {left}, {top}, {right}, {bottom}")
    return [left, top, right - left, bottom - top]
