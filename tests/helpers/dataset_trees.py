"""Functions that write small copies of the paper's datasets, with images of noise, in their publishers' layouts.

`TREES[name](root)` writes a whole dataset under root/name, where `--bob-data root` looks for it. Layouts that only some
tests need have functions of their own.
"""

import csv
import json
import pickle
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from torchvision.datasets import CIFAR100, Flowers102
from torchvision.datasets.utils import calculate_md5

from .detection_trees import coco_2017, lvis_v1, sim10k_cityscapes

WNIDS = ("n01443537", "n01484850", "n02007558")
"""Three classes of ImageNet-1k, sorted."""

LAND = ("AnnualCrop", "Forest", "River")
VARIANTS = ("707-320", "Boeing 717", "F/A-18")
OBJECTS = ("aeroplane", "bus", "truck")
FINDINGS = ("Cardiomegaly", "Edema", "Consolidation", "Atelectasis", "Pleural Effusion")
COLUMNS = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", "No Finding", "Enlarged Cardiomediastinum",
           "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema", "Consolidation", "Pneumonia", "Atelectasis",
           "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices")  # fmt: skip


def write_noise_image(path: Path, side: int = 40) -> Path:
    """Write an image of noise, seeded by the last three parts of its path and tinted by its folder; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(zlib.crc32("/".join(path.parts[-3:]).encode()))
    tint = np.random.default_rng(zlib.crc32(path.parent.name.encode())).integers(0, 128, 3)
    Image.fromarray((rng.integers(0, 128, (side, side, 3)) + tint).astype(np.uint8)).save(path)
    return path


def write_class_folders(root: Path, classes: Iterable[str], count: int, pattern: str = "{name}_{i}.jpg") -> None:
    """Write a folder with `count` images for each class."""
    for name in classes:
        for i in range(count):
            write_noise_image(root / name / pattern.format(name=name, i=i))


def write_role_folders(root: Path, classes: Iterable[str], **counts: int) -> None:
    """Write a folder for each role with a folder for each class, as torchvision's ImageFolder reads them."""
    for role, count in counts.items():
        write_class_folders(root / role, classes, count, f"{role}-{{name}}-{{i}}.png")


