"""Tests of files in COCO's format: what is read, and the line with which each wrong file is refused."""

import json
import re
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
    box_polygon,
    box_run_lengths,
    coco_annotation,
    coco_content,
    write_image,
    write_json,
    write_listed_images,
)


def file_content(*annotations: Json, **more: Any) -> Json:
    """Return a file with one image, "a.png" of 30 x 20 pixels, and these annotations."""
    image = {"id": 5, "file_name": "a.png", "width": 30, "height": 20}
    return {"images": [image], "annotations": list(annotations), "categories": list(CATEGORIES), **more}


def make_annotation(**more: Any) -> Json:
    """Return an annotation of that image."""
    return coco_annotation(7, 5, 3, (2, 3, 10, 8), **more)


def read_file(folder: Path, content: object) -> CocoFile:
    """Write a file of this content beside its images, and read it."""
    return read_coco(write_json(folder / "notes.json", content), folder)


def test_a_file_is_read(tmp_path: Path) -> None:
    """Objects are in the file's order of annotations, classes are sorted by id, and masks stay as they are."""
    content = coco_content(first=7, count=3)
    file = read_file(tmp_path, content)
    assert file.classes == ("person", "car", "toothbrush")
    assert file.frequencies == ()
    assert file.images.paths == tuple(image["file_name"] for image in content["images"])
    assert [len(objects) for objects in file.images.objects] == [4, 4, 0]
    first, _, last = file.images.objects
    assert (first.width, first.height) == (60, 44)
    assert first.boxes.tolist() == [[4.5, 3.25, 16, 12], [20, 8, 14.5, 20], [10, 22, 12, 10], [2, 20, 30, 12]]
    assert first.labels.tolist() == [0, 2, 1, 0]
    assert first.areas.tolist() == [192, 290, 120, 360]
    assert first.crowd.tolist() == [False, False, False, True]
    assert first.masks == (
        box_polygon(4.5, 3.25, 16, 12),
        box_polygon(20, 8, 14.5, 20),
        box_run_lengths((60, 44), (10, 22, 12, 10)),
        box_run_lengths((60, 44), (2, 20, 30, 12)),
    )
    assert (last.boxes.shape, last.labels.dtype, last.masks) == ((0, 4), np.int64, ())
    assert (first.negative, first.incomplete) == ((), ())


@settings(deadline=None)
@given(ids=st.lists(st.integers(0, 10**6), min_size=1, max_size=8, unique=True), data=st.data())
def test_ids_of_any_kind_become_indices(
    tmp_path_factory: pytest.TempPathFactory, ids: list[int], data: st.DataObject
) -> None:
    """Class k has the k-th smallest id; ids of images are any numbers or texts, and lists are in any order."""
    folder = tmp_path_factory.mktemp("ids")
    images = data.draw(st.lists(st.integers(-9, 10**12) | st.text(min_size=1), min_size=1, max_size=6, unique=True))
    pairs = data.draw(st.lists(st.tuples(st.sampled_from(images), st.sampled_from(ids)), max_size=20))
    content = {
        "images": [{"id": image, "file_name": f"{i}.png", "width": 9, "height": 9} for i, image in enumerate(images)],
        "annotations": [coco_annotation(i, *pair, (i, 0, 1, 1)) for i, pair in enumerate(pairs)],  # type: ignore[arg-type]
        "categories": [{"id": identity, "name": f"class {identity}"} for identity in ids],
    }
    file = read_file(folder, content)
    assert file.classes == tuple(f"class {identity}" for identity in sorted(ids))
    for image, objects in zip(images, file.images.objects, strict=True):
        wanted = [(float(i), sorted(ids).index(category)) for i, (of, category) in enumerate(pairs) if of == image]
        assert list(zip(objects.boxes[:, 0].tolist(), objects.labels.tolist(), strict=True)) == wanted


def test_optional_fields_may_be_left_out(tmp_path: Path) -> None:
    """Without these fields an object is no crowd and has its box's area and no mask; the size is the upright file's."""
    bare = {"id": 7, "image_id": 5, "category_id": 3, "bbox": [2, 3, 10, 8]}
    content = file_content(bare, {**bare, "segmentation": []})
    content["images"] = [{"id": 5, "file_name": "deep/er/a.jpg"}]
    (tmp_path / "deep/er").mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    Image.new("RGB", (20, 30)).save(tmp_path / "deep/er/a.jpg", exif=exif)
    [objects] = read_file(tmp_path, content).images.objects
    assert (objects.width, objects.height) == (30, 20) == image_size(tmp_path / "deep/er/a.jpg")
    assert objects.areas.tolist() == [80, 80]
    assert objects.masks == ()
    assert not objects.crowd.any()
    split = annotated_split("train", "x", read_file(tmp_path, content).images, ("a", "b", "c"))
    assert split.ids == ("deep/er/a.jpg",)
    assert split.image(0).size == (30, 20)


