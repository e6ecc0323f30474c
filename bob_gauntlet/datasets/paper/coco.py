"""`coco-2017` and `lvis-v1`: objects with boxes and masks, on the same photos."""

from functools import partial
from pathlib import Path

from bob_gauntlet.datasets.annotated_images import annotated_split
from bob_gauntlet.datasets.coco_format import CocoFile, Record, file_name, read_coco
from bob_gauntlet.datasets.dataset import Dataset
from bob_gauntlet.datasets.locations import DataLocations
from bob_gauntlet.datasets.paper.layout import first_file, present
from bob_gauntlet.errors import BobError, MissingError

COCO = "coco-2017"
LVIS = "lvis-v1"

FOLDERS = {"train": "train2017", "test": "val2017"}
"""Role -> COCO's folder of images."""


def load_coco_2017(locations: DataLocations) -> Dataset:
    """COCO 2017: `train` is train2017, `test` is val2017, as in the paper; class k is the k-th category by id."""
    root = present(COCO, locations)
    found = {
        role: read_coco(
            _annotations(COCO, root, f"instances_{folder}.json"),
            root,
            image_path=partial(_in_folder, folder),
        )
        for role, folder in FOLDERS.items()
    }
    return _dataset(COCO, found)


def load_lvis_v1(locations: DataLocations) -> Dataset:
    """LVIS v1: `train` and `test` are its train and val, on images in the place of `coco-2017`.

    An image lies where its coco_url says, val's too: many of those are of train2017. An image is annotated for some
    classes alone; `ImageObjects.negative` and `incomplete` say which, and `frequencies` of each class how common it is.
    """
    root = present(LVIS, locations)
    files = {role: _annotations(LVIS, root, f"lvis_v1_{name}.json") for role, name in _LVIS_FILES.items()}
    try:
        images = present(COCO, locations)
    except MissingError as error:
        raise MissingError(f"{LVIS} needs COCO's images too: {error}") from error
    return _dataset(LVIS, {role: read_coco(file, images, partial(_lvis_path, images)) for role, file in files.items()})


_LVIS_FILES = {"train": "train", "test": "val"}


def _dataset(name: str, found: dict[str, CocoFile]) -> Dataset:
    """The files of all roles, which have to be of the same categories."""
    train = found["train"]
    for role, other in found.items():
        if other.categories != train.categories:
            raise BobError(f"{name} {role}: its categories are not those of train; get both files from one source")
    splits = {role: annotated_split(role, f"{name} {role}", one.images, one.classes) for role, one in found.items()}
    return Dataset(name, splits, train.classes, multi_label=True, frequencies=train.frequencies)


def _annotations(name: str, root: Path, file: str) -> Path:
    """A file of annotations, in `annotations` or beside it."""
    path = first_file([root / "annotations", root], file)
    if path is None:
        raise BobError(f"{name}: no {file} in {root / 'annotations'}; `bob data {name}` shows the layout")
    return path


def _in_folder(folder: str, record: Record) -> str:
    """COCO's files name an image without its folder."""
    name = file_name(record)
    return name and f"{folder}/{name}"


def _lvis_path(root: Path, record: Record) -> str:
    """The end of an image's coco_url, such as train2017/000000391895.jpg; else its file_name in either folder."""
    if isinstance(record.get("coco_url"), str):
        return "/".join(record["coco_url"].split("/")[-2:])
    name = Path(file_name(record)).name
    folder = next((one for one in FOLDERS.values() if (root / one / name).is_file()), FOLDERS["train"])
    return name and f"{folder}/{name}"
