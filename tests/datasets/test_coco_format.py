"""Files in COCO's format: what is read of one, and the line that each wrong one is refused with."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as rle

from bob_gauntlet.datasets.annotated_images import annotated_split, image_size
from bob_gauntlet.datasets.coco_format import CocoFile, read_coco
from bob_gauntlet.datasets.images import UnreadableImage
from bob_gauntlet.errors import BobError
from tests.helpers.detection_trees import (
    CATEGORIES,
    Json,
    annotation,
    coco_content,
    draw,
    picture,
    polygon,
    runs,
    write,
)


def content(*annotations: Json, **more: Any) -> Json:
    """One image, "a.png" of 30 x 20 pixels, and these annotations."""
    image = {"id": 5, "file_name": "a.png", "width": 30, "height": 20}
    return {"images": [image], "annotations": list(annotations), "categories": list(CATEGORIES), **more}


def one(**more: Any) -> Json:
    """An annotation of that image."""
    return annotation(7, 5, 3, (2, 3, 10, 8), **more)


def read(folder: Path, found: object) -> CocoFile:
    """A file of that content, beside its images."""
    return read_coco(write(folder / "notes.json", found), folder)


def test_a_file_is_read(tmp_path: Path) -> None:
    """Objects by image in the file's order of annotations, classes by id, all as annotated; masks as they are."""
    made = coco_content(first=7, count=3)
    found = read(tmp_path, made)
    assert found.classes == ("person", "car", "toothbrush")
    assert found.frequencies == ()
    assert found.images.paths == tuple(image["file_name"] for image in made["images"])
    assert [len(objects) for objects in found.images.objects] == [4, 4, 0]
    first, _, last = found.images.objects
    assert (first.width, first.height) == (60, 44)
    assert first.boxes.tolist() == [[4.5, 3.25, 16, 12], [20, 8, 14.5, 20], [10, 22, 12, 10], [2, 20, 30, 12]]
    assert first.labels.tolist() == [0, 2, 1, 0]
    assert first.areas.tolist() == [192, 290, 120, 360]
    assert first.crowd.tolist() == [False, False, False, True]
    assert first.masks == (
        polygon(4.5, 3.25, 16, 12),
        polygon(20, 8, 14.5, 20),
        runs((60, 44), (10, 22, 12, 10)),
        runs((60, 44), (2, 20, 30, 12)),
    )
    assert (last.boxes.shape, last.labels.dtype, last.masks) == ((0, 4), np.int64, ())
    assert (first.negative, first.incomplete) == ((), ())


@settings(deadline=None)
@given(ids=st.lists(st.integers(0, 10**6), min_size=1, max_size=8, unique=True), data=st.data())
def test_ids_of_any_kind_become_indices(
    tmp_path_factory: pytest.TempPathFactory, ids: list[int], data: st.DataObject
) -> None:
    """Class k is the k-th category by id; ids of images may be anything, in any order, annotations too."""
    folder = tmp_path_factory.mktemp("ids")
    images = data.draw(st.lists(st.integers(-9, 10**12) | st.text(min_size=1), min_size=1, max_size=6, unique=True))
    pairs = data.draw(st.lists(st.tuples(st.sampled_from(images), st.sampled_from(ids)), max_size=20))
    made = {
        "images": [{"id": image, "file_name": f"{i}.png", "width": 9, "height": 9} for i, image in enumerate(images)],
        "annotations": [annotation(i, *pair, (i, 0, 1, 1)) for i, pair in enumerate(pairs)],  # type: ignore[arg-type]
        "categories": [{"id": identity, "name": f"class {identity}"} for identity in ids],
    }
    found = read(folder, made)
    assert found.classes == tuple(f"class {identity}" for identity in sorted(ids))
    for image, objects in zip(images, found.images.objects, strict=True):
        wanted = [(float(i), sorted(ids).index(category)) for i, (of, category) in enumerate(pairs) if of == image]
        assert list(zip(objects.boxes[:, 0].tolist(), objects.labels.tolist(), strict=True)) == wanted


def test_what_may_be_left_out(tmp_path: Path) -> None:
    """A crowd is none, an area is the box's, a size is the upright file's; a file without masks is one of boxes."""
    bare = {"id": 7, "image_id": 5, "category_id": 3, "bbox": [2, 3, 10, 8]}
    made = content(bare, {**bare, "segmentation": []})
    made["images"] = [{"id": 5, "file_name": "deep/er/a.jpg"}]
    (tmp_path / "deep/er").mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    Image.new("RGB", (20, 30)).save(tmp_path / "deep/er/a.jpg", exif=exif)
    [objects] = read(tmp_path, made).images.objects
    assert (objects.width, objects.height) == (30, 20) == image_size(tmp_path / "deep/er/a.jpg")
    assert objects.areas.tolist() == [80, 80]
    assert objects.masks == ()
    assert not objects.crowd.any()
    split = annotated_split("train", "x", read(tmp_path, made).images, ("a", "b", "c"))
    assert split.ids == ("deep/er/a.jpg",)
    assert split.image(0).size == (30, 20)


