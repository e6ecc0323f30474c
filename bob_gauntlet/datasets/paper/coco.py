"""The detection datasets `coco-2017` and `lvis-v1`: objects with boxes and masks, on the same photos."""

from functools import partial
from pathlib import Path

from bob_gauntlet.datasets.annotated_images import annotated_split
from bob_gauntlet.datasets.coco_format import CocoFile, Record, file_name, read_coco
from bob_gauntlet.datasets.dataset import Dataset
from bob_gauntlet.datasets.file_hashes import FileHashes
from bob_gauntlet.datasets.locations import DataLocations
from bob_gauntlet.datasets.paper.layout import first_file, require_folder
from bob_gauntlet.errors import BobError, MissingError

COCO = "coco-2017"
LVIS = "lvis-v1"

FOLDERS = {"train": "train2017", "test": "val2017"}
"""Role -> folder of images in COCO."""

_LVIS_FILES = {"train": "train", "test": "val"}


def load_coco_2017(locations: DataLocations) -> Dataset:
    """Load COCO 2017: `train` is train2017, `test` is val2017, as in the paper; class k is the k-th category by id."""
    root = require_folder(COCO, locations)
    files = {
        role: read_coco(
            _annotation_file(COCO, root, f"instances_{folder}.json"),
            root,
            image_path=partial(_path_in_folder, folder),
        )
        for role, folder in FOLDERS.items()
    }
    return _build_dataset(COCO, files, locations.hashes)


def load_lvis_v1(locations: DataLocations) -> Dataset:
    """Load LVIS v1: `train` and `test` are its train and val, with images in the folder of `coco-2017`.

    The coco_url of an image tells its folder; many images of val are in train2017. An image is annotated for some of
    the classes only: `ImageObjects.negative` and `incomplete` tell which. `frequencies` tells how common each class is.
    """
    root = require_folder(LVIS, locations)
    paths = {role: _annotation_file(LVIS, root, f"lvis_v1_{name}.json") for role, name in _LVIS_FILES.items()}
    try:
        images = require_folder(COCO, locations)
    except MissingError as error:
        raise MissingError(f"{LVIS} needs COCO's images too: {error}") from error
    files = {role: read_coco(path, images, partial(_lvis_path, images)) for role, path in paths.items()}
    return _build_dataset(LVIS, files, locations.hashes)


def _build_dataset(name: str, files: dict[str, CocoFile], hashes: FileHashes) -> Dataset:
    """Return the dataset of the files of all roles; BobError where their categories differ."""
    train = files["train"]
    for role, file in files.items():
        if file.categories != train.categories:
            raise BobError(f"{name} {role}: its categories are not those of train; get both files from one source")
    splits = {
        role: annotated_split(role, f"{name} {role}", file.images, file.classes, hashes) for role, file in files.items()
    }
    return Dataset(name, splits, train.classes, multi_label=True, frequencies=train.frequencies)


def _annotation_file(name: str, root: Path, file: str) -> Path:
    """Return the path of an annotation file, in `annotations` or directly in `root`; BobError where it is missing."""
    path = first_file([root / "annotations", root], file)
    if path is None:
        raise BobError(f"{name}: no {file} in {root / 'annotations'}; `bob data {name}` shows the layout")
    return path


def _path_in_folder(folder: str, record: Record) -> str:
    """Return the path of an image, which COCO's files name without its folder; "" where there is no name."""
    name = file_name(record)
    return name and f"{folder}/{name}"


def _lvis_path(root: Path, record: Record) -> str:
    """Return the end of an image's coco_url, such as train2017/000000391895.jpg.

    An image without coco_url is looked for by its file_name in both folders of COCO; "" where there is no name.
    """
    if isinstance(record.get("coco_url"), str):
        return "/".join(record["coco_url"].split("/")[-2:])
    name = Path(file_name(record)).name
    folder = next((inner for inner in FOLDERS.values() if (root / inner / name).is_file()), FOLDERS["train"])
    return name and f"{folder}/{name}"
