"""Tests of COCO and LVIS: roles, categories, places of images, and what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bob_gauntlet.datasets.loading import limit_dataset
from bob_gauntlet.datasets.locations import DataLocations
from bob_gauntlet.datasets.paper.coco import load_coco_2017, load_lvis_v1
from bob_gauntlet.errors import BobError, MissingError
from tests.helpers.detection_trees import Json, box_run_lengths, coco_2017, lvis_v1


def change_json(path: Path, change: Callable[[Json], object]) -> None:
    """Change the content of a JSON file."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_coco_is_read(tmp_path: Path) -> None:
    """Train and val are read with their objects; classes are sorted by id, whose numbers have gaps."""
    coco_2017(tmp_path)
    dataset = load_coco_2017(DataLocations(tmp_path))
    assert (dataset.name, dataset.classes, dataset.frequencies) == ("coco-2017", ("person", "car", "toothbrush"), ())
    assert dataset.multi_label
    assert {role: len(split) for role, split in dataset.splits.items()} == {"train": 6, "test": 4}
    assert dataset["train"].ids[0] == "train2017/000000000007.jpg"
    assert dataset["test"].ids[3] == "val2017/000000000110.jpg"
    for split in dataset.splits.values():
        assert split.objects is not None
        assert [len(objects) for objects in split.objects] == [4] * (len(split) - 1) + [0]
        for i, objects in enumerate(split.objects):
            assert split.image(i).size == (objects.width, objects.height)
            assert len(objects.masks) == len(objects)
        first = split.objects[0]
        assert first.boxes.tolist()[0] == [4.5, 3.25, 16, 12]
        assert first.masks[3] == box_run_lengths((first.width, first.height), (2, 20, 30, 12))
        assert first.crowd.tolist() == [False, False, False, True]
    # the bright box of the second object, which no other object covers, is where the annotation says
    mean_pixel = dataset["train"].image(0).crop((21, 9, 34, 21)).resize((1, 1)).getpixel((0, 0))
    assert isinstance(mean_pixel, tuple)
    assert mean_pixel[1] > mean_pixel[0] + 60


def test_coco_fingerprints_do_not_depend_on_the_folder(tmp_path: Path) -> None:
    """Another folder gives the same fingerprints, and a removed image changes that of its role."""
    coco_2017(tmp_path / "here")
    first = load_coco_2017(DataLocations(tmp_path / "here")).fingerprints
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert load_coco_2017(DataLocations(tmp_path / "there")).fingerprints == first
    notes = tmp_path / "there/coco-2017/annotations/instances_val2017.json"
    change_json(notes, lambda content: content["images"].pop())
    second = load_coco_2017(DataLocations(tmp_path / "there")).fingerprints
    assert (second["train"] == first["train"], second["test"] == first["test"]) == (True, False)


def test_a_limited_coco_keeps_its_objects(tmp_path: Path) -> None:
    """The first three images are kept with their objects, and the image without objects is not."""
    coco_2017(tmp_path)
    limited = limit_dataset(load_coco_2017(DataLocations(tmp_path)), 3)
    for split in limited.splits.values():
        assert split.objects is not None
        assert [len(objects) for objects in split.objects] == [4, 4, 4]


def test_lvis_is_read_with_the_images_of_coco(tmp_path: Path) -> None:
    """Images are where their URLs say, and the annotated classes and the frequencies are read."""
    lvis_v1(tmp_path)
    dataset = load_lvis_v1(DataLocations(tmp_path))
    assert (dataset.classes, dataset.frequencies) == (("person", "car", "toothbrush"), ("f", "c", "r"))
    assert len(dataset["train"]) == 5
    assert dataset["test"].ids == (
        "train2017/000000000007.jpg", *(f"val2017/{n:012}.jpg" for n in range(107, 111)),
    )  # fmt: skip
    assert not set(dataset["train"].ids) & set(dataset["test"].ids)
    assert dataset["test"].objects is not None
    first, second, *_, last = dataset["test"].objects
    assert (first.labels.tolist(), first.negative, first.incomplete) == ([1], (0, 2), (1,))
    assert (second.labels.tolist(), second.negative, second.incomplete) == ([0, 2, 1], (), (1,))
    assert (last.labels.tolist(), last.negative, last.incomplete) == ([], (0, 2), ())
    assert dataset["test"].image(0).size == (first.width, first.height)
    assert not second.crowd.any()


def test_lvis_files_may_lie_in_a_folder_and_name_images_otherwise(tmp_path: Path) -> None:
    """Files may be in annotations/, and images without URLs are looked for in both folders of COCO."""
    lvis_v1(tmp_path)
    before = load_lvis_v1(DataLocations(tmp_path))
    (tmp_path / "lvis-v1/annotations").mkdir()
    for role in ("train", "val"):
        path = tmp_path / f"lvis-v1/lvis_v1_{role}.json"

        def replace_urls(content: Json) -> None:
            for image in content["images"]:
                image["file_name"] = "COCO/" + image.pop("coco_url").split("/")[-1]

        change_json(path, replace_urls)
        path.rename(tmp_path / "lvis-v1/annotations" / path.name)
    assert load_lvis_v1(DataLocations(tmp_path)).fingerprints == before.fingerprints


def test_lvis_needs_coco(tmp_path: Path) -> None:
    """The error about missing images of COCO names both datasets, and their folder may be declared."""
    lvis_v1(tmp_path)
    shutil.move(tmp_path / "coco-2017", tmp_path / "elsewhere")
    with pytest.raises(MissingError, match=r"lvis-v1 needs COCO's images too: coco-2017 is not in"):
        load_lvis_v1(DataLocations(tmp_path))
    assert len(load_lvis_v1(DataLocations(tmp_path, {"coco-2017": tmp_path / "elsewhere"}))["test"]) == 5


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda root: (root / "annotations/instances_val2017.json").unlink(), "no instances_val2017.json in .*annotat"),
        (
            lambda root: shutil.rmtree(root / "val2017"),
            r"coco-2017 test: 4 of 4 images are not in .*: val2017/000000000107.jpg, .* and 1 more",
        ),
        (
            lambda root: change_json(
                root / "annotations/instances_val2017.json",
                lambda content: content["categories"].append({"id": 2, "name": "bicycle"}),
            ),
            "coco-2017 test: its categories are not those of train",
        ),
        (
            lambda root: change_json(
                root / "annotations/instances_val2017.json", lambda content: content["images"][0].pop("file_name")
            ),
            "has file_name ''; it has to be relative",
        ),
    ],
    ids=["no annotations", "no images", "other categories", "no name"],
)
def test_a_wrong_copy_is_one_line(tmp_path: Path, change: Callable[[Path], object], problem: str) -> None:
    """A missing or wrong file raises an error of one line."""
    coco_2017(tmp_path)
    change(tmp_path / "coco-2017")
    with pytest.raises(BobError, match=problem) as caught:
        load_coco_2017(DataLocations(tmp_path))
    assert "\n" not in str(caught.value)