def compressed(box: tuple[int, int, int, int]) -> Json:
    """Run lengths as text, as pycocotools writes them."""
    mask = rle.frPyObjects(runs((30, 20), box), 20, 30)
    return {"size": mask["size"], "counts": mask["counts"].decode()}


BOX = [[2.0, 3.0, 12.0, 3.0, 12.0, 11.0, 2.0, 11.0]]


@pytest.mark.parametrize(
    ("mask", "kept"),
    [
        ([[1, 1, 5, 1, 5, 5]], [[1, 1, 5, 1, 5, 5]]),
        ([[1, 1, 5, 1], [1, 1, 5, 1, 5, 5], [], [1, 1, 5, 1, 5, 5, 2], "x"], [[1, 1, 5, 1, 5, 5]]),
        ([[1, 1, 5, 1, 5, float("nan")]], BOX),
        ([[1, 1, 5, 1, 5, "5"]], BOX),
        ([], BOX),
        ([1, 1, 5, 1, 5, 5], BOX),
        (None, BOX),
        ({"size": [0, 0], "counts": ""}, BOX),
        ({"size": [20, 30], "counts": [1, 2]}, BOX),
        ({"size": [20, 30], "counts": [-1, 601]}, BOX),
        ({"size": [20, 30], "counts": ["600"]}, BOX),
        ({"size": [20, 30], "counts": "\x01"}, BOX),
        ({"size": [20, 30], "counts": 600}, BOX),
        (runs((30, 20), (1, 2, 3, 4)), runs((30, 20), (1, 2, 3, 4))),
        (compressed((1, 2, 3, 4)), compressed((1, 2, 3, 4))),
    ],
)
def test_a_broken_mask_is_the_box(tmp_path: Path, mask: object, kept: object) -> None:
    """What is left of it otherwise; beside a whole mask."""
    [objects] = read(tmp_path, content(one(), one(segmentation=mask))).images.objects
    assert objects.masks == (polygon(2, 3, 10, 8), kept)


def test_odd_boxes_are_kept(tmp_path: Path) -> None:
    """A crowd, a flat box, boxes that reach outside: an evaluation needs them, and training passes them by."""
    boxes: list[list[float]] = [[2, 3, 10, 8], [2, 3, 10, 0], [-4, -5, 10, 8], [40, 3, 10, 8]]
    found = [one(bbox=box, area=max(box[2] * box[3], 1)) for box in boxes] + [one(iscrowd=1)]
    [objects] = read(tmp_path, content(*found)).images.objects
    assert objects.boxes.tolist() == [*boxes, boxes[0]]
    assert objects.learnable.tolist() == [True, False, True, False, False]


def without(key: str) -> Callable[[Json], None]:
    """Take a key of the file out."""
    return lambda made: made.pop(key) and None


def annotated(**fields: Any) -> Callable[[Json], None]:
    """Change the second annotation; a field of ... is taken out."""

    def change(made: Json) -> None:
        changed = {**made["annotations"][1], "id": 8, **fields}
        made["annotations"][1] = {key: value for key, value in changed.items() if value is not ...}

    return change


def imaged(**fields: Any) -> Callable[[Json], None]:
    """Add an image like the first but for these fields."""

    def change(made: Json) -> None:
        added = {**made["images"][0], "id": 6, "file_name": "b.png", **fields}
        made["images"].append({key: value for key, value in added.items() if value is not ...})

    return change