def compressed_runs(box: tuple[int, int, int, int]) -> Json:
    """Return run lengths as text, as pycocotools writes them."""
    mask = rle.frPyObjects(box_run_lengths((30, 20), box), 20, 30)
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
        ([1, 1, 5, 1, 5, 5], [[1, 1, 5, 1, 5, 5]]),
        ([[1, 1], [5, 1], [5, 5]], [[1, 1, 5, 1, 5, 5]]),
        ([[[1, 1], [5, 1], [5, 5]]], [[1, 1, 5, 1, 5, 5]]),
        ([1, 1, 5, 1], BOX),
        ([[1, 1], [5, 1]], BOX),
        ([[1, 1, 5, 1, 5, True]], BOX),
        (None, BOX),
        ({"size": [0, 0], "counts": ""}, BOX),
        ({"size": [20, 30], "counts": [1, 2]}, BOX),
        ({"size": [20, 30], "counts": [-1, 601]}, BOX),
        ({"size": [20, 30], "counts": ["600"]}, BOX),
        ({"size": [20, 30], "counts": "\x01"}, BOX),
        ({"size": [20, 30], "counts": 600}, BOX),
        (box_run_lengths((30, 20), (1, 2, 3, 4)), box_run_lengths((30, 20), (1, 2, 3, 4))),
        (compressed_runs((1, 2, 3, 4)), compressed_runs((1, 2, 3, 4))),
    ],
)
def test_a_broken_mask_is_replaced_by_the_box(tmp_path: Path, mask: object, kept: object) -> None:
    """Broken polygons are left out, and a mask without a valid part is the box, if another object has a mask."""
    [objects] = read_file(tmp_path, file_content(make_annotation(), make_annotation(segmentation=mask))).images.objects
    assert objects.masks == (box_polygon(2, 3, 10, 8), kept)


@pytest.mark.parametrize(
    ("masks", "says"),
    [
        (["x", []], "1 of 3 annotations have a damaged mask, and their boxes are taken: annotations 11; correct them"),
        (
            [[[1, 1, 5, 1, 5, 5], [1]], None],
            "1 of 3 .* damaged mask, and its damaged parts are left out: annotations 11",
        ),
        (
            [{"size": [20, 30], "counts": [1]}, {"counts": 0, "size": 3}],
            "2 of 3 .* boxes are taken: annotations 11, 12",
        ),
        ([{"size": [20, 30], "counts": "1"}, [[1]]], "2 of 3 .* boxes are taken"),
    ],
)
def test_damaged_masks_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, masks: list[object], says: str
) -> None:
    """One warning counts and names the annotations whose mask is replaced or cut; an absent mask is not damaged."""
    others = [make_annotation(id=11 + i, segmentation=mask) for i, mask in enumerate(masks)]
    read_file(tmp_path, file_content(make_annotation(), *others))
    [record] = caplog.records
    assert re.search(says, record.getMessage())
    assert str(tmp_path / "notes.json") in record.getMessage()