def write_csv(path: Path, header: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a comma-separated file with a header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([list(header), *map(list, rows)])


def _lists(root: Path) -> None:
    """Write SimCLR's lists, with one image of each class and with two."""
    for name, count in (("1percent.txt", 1), ("10percent.txt", 2)):
        lines = [f"{wnid}_{i}.JPEG" for wnid in WNIDS for i in range(count)]
        (root / "imagenet_subsets").mkdir(parents=True, exist_ok=True)
        (root / "imagenet_subsets" / name).write_text("\n".join(lines) + "\n")


def imagenet(root: Path) -> None:
    """Write train/WNID and val/WNID, with SimCLR's lists."""
    write_class_folders(root / "imagenet-1k/train", WNIDS, 8, "{name}_{i}.JPEG")
    for number in range(1, 13):
        write_noise_image(root / "imagenet-1k/val" / WNIDS[number % 3] / f"ILSVRC2012_val_{number:08}.JPEG")
    _lists(root / "imagenet-1k")


def imagenet_flat(root: Path, inner: str = "") -> Path:
    """Write train/WNID and a flat val, whose labels are not in its paths; return the folder of both."""
    images = root / "imagenet-1k" / inner
    write_class_folders(images / "train", WNIDS, 8, "{name}_{i}.JPEG")
    for number in range(1, 13):
        write_noise_image(images / "val" / f"ILSVRC2012_val_{number:08}.JPEG")
    return images


def imagenet_devkit(root: Path) -> None:
    """Write the ILSVRC layout: a flat val, and its labels in the devkit, whose meta.mat is not sorted by id."""
    imagenet_flat(root)
    devkit = root / "imagenet-1k/ILSVRC2012_devkit_t12/data"
    devkit.mkdir(parents=True)
    synsets = np.zeros((4, 1), [("ILSVRC2012_ID", object), ("WNID", object), ("words", object)])
    for row, (wnid, words) in enumerate([(WNIDS[2], "flamingo"), (WNIDS[0], "goldfish"), (WNIDS[1], "shark")]):
        synsets[row, 0] = (float(row + 1), wnid, words)
    synsets[3, 0] = (1001.0, "n00001740", "entity")
    savemat(devkit / "meta.mat", {"synsets": synsets})
    ids = {WNIDS[2]: 1, WNIDS[0]: 2, WNIDS[1]: 3}
    lines = [str(ids[WNIDS[number % 3]]) for number in range(1, 13)]
    (devkit / "ILSVRC2012_validation_ground_truth.txt").write_text("\n".join(lines) + "\n")


def imagenet_kaggle(root: Path) -> None:
    """Write Kaggle's layout: ILSVRC/Data/CLS-LOC, and LOC_val_solution.csv in another order than the files."""
    imagenet_flat(root, "ILSVRC/Data/CLS-LOC")
    rows = [(f"ILSVRC2012_val_{n:08}", f"{WNIDS[n % 3]} 1 2 3 4 {WNIDS[n % 3]} 5 6 7 8 ") for n in range(12, 0, -1)]
    write_csv(root / "imagenet-1k/LOC_val_solution.csv", ("ImageId", "PredictionString"), rows)


def imagenet_a(root: Path) -> None:
    """Write two of the classes in the folder that the archive unpacks to."""
    write_class_folders(root / "imagenet-a/imagenet-a", WNIDS[1:], 4, "0.01_{name}_0.9{i}.jpg")
    (root / "imagenet-a/imagenet-a/README.txt").write_text("n01498041 stingray\n")


def imagenet_r(root: Path) -> None:
    """Write two of the classes without the archive's folder."""
    write_class_folders(root / "imagenet-r", WNIDS[:2], 4, "art_{i}.jpg")


def imagenet_v2(root: Path, names: Iterable[str] = ("0", "1", "2")) -> None:
    """Write class folders that are named by numbers."""
    write_class_folders(root / "imagenet-v2/imagenetv2-matched-frequency-format-val", names, 3, "{i}.jpeg")


def imagenet_sketch(root: Path) -> None:
    """Write all classes in the folder that the archive unpacks to."""
    write_class_folders(root / "imagenet-sketch/sketch", WNIDS, 3, "sketch_{i}.JPEG")


def cifar_100(root: Path) -> None:
    """Write class folders by role: the publisher's pickles need checksums that only a test can patch."""
    write_role_folders(root / "cifar-100", ("apple", "bee", "cup"), train=8, test=4)


def cifar_100_pickles(root: Path, patch: pytest.MonkeyPatch) -> None:
    """Write the publisher's pickles, and patch torchvision's checksums to match them."""
    folder = root / "cifar-100/cifar-100-python"
    folder.mkdir(parents=True)
    names = ["apple", "bee", "cup"]
    _pickle(folder / "meta", {"fine_label_names": names, "coarse_label_names": ["thing"]})
    for role, count in (("train", 9), ("test", 6)):
        pixels = np.random.default_rng(count).integers(0, 256, (count, 3072)).astype(np.uint8)
        _pickle(folder / role, {"data": pixels, "fine_labels": [i % 3 for i in range(count)]})
    for field, name in (("train_list", "train"), ("test_list", "test")):
        patch.setattr(CIFAR100, field, [[name, calculate_md5(folder / name)]])
    patch.setattr(CIFAR100, "meta", {**CIFAR100.meta, "md5": calculate_md5(folder / "meta")})


def _pickle(path: Path, value: object) -> None:
    path.write_bytes(pickle.dumps(value))


def flowers_102(root: Path) -> None:
    """Write class folders by role, as `cifar_100` does."""
    write_role_folders(root / "flowers-102", ("1", "2", "10"), train=8, val=4, test=4)


def flowers_102_mat(root: Path, patch: pytest.MonkeyPatch, inner: str = "flowers-102") -> None:
    """Write the publisher's jpg/, imagelabels.mat and setid.mat, and patch torchvision's checksums to match them."""
    folder = root / "flowers-102" / inner
    for number in range(1, 13):
        write_noise_image(folder / "jpg" / f"image_{number:05}.jpg")
    savemat(folder / "imagelabels.mat", {"labels": np.array([[1 + n // 2 % 2 for n in range(12)]], np.uint8)})
    # unsorted, as the publisher's lists are
    savemat(folder / "setid.mat", {"trnid": [[9, 3, 1, 5]], "valid": [[2, 4, 7]], "tstid": [[6, 8, 10, 11, 12]]})
    files = {key: (name, calculate_md5(folder / name)) for key, name in _MATS.items()}
    patch.setattr(Flowers102, "_file_dict", {**Flowers102._file_dict, **files})


_MATS = {"label": "imagelabels.mat", "setid": "setid.mat"}


def fgvc_aircraft(root: Path) -> None:
    """Write the publisher's images and lists by variant under the archive's folder; one name has a slash."""
    data = root / "fgvc-aircraft/fgvc-aircraft-2013b/data"
    data.mkdir(parents=True)
    (data / "variants.txt").write_text("\n".join(VARIANTS) + "\n")
    for start, role, count in ((1000, "train", 24), (2000, "val", 9), (3000, "test", 9)):
        lines = [f"{start + i:07} {VARIANTS[i % 3]}" for i in range(count)]
        (data / f"images_variant_{role}.txt").write_text("\n".join(lines) + "\n")
        for i in range(count):
            write_noise_image(data / "images" / f"{start + i:07}.jpg")


def eurosat(root: Path, count: int = 80) -> None:
    """Write 2750/CLASS/*.jpg; there are many images, since only a tenth of half of them is trained on."""
    write_class_folders(root / "eurosat/2750", LAND, count)


def eurosat_json(root: Path, inner: str = "eurosat/2750", name: str = "split_zhou_EuroSAT.json") -> Path:
    """Write CoOp's split with 40 train, 4 val and 4 test images of each class, and return its JSON file."""
    images = root / "eurosat" / inner
    write_class_folders(images, LAND, 48)
    rows = [(f"{land}/{land}_{i}.jpg", label, land) for i in range(48) for label, land in enumerate(LAND)]
    path = images.parent / name
    path.write_text(json.dumps({"train": rows[:120], "val": rows[120:132], "test": rows[132:]}))
    return path


def chexpert(root: Path, inner: str = "CheXpert-v1.0-small", prefix: str = "CheXpert-v1.0-small") -> None:
    """Write train.csv and valid.csv of 120 and 8 patients with a frontal view each; every third has a lateral view."""
    folder = root / "chexpert" / inner
    for role, first, count in (("train", 1, 120), ("valid", 64541, 8)):
        rows = []
        for patient in range(first, first + count):
            for view in ("frontal", "lateral")[: 1 + (patient % 3 == 0)]:
                path = f"{role}/patient{patient:05}/study1/view1_{view}.jpg"
                write_noise_image(folder / path)
                rows.append(_chexpert_row(f"{prefix}/{path}", patient, view.capitalize(), role))
        write_csv(folder / f"{role}.csv", COLUMNS, rows)


def _chexpert_row(path: str, patient: int, view: str, role: str) -> list[str]:
    """Return a row whose findings are 1, 0, blank and -1 in turn; valid.csv has only 1 and 0."""
    values = ("1.0", "0.0", "", "-1.0") if role == "train" else ("1.0", "0.0")
    findings = {name: values[(patient + i) % len(values)] for i, name in enumerate(FINDINGS)}
    return [path, "Female", "68", view, "AP" if view == "Frontal" else "", *(findings.get(c, "") for c in COLUMNS[5:])]


def visda_2017(root: Path) -> None:
    """Write train/CLASS/*.png and validation/CLASS/*.jpg with the publisher's image_list.txt."""
    for role, count, ending in (("train", 10, "png"), ("validation", 5, "jpg")):
        folder = root / "visda-2017" / role
        write_class_folders(folder, OBJECTS, count, f"{role}_{{name}}_{{i}}.{ending}")
        lines = [f"{n}/{role}_{n}_{i}.{ending} {k}" for k, n in enumerate(OBJECTS) for i in range(count)]
        (folder / "image_list.txt").write_text("\n".join(lines) + "\n")


TREES: dict[str, Callable[[Path], None]] = {
    "imagenet-1k": imagenet,
    "imagenet-a": imagenet_a,
    "imagenet-r": imagenet_r,
    "imagenet-v2": imagenet_v2,
    "imagenet-sketch": imagenet_sketch,
    "cifar-100": cifar_100,
    "flowers-102": flowers_102,
    "fgvc-aircraft": fgvc_aircraft,
    "eurosat": eurosat,
    "chexpert": chexpert,
    "visda-2017": visda_2017,
    "coco-2017": coco_2017,
    "lvis-v1": lvis_v1,
    "sim10k-cityscapes": sim10k_cityscapes,
}
"""Dataset name -> function that writes a small copy of it under root/name, or copies of the datasets it consists of."""

DETECTION = ("coco-2017", "lvis-v1", "sim10k-cityscapes")
"""Names of the datasets with annotated objects."""