def listed(key: str, *records: object) -> Callable[[Json], None]:
    """Add to a list of the file."""
    return lambda made: made[key].extend(records)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (without("images"), "no list 'images'; a file in COCO's format has"),
        (without("annotations"), "no list 'annotations'"),
        (without("categories"), "no list 'categories'"),
        (lambda made: made.update(images={}), "no list 'images'"),
        (lambda made: made.update(images=[]), "no image; list the images"),
        (lambda made: made.update(categories=[]), "no category; add the categories"),
        (imaged(id=5), "image id 5 is there twice"),
        (imaged(id=...), "image {'file_name': 'b.png', .* has no id"),
        (imaged(id=[1]), "has no id"),
        (listed("images", 3), "image 3 has no id"),
        (imaged(file_name=...), "image 6 has file_name ''; it has to be relative"),
        (imaged(file_name="/x/b.png"), "image 6 has file_name '/x/b.png'; it has to be relative"),
        (imaged(width=0), "image 6 is of 0 x 20 pixels"),
        (imaged(width="30"), "image 6 is of '30' x 20 pixels"),
        (imaged(width=...), r"image 6 has no width and height, and the size of .*b.png cannot be read \(.*\)"),
        (imaged(neg_category_ids=[4]), r"image 6 names an unknown category \(4\)"),
        (imaged(not_exhaustive_category_ids=[[]]), "image 6 names an unknown category"),
        (annotated(image_id=99), r"annotation 8 is of image 99, .* its 1 images; .* \(1 of 2 annotations are wrong\)"),
        (annotated(image_id=[5]), r"annotation 8 is of image \[5\]"),
        (annotated(category_id=2), "annotation 8 is of category 2, which is not among its 3 categories"),
        (annotated(category_id="3"), "annotation 8 is of category '3'"),
        (annotated(bbox=[1, 2, 3]), r"annotation 8 has bbox \[1, 2, 3\], not four finite numbers"),
        (annotated(bbox=[1, 2, 3, "4"]), "annotation 8 has bbox"),
        (annotated(bbox=[1, 2, 3, float("nan")]), "annotation 8 has bbox"),
        (annotated(bbox=[1, 2, 3, float("inf")]), "annotation 8 has bbox"),
        (annotated(bbox=None), "annotation 8 has bbox None"),
        (annotated(bbox=...), "annotation 8 has to have image_id, category_id and bbox"),
        (annotated(bbox=..., id=...), "annotation number 2 has to have"),
        (annotated(area="big"), "annotation 8 has area 'big'"),
        (listed("annotations", 3, None), r"annotation number 3 has to have .* \(2 of 4 annotations are wrong\)"),
        (annotated(segmentation=runs((20, 30), (1, 1, 2, 2))), r"annotation 8 has a mask of size \[30, 20\], and its"),
        (listed("categories", {"id": 3, "name": "cow"}), "category id 3 is there twice, car and cow"),
        (listed("categories", {"id": 4, "name": "car"}), "category name car is there twice, ids 3 and 4"),
        (
            listed("categories", {"id": "4", "name": "cow"}),
            "category {'id': '4', 'name': 'cow'} needs a whole number as id, and a name",
        ),
        (listed("categories", {"id": 4, "name": " "}), "needs a whole number as id, and a name"),
        (listed("categories", "cow"), "category 'cow' needs a whole number as id"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path: Path, change: Callable[[Json], None], says: str) -> None:
    """The file, and the image, annotation or category."""
    made = content(one(), one())
    change(made)
    with pytest.raises(BobError, match=says) as caught:
        read(tmp_path, made)
    assert str(caught.value).startswith(f"{tmp_path / 'notes.json'}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", '{"images": [', "\xff", "[" * 100_000])
def test_what_is_no_json(tmp_path: Path, text: str) -> None:
    """Cut off, another encoding, nested too deep: one line."""
    path = tmp_path / "notes.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(BobError, match=r"notes.json cannot be read as JSON \(.*\); get the file again") as caught:
        read_coco(path, tmp_path)
    assert "\n" not in str(caught.value)
    path.write_text("3")
    with pytest.raises(BobError, match="no list 'images'"):
        read_coco(path, tmp_path)


def test_annotations_of_one_id_are_harmless(tmp_path: Path) -> None:
    """Nothing is looked up by it."""
    [objects] = read(tmp_path, content(one(), one())).images.objects
    assert len(objects) == 2


def test_a_file_twice_is_refused(tmp_path: Path) -> None:
    """Under two ids, however it is written."""
    made = content(one())
    imaged(file_name="./a.png")(made)
    with pytest.raises(BobError, match=r"x: a.png is listed twice"):
        annotated_split("train", "x", read(tmp_path, made).images, ("a", "b", "c"))


def folder_of(tmp_path: Path, count: int) -> CocoFile:
    """Images of 8 x 8 pixels, with one object on the first."""
    made = content(one(image_id=0))
    made["images"] = [{"id": i, "file_name": f"{i:03}.png", "width": 8, "height": 8} for i in range(count)]
    for image in made["images"]:
        picture(tmp_path / image["file_name"], (8, 8))
    return read(tmp_path, made)