def test_without_a_valid_mask_the_warning_says_that_none_is_measured(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file whose only masks are damaged has boxes only, and the warning says so."""
    [objects] = read_file(tmp_path, file_content(make_annotation(segmentation=[[1, 2]]))).images.objects
    assert objects.masks == ()
    assert "1 of 1 annotations have a damaged mask, and no masks are measured: annotations 7" in caplog.text


@pytest.mark.parametrize(
    ("value", "is_crowd"),
    [(0, False), ("0", False), (False, False), ("false", False), (None, False), (1, True), ("1", True), (True, True)],
)
def test_a_crowd_is_what_the_flag_says(tmp_path: Path, value: object, is_crowd: bool) -> None:
    """A flag is read by its meaning, also as text."""
    [objects] = read_file(tmp_path, file_content(make_annotation(iscrowd=value))).images.objects
    assert objects.crowd.tolist() == [is_crowd]


def test_a_negative_area_is_that_of_the_box(tmp_path: Path) -> None:
    """Some exporters write -1 for an unknown area; evaluation would ignore the object."""
    [objects] = read_file(tmp_path, file_content(make_annotation(area=-1), make_annotation(area=0))).images.objects
    assert objects.areas.tolist() == [80, 0]


def test_whole_numbers_may_have_a_decimal_point(tmp_path: Path) -> None:
    """Ids that went through a table are written as 5.0, and mean 5."""
    content = file_content(make_annotation(image_id=5.0, category_id=3.0))
    content["images"][0] |= {"width": 30.0}
    content["categories"][0] = {**content["categories"][0], "id": float(content["categories"][0]["id"])}
    file = read_file(tmp_path, content)
    assert [len(objects) for objects in file.images.objects] == [1]
    assert all(type(category.id) is int for category in file.categories)


def test_only_the_frequencies_of_lvis_are_read(tmp_path: Path) -> None:
    """A count, or null, under `frequency` does not make a file one of LVIS."""
    for value in (12, None, "x", ["r"]):
        content = file_content(make_annotation())
        content["categories"] = [{**category, "frequency": value} for category in CATEGORIES]
        assert read_file(tmp_path, content).frequencies == ()


def test_odd_boxes_are_kept(tmp_path: Path) -> None:
    """A crowd, a flat box and boxes that reach outside are kept, since evaluation needs them; training ignores them."""
    boxes: list[list[float]] = [[2, 3, 10, 8], [2, 3, 10, 0], [-4, -5, 10, 8], [40, 3, 10, 8]]
    annotations = [make_annotation(bbox=box, area=max(box[2] * box[3], 1)) for box in boxes] + [
        make_annotation(iscrowd=1)
    ]
    [objects] = read_file(tmp_path, file_content(*annotations)).images.objects
    assert objects.boxes.tolist() == [*boxes, boxes[0]]
    assert objects.learnable.tolist() == [True, False, True, False, False]


def remove_list(key: str) -> Callable[[Json], None]:
    """Remove a list of the file."""
    return lambda content: content.pop(key) and None


def change_annotation(**fields: Any) -> Callable[[Json], None]:
    """Change the second annotation; a field with the value ... is removed."""

    def change(content: Json) -> None:
        changed = {**content["annotations"][1], "id": 8, **fields}
        content["annotations"][1] = {key: value for key, value in changed.items() if value is not ...}

    return change


def add_image(**fields: Any) -> Callable[[Json], None]:
    """Add an image like the first but for these fields; a field with the value ... is removed."""

    def change(content: Json) -> None:
        added = {**content["images"][0], "id": 6, "file_name": "b.png", **fields}
        content["images"].append({key: value for key, value in added.items() if value is not ...})

    return change


def add_records(key: str, *records: object) -> Callable[[Json], None]:
    """Add records to a list of the file."""
    return lambda content: content[key].extend(records)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (remove_list("images"), "no list 'images'; a file in COCO's format has"),
        (remove_list("annotations"), "no list 'annotations'"),
        (remove_list("categories"), "no list 'categories'"),
        (lambda content: content.update(images={}), "no list 'images'"),
        (lambda content: content.update(images=[]), "no image; list the images"),
        (lambda content: content.update(categories=[]), "no category; add the categories"),
        (add_image(id=5), "image id 5 is there twice"),
        (add_image(id=...), "image {'file_name': 'b.png', .* has no id"),
        (add_image(id=[1]), "has no id"),
        (add_records("images", 3), "image 3 has no id"),
        (add_image(file_name=...), "image 6 has file_name ''; it has to be relative"),
        (add_image(file_name="/x/b.png"), "image 6 has file_name '/x/b.png'; it has to be relative"),
        (add_image(width=0), "image 6 is of 0 x 20 pixels"),
        (add_image(width="30"), "image 6 is of '30' x 20 pixels"),
        (add_image(width=...), r"image 6 has no width and height, and the size of .*b.png cannot be read \(.*\)"),
        (add_image(neg_category_ids=[4]), r"image 6 names an unknown category \(4\)"),
        (add_image(not_exhaustive_category_ids=[[]]), "image 6 names an unknown category"),
        (
            change_annotation(image_id=99),
            r"annotation 8 is of image 99, .* its 1 images; .* \(1 of 2 annotations are wrong\)",
        ),
        (change_annotation(image_id=[5]), r"annotation 8 is of image \[5\]"),
        (change_annotation(category_id=2), "annotation 8 is of category 2, which is not among its 3 categories"),
        (change_annotation(category_id="3"), "annotation 8 is of category '3'"),
        (change_annotation(bbox=[1, 2, 3]), r"annotation 8 has bbox \[1, 2, 3\], not four finite numbers"),
        (change_annotation(bbox=[1, 2, 3, "4"]), "annotation 8 has bbox"),
        (change_annotation(bbox=[1, 2, 3, float("nan")]), "annotation 8 has bbox"),
        (change_annotation(bbox=[1, 2, 3, float("inf")]), "annotation 8 has bbox"),
        (change_annotation(bbox=None), "annotation 8 has bbox None"),
        (change_annotation(bbox=...), "annotation 8 has to have image_id, category_id and bbox"),
        (change_annotation(bbox=..., id=...), "annotation number 2 has to have"),
        (change_annotation(area="big"), "annotation 8 has area 'big'"),
        (change_annotation(area=True), "annotation 8 has area True, not a finite number"),
        (change_annotation(iscrowd="no"), "annotation 8 has iscrowd 'no', not 0 or 1; correct or remove it"),
        (change_annotation(iscrowd=2), "annotation 8 has iscrowd 2, not 0 or 1"),
        (change_annotation(iscrowd=[]), r"annotation 8 has iscrowd \[\], not 0 or 1"),
        (change_annotation(category_id=True), "annotation 8 is of category True"),
        (change_annotation(image_id=True), "annotation 8 is of image True"),
        (change_annotation(bbox=[1, 2, 3, True]), "annotation 8 has bbox"),
        (add_image(id=True), "has no id; add a whole number or a text"),
        (add_image(width=30.5), "image 6 is of 30.5 x 20 pixels"),
        (add_image(height=True), "image 6 is of 30 x True pixels"),
        (add_image(neg_category_ids=[True]), "image 6 names an unknown category"),
        (add_image(neg_category_ids="1"), "image 6 names an unknown category"),
        (add_records("categories", {"id": False, "name": "cow"}), "needs a whole number as id, and a name"),
        (add_records("annotations", 3, None), r"annotation number 3 has to have .* \(2 of 4 annotations are wrong\)"),
        (
            change_annotation(segmentation=box_run_lengths((20, 30), (1, 1, 2, 2))),
            r"annotation 8 has a mask of size \[30, 20\], and its",
        ),
        (add_records("categories", {"id": 3, "name": "cow"}), "category id 3 is there twice, car and cow"),
        (add_records("categories", {"id": 4, "name": "car"}), "category name car is there twice, ids 3 and 4"),
        (
            add_records("categories", {"id": "4", "name": "cow"}),
            "category {'id': '4', 'name': 'cow'} needs a whole number as id, and a name",
        ),
        (add_records("categories", {"id": 4, "name": " "}), "needs a whole number as id, and a name"),
        (add_records("categories", "cow"), "category 'cow' needs a whole number as id"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path: Path, change: Callable[[Json], None], says: str) -> None:
    """The error is one line that names the file and the wrong image, annotation or category."""
    content = file_content(make_annotation(), make_annotation())
    change(content)
    with pytest.raises(BobError, match=says) as caught:
        read_file(tmp_path, content)
    assert str(caught.value).startswith(f"{tmp_path / 'notes.json'}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", '{"images": [', "\xff", "[" * 100_000])
def test_a_file_that_is_no_json_is_refused(tmp_path: Path, text: str) -> None:
    """A file that is cut off, in another encoding or nested too deep raises an error of one line."""
    path = tmp_path / "notes.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(BobError, match=r"notes.json cannot be read as JSON \(.*\); get the file again") as caught:
        read_coco(path, tmp_path)
    assert "\n" not in str(caught.value)
    path.write_text("3")
    with pytest.raises(BobError, match="no list 'images'"):
        read_coco(path, tmp_path)


def test_annotations_of_one_id_are_harmless(tmp_path: Path) -> None:
    """Two annotations may have the same id, since nothing is looked up by it."""
    [objects] = read_file(tmp_path, file_content(make_annotation(), make_annotation())).images.objects
    assert len(objects) == 2


def test_an_image_file_that_is_listed_twice_is_refused(tmp_path: Path) -> None:
    """One image file under two ids is refused, also where its path is written in two ways."""
    content = file_content(make_annotation())
    add_image(file_name="./a.png")(content)
    with pytest.raises(BobError, match=r"x: a.png is listed twice"):
        annotated_split("train", "x", read_file(tmp_path, content).images, ("a", "b", "c"))


def read_images(tmp_path: Path, count: int) -> CocoFile:
    """Read a file of images of 8 x 8 pixels, with one object on the first."""
    content = file_content(make_annotation(image_id=0))
    content["images"] = [{"id": i, "file_name": f"{i:03}.png", "width": 8, "height": 8} for i in range(count)]
    for image in content["images"]:
        write_image(tmp_path / image["file_name"], (8, 8))
    return read_file(tmp_path, content)


def test_up_to_one_in_a_hundred_images_may_be_missing(tmp_path: Path) -> None:
    """One missing image of a hundred stays in the split and cannot be read; two are refused and named."""
    file = read_images(tmp_path, 100)
    (tmp_path / "042.png").unlink()
    split = annotated_split("train", "mine's train", file.images, file.classes)
    assert len(split) == 100
    with pytest.raises(UnreadableImage, match=r"042.png"):
        split.image(42)
    assert split.image(43).size == (8, 8)
    (tmp_path / "007.png").unlink()
    with pytest.raises(BobError, match=r"mine's train: 2 of 100 images are not in .*: 007.png, 042.png; at most 1%"):
        annotated_split("train", "mine's train", file.images, file.classes)


def fingerprint(folder: Path, change: Callable[[Json], object] = lambda content: None) -> str:
    """Return the fingerprint of three images whose annotations were changed."""
    content = coco_content(count=3)
    change(content)
    file = read_file(folder, content)
    return annotated_split("train", "x", file.images, file.classes).fingerprint


def change_first_annotation(**fields: Any) -> Callable[[Json], object]:
    """Change the first annotation."""
    return lambda content: content["annotations"][0].update(fields)


def change_first_image(**fields: Any) -> Callable[[Json], object]:
    """Change the first image."""
    return lambda content: content["images"][0].update(fields)


POINTS = [1, 1, 9, 1, 9, 9, 1, 9, 2, 2, 8, 2, 8, 8]
"""Corners that can be divided into two polygons in two ways."""

SIZE = (44, 60)
"""(height, width) of the image with the first annotations."""


def test_a_fingerprint_covers_all_annotations(tmp_path: Path) -> None:
    """Every change of an annotation, a mask of any form, an image's size or LVIS lists, or the classes changes it."""
    write_listed_images(tmp_path, coco_content(count=3))
    text = rle.frPyObjects(box_run_lengths(SIZE, (10, 22, 12, 10)), 60, 44)["counts"].decode()
    changes: list[Callable[[Json], object]] = [
        change_first_annotation(bbox=[4.25, 3.25, 16, 12]),
        change_first_annotation(category_id=3),
        change_first_annotation(area=5),
        change_first_annotation(iscrowd=1),
        change_first_annotation(segmentation=box_polygon(4.25, 3.25, 16, 12)),
        change_first_annotation(segmentation=box_polygon(4.5, 3.25, 16, 12) * 2),
        change_first_annotation(segmentation=[box_polygon(4.5, 3.25, 16, 12)[0] * 2]),
        change_first_annotation(segmentation=[POINTS[:6], POINTS[6:]]),
        change_first_annotation(segmentation=[POINTS[:8], POINTS[8:]]),
        change_first_annotation(segmentation=box_run_lengths(SIZE, (4, 3, 16, 12))),
        change_first_annotation(segmentation=box_run_lengths(SIZE, (4, 3, 16, 13))),
        change_first_annotation(segmentation={"size": [60, 44], "counts": text}),
        lambda content: content["annotations"].pop(0),
        change_first_image(neg_category_ids=[1]),
        change_first_image(neg_category_ids=[3]),
        change_first_image(not_exhaustive_category_ids=[1]),
        lambda content: content["images"][2].update(width=53),
        lambda content: content["categories"].append({"id": 91, "name": "hat"}),
    ]
    values = [fingerprint(tmp_path), *(fingerprint(tmp_path, change) for change in changes)]
    assert len(set(values)) == len(changes) + 1


def test_a_fingerprint_covers_nothing_else(tmp_path: Path) -> None:
    """It does not depend on the folder or the order of images, but on the bytes of files."""
    write_listed_images(tmp_path / "here", coco_content(count=3))
    first = fingerprint(tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    assert fingerprint(tmp_path / "there") == first
    assert fingerprint(tmp_path / "there", lambda content: content["images"].reverse()) == first
    path = tmp_path / "there" / coco_content(count=3)["images"][0]["file_name"]
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    assert fingerprint(tmp_path / "there") != first


def test_a_split_is_in_the_order_of_paths(tmp_path: Path) -> None:
    """Targets, objects, images and clusters are sorted by path, whatever the file's order."""
    content = coco_content(count=4)
    write_listed_images(tmp_path, content)
    content["images"].reverse()
    file = read_file(tmp_path, content)
    split = annotated_split("test", "x", file.images, file.classes)
    assert split.ids == split.clusters == tuple(sorted(image["file_name"] for image in content["images"]))
    assert split.objects is not None
    for i, objects in enumerate(split.objects):
        assert split.image(i).size == (objects.width, objects.height)
    assert split.targets.dtype == np.uint8
    assert split.targets.tolist() == [[1, 1, 1]] * 3 + [[0, 0, 0]]
    assert json.loads(json.dumps(split.objects[0].canonical))["labels"] == [0, 2, 1, 0]
