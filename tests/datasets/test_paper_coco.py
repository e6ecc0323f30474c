"""COCO and LVIS: roles, categories, where images lie, and what is refused."""

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


def change(path: Path, how: Callable[[Json], object]) -> None:
    """Mend a JSON file."""
    made = json.loads(path.read_text())
    how(made)
    path.write_text(json.dumps(made))


def test_coco_is_read(tmp_path: Path) -> None:
    """Train and val by their folders; 80 categories' ids have gaps, and so have three."""
    coco_2017(tmp_path)
    found = load_coco_2017(DataLocations(tmp_path))
    assert (found.name, found.classes, found.frequencies) == ("coco-2017", ("person", "car", "toothbrush"), ())
    assert found.multi_label
    assert {role: len(split) for role, split in found.splits.items()} == {"train": 6, "test": 4}
    assert found["train"].ids[0] == "train2017/000000000007.jpg"
    assert found["test"].ids[3] == "val2017/000000000110.jpg"
    for split in found.splits.values():
        assert split.objects is not None
        assert [len(one) for one in split.objects] == [4] * (len(split) - 1) + [0]
        for i, one in enumerate(split.objects):
            assert split.image(i).size == (one.width, one.height)
            assert len(one.masks) == len(one)
        first = split.objects[0]
        assert first.boxes.tolist()[0] == [4.5, 3.25, 16, 12]
        assert first.masks[3] == box_run_lengths((first.width, first.height), (2, 20, 30, 12))
        assert first.crowd.tolist() == [False, False, False, True]
    # the lit box of the second object, which lies under no other, is where its image says
    pixels = found["train"].image(0).crop((21, 9, 34, 21)).resize((1, 1)).getpixel((0, 0))
    assert isinstance(pixels, tuple)
    assert pixels[1] > pixels[0] + 60


def test_coco_fingerprints_do_not_depend_on_the_folder(tmp_path: Path) -> None:
    """A file more of one role is another fingerprint of that role."""
    coco_2017(tmp_path / "here")
    first = load_coco_2017(DataLocations(tmp_path / "here")).fingerprints
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert load_coco_2017(DataLocations(tmp_path / "there")).fingerprints == first
    notes = tmp_path / "there/coco-2017/annotations/instances_val2017.json"
    change(notes, lambda made: made["images"].pop())
    second = load_coco_2017(DataLocations(tmp_path / "there")).fingerprints
    assert (second["train"] == first["train"], second["test"] == first["test"]) == (True, False)


def test_a_limited_coco_keeps_its_objects(tmp_path: Path) -> None:
    """The image without objects is the first to go."""
    coco_2017(tmp_path)
    kept = limit_dataset(load_coco_2017(DataLocations(tmp_path)), 3)
    for split in kept.splits.values():
        assert split.objects is not None
        assert [len(one) for one in split.objects] == [4, 4, 4]


def test_lvis_is_read_from_cocos_images(tmp_path: Path) -> None:
    """An image lies where its URL says; which classes were looked for, and how common each is."""
    lvis_v1(tmp_path)
    found = load_lvis_v1(DataLocations(tmp_path))
    assert (found.classes, found.frequencies) == (("person", "car", "toothbrush"), ("f", "c", "r"))
    assert len(found["train"]) == 5
    assert found["test"].ids == (
        "train2017/000000000007.jpg", *(f"val2017/{n:012}.jpg" for n in range(107, 111)),
    )  # fmt: skip
    assert not set(found["train"].ids) & set(found["test"].ids)
    assert found["test"].objects is not None
    first, second, *_, last = found["test"].objects
    assert (first.labels.tolist(), first.negative, first.incomplete) == ([1], (0, 2), (1,))
    assert (second.labels.tolist(), second.negative, second.incomplete) == ([0, 2, 1], (), (1,))
    assert (last.labels.tolist(), last.negative, last.incomplete) == ([], (0, 2), ())
    assert found["test"].image(0).size == (first.width, first.height)
    assert not second.crowd.any()


def test_lvis_files_may_lie_in_a_folder_and_name_images_otherwise(tmp_path: Path) -> None:
    """In annotations/; without URLs an image is looked for in both folders."""
    lvis_v1(tmp_path)
    before = load_lvis_v1(DataLocations(tmp_path))
    (tmp_path / "lvis-v1/annotations").mkdir()
    for role in ("train", "val"):
        path = tmp_path / f"lvis-v1/lvis_v1_{role}.json"

        def rename(made: Json) -> None:
            for image in made["images"]:
                image["file_name"] = "COCO/" + image.pop("coco_url").split("/")[-1]

        change(path, rename)
        path.rename(tmp_path / "lvis-v1/annotations" / path.name)
    assert load_lvis_v1(DataLocations(tmp_path)).fingerprints == before.fingerprints


def test_lvis_needs_coco(tmp_path: Path) -> None:
    """Absent, it is said by both names; elsewhere it may be declared."""
    lvis_v1(tmp_path)
    shutil.move(tmp_path / "coco-2017", tmp_path / "elsewhere")
    with pytest.raises(MissingError, match=r"lvis-v1 needs COCO's images too: coco-2017 is not in"):
        load_lvis_v1(DataLocations(tmp_path))
    assert len(load_lvis_v1(DataLocations(tmp_path, {"coco-2017": tmp_path / "elsewhere"}))["test"]) == 5


@pytest.mark.parametrize(
    ("how", "says"),
    [
        (lambda root: (root / "annotations/instances_val2017.json").unlink(), "no instances_val2017.json in .*annotat"),
        (
            lambda root: shutil.rmtree(root / "val2017"),
            r"coco-2017 test: 4 of 4 images are not in .*: val2017/000000000107.jpg, .* and 1 more",
        ),
        (
            lambda root: change(
                root / "annotations/instances_val2017.json",
                lambda made: made["categories"].append({"id": 2, "name": "bicycle"}),
            ),
            "coco-2017 test: its categories are not those of train",
        ),
        (
            lambda root: change(
                root / "annotations/instances_val2017.json", lambda made: made["images"][0].pop("file_name")
            ),
            "has file_name ''; it has to be relative",
        ),
    ],
    ids=["no annotations", "no images", "other categories", "no name"],
)
def test_a_wrong_copy_is_one_line(tmp_path: Path, how: Callable[[Path], object], says: str) -> None:
    """What is missing or wrong, and where."""
    coco_2017(tmp_path)
    how(tmp_path / "coco-2017")
    with pytest.raises(BobError, match=says) as caught:
        load_coco_2017(DataLocations(tmp_path))
    assert "\n" not in str(caught.value)