def test_up_to_one_in_a_hundred_images_may_be_missing(tmp_path: Path) -> None:
    """It stays, and cannot be read; two of a hundred are named."""
    found = folder_of(tmp_path, 100)
    (tmp_path / "042.png").unlink()
    split = annotated_split("train", "mine's train", found.images, found.classes)
    assert len(split) == 100
    with pytest.raises(UnreadableImage, match=r"042.png"):
        split.image(42)
    assert split.image(43).size == (8, 8)
    (tmp_path / "007.png").unlink()
    with pytest.raises(BobError, match=r"mine's train: 2 of 100 images are not in .*: 007.png, 042.png; at most 1%"):
        annotated_split("train", "mine's train", found.images, found.classes)


def fingerprint(folder: Path, change: Callable[[Json], object] = lambda made: None) -> str:
    """Of three images, whose annotations were changed."""
    made = coco_content(count=3)
    change(made)
    found = read(folder, made)
    return annotated_split("train", "x", found.images, found.classes).fingerprint


def changed(**fields: Any) -> Callable[[Json], object]:
    """Change the first annotation: one of the last image with objects."""
    return lambda made: made["annotations"][0].update(fields)


def of_first_image(**fields: Any) -> Callable[[Json], object]:
    """Change the first image."""
    return lambda made: made["images"][0].update(fields)


POINTS = [1, 1, 9, 1, 9, 9, 1, 9, 2, 2, 8, 2, 8, 8]
"""Corners that may be parted into two polygons in two ways."""

SIZE = (44, 60)
"""Of the image that the first annotations are of."""


def test_a_fingerprint_is_of_everything(tmp_path: Path) -> None:
    """What is annotated, its masks in every form, the images' sizes and lists of classes, the classes."""
    draw(tmp_path, coco_content(count=3))
    text = rle.frPyObjects(runs(SIZE, (10, 22, 12, 10)), 60, 44)["counts"].decode()
    changes: list[Callable[[Json], object]] = [
        changed(bbox=[4.25, 3.25, 16, 12]),
        changed(category_id=3),
        changed(area=5),
        changed(iscrowd=1),
        changed(segmentation=polygon(4.25, 3.25, 16, 12)),
        changed(segmentation=polygon(4.5, 3.25, 16, 12) * 2),
        changed(segmentation=[polygon(4.5, 3.25, 16, 12)[0] * 2]),
        changed(segmentation=[POINTS[:6], POINTS[6:]]),
        changed(segmentation=[POINTS[:8], POINTS[8:]]),
        changed(segmentation=runs(SIZE, (4, 3, 16, 12))),
        changed(segmentation=runs(SIZE, (4, 3, 16, 13))),
        changed(segmentation={"size": [60, 44], "counts": text}),
        lambda made: made["annotations"].pop(0),
        of_first_image(neg_category_ids=[1]),
        of_first_image(neg_category_ids=[3]),
        of_first_image(not_exhaustive_category_ids=[1]),
        lambda made: made["images"][2].update(width=53),
        lambda made: made["categories"].append({"id": 91, "name": "hat"}),
    ]
    values = [fingerprint(tmp_path), *(fingerprint(tmp_path, change) for change in changes)]
    assert len(set(values)) == len(changes) + 1


def test_a_fingerprint_is_of_nothing_else(tmp_path: Path) -> None:
    """Neither of the folder nor of the order of images; of a file's bytes, even where their number is the same."""
    draw(tmp_path / "here", coco_content(count=3))
    first = fingerprint(tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    assert fingerprint(tmp_path / "there") == first
    assert fingerprint(tmp_path / "there", lambda made: made["images"].reverse()) == first
    path = tmp_path / "there" / coco_content(count=3)["images"][0]["file_name"]
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    assert fingerprint(tmp_path / "there") != first


def test_a_split_is_in_the_order_of_paths(tmp_path: Path) -> None:
    """Targets, objects, images and clusters, whatever the file's order."""
    made = coco_content(count=4)
    draw(tmp_path, made)
    made["images"].reverse()
    found = read(tmp_path, made)
    split = annotated_split("test", "x", found.images, found.classes)
    assert split.ids == split.clusters == tuple(sorted(image["file_name"] for image in made["images"]))
    assert split.objects is not None
    for i, objects in enumerate(split.objects):
        assert split.image(i).size == (objects.width, objects.height)
    assert split.targets.dtype == np.uint8
    assert split.targets.tolist() == [[1, 1, 1]] * 3 + [[0, 0, 0]]
    assert json.loads(json.dumps(split.objects[0].canonical))["labels"] == [0, 2, 1, 0]
