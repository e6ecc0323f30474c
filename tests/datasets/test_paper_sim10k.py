"""Tests of Sim10k and Cityscapes: cars from XML and from polygons, what hides them, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from bob_gauntlet.datasets.locations import DataLocations
from bob_gauntlet.datasets.paper.cityscapes import Shape, load_cityscapes, visible_cars
from bob_gauntlet.datasets.paper.sim10k import load_sim10k, load_sim10k_cityscapes
from bob_gauntlet.datasets.rle import decode_mask
from bob_gauntlet.errors import BobError, MissingError
from tests.helpers.detection_trees import (
    SIZES,
    city_polygon,
    cityscapes,
    sim10k,
    sim10k_cityscapes,
    voc_xml,
    write_json,
)


def test_both_are_read(tmp_path: Path) -> None:
    """Train is Sim10k and test the val of Cityscapes; the only class is car, and images without cars are kept."""
    sim10k_cityscapes(tmp_path)
    dataset = load_sim10k_cityscapes(DataLocations(tmp_path))
    assert (dataset.name, dataset.classes, list(dataset.splits)) == ("sim10k-cityscapes", ("car",), ["train", "test"])
    assert dataset["train"].targets.tolist() == [[1]] * 5 + [[0]]
    assert dataset["test"].targets.tolist() == [[1]] * 3 + [[0]]
    assert dataset["test"].ids[2] == "leftImg8bit/val/munster/munster_000002_000019_leftImg8bit.png"
    for split in dataset.splits.values():
        assert split.objects is not None
        for i, objects in enumerate(split.objects):
            assert split.image(i).size == (objects.width, objects.height)


@pytest.mark.parametrize("inner", ["VOC2012", ""])
def test_boxes_of_sim10k(tmp_path: Path, inner: str) -> None:
    """Boxes reach from edge to edge, only cars are kept, and there are no masks."""
    sim10k(tmp_path, inner)
    split = load_sim10k(DataLocations(tmp_path))["train"]
    assert split.ids == tuple(f"JPEGImages/{3384645 + i}.jpg" for i in range(6))
    assert split.objects is not None
    assert [(objects.width, objects.height) for objects in split.objects] == list(SIZES)
    assert split.objects[0].boxes.tolist() == [[3, 4, 18, 14], [20, 20, 18, 16]]
    assert split.objects[0].areas.tolist() == [252, 288]
    assert all(objects.masks == () and not objects.crowd.any() for objects in split.objects)
    assert len(split.objects[5]) == 0


def test_a_size_that_xml_lacks_is_read_from_the_image(tmp_path: Path) -> None:
    """A size that the XML does not state is read from the header of the image."""
    sim10k(tmp_path)
    path = tmp_path / "sim10k/VOC2012/Annotations/3384646.xml"
    path.write_text(path.read_text().replace("size>", "shape>"))
    objects = load_sim10k(DataLocations(tmp_path))["train"].objects
    assert objects is not None
    assert (objects[1].width, objects[1].height) == SIZES[1]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<annotation>",
        voc_xml((8, 8), [("car", (1, 2, 3, 4))]).replace("xmax", "x"),
        voc_xml((8, 8), [("car", (1, 2, 3, 4))]).replace(">3<", ">three<"),
        voc_xml((8, 8), [("car", (1, 2, 3, 4))]).replace(">3<", ">nan<"),
        voc_xml((8, 8), []).replace("width>", "wide>"),
    ],
    ids=["empty", "cut off", "no edge", "no number", "not finite", "no width"],
)
def test_wrong_xml_is_one_line(tmp_path: Path, text: str) -> None:
    """Wrong XML raises an error of one line that names the file."""
    sim10k(tmp_path)
    (tmp_path / "sim10k/VOC2012/Annotations/3384647.xml").write_text(text)
    with pytest.raises(BobError, match=r"3384647.xml is not an annotation in PASCAL VOC's format \(.*\)") as caught:
        load_sim10k(DataLocations(tmp_path))
    assert "\n" not in str(caught.value)


def test_cars_of_cityscapes(tmp_path: Path) -> None:
    """A pole hides three columns of the first car and nothing of the second, and a group of cars is a crowd.

    The first car has 20 x 14 pixels, from 4 to 23 and from 8 to 21: 280 less 3 x 14 is 238. The second has 20 x 20.
    """
    cityscapes(tmp_path)
    split = load_cityscapes(DataLocations(tmp_path))["test"]
    assert len(split) == 4
    assert split.objects is not None
    objects = split.objects[0]
    assert (objects.width, objects.height) == (64, 40)
    assert objects.boxes.tolist() == [[4, 8, 20, 14], [40, 2, 21, 8], [30, 15, 20, 20]]
    assert objects.areas.tolist() == [238, 168, 400]
    assert objects.crowd.tolist() == [False, True, False]
    assert objects.learnable.tolist() == [True, False, True]
    mask = decode_mask(objects.masks[0])
    assert (mask.sum(), mask[8:22, 10:13].sum(), mask[8, 4], mask[21, 23]) == (238, 0, 1, 1)
    assert len(split.objects[3]) == 0


RECTANGLES = st.lists(
    st.tuples(
        st.sampled_from(["car", "cargroup", "pole"]),
        *(st.integers(-6, 20) for _ in range(2)),
        *(st.integers(0, 12) for _ in range(2)),
    ),
    max_size=6,
)


@settings(deadline=None)
@given(rectangles=RECTANGLES)
def test_visible_pixels_of_cars(rectangles: list[tuple[str, int, int, int, int]]) -> None:
    """Boxes, areas and masks equal those of a canvas that is painted by hand, also beyond the edges of the image."""
    canvas = np.zeros((15, 18), int)
    shapes = []
    for number, (label, x, y, w, h) in enumerate(rectangles, 1):
        shapes.append(Shape(label, [(x, y), (x + w, y), (x + w, y + h), (x, y + h)]))
        canvas[max(y, 0) : max(y + h + 1, 0), max(x, 0) : max(x + w + 1, 0)] = number
    cars = visible_cars(18, 15, shapes)
    numbers = [i for i, shape in enumerate(shapes, 1) if shape.label != "pole" and (canvas == i).any()]
    assert len(cars) == len(cars.masks) == len(numbers)
    for i, number in enumerate(numbers):
        visible = canvas == number
        rows, columns = np.nonzero(visible)
        left, top = columns.min(), rows.min()
        assert cars.boxes[i].tolist() == [left, top, columns.max() + 1 - left, rows.max() + 1 - top]
        assert cars.areas[i] == visible.sum()
        assert (decode_mask(cars.masks[i]) == visible).all()
        assert cars.crowd[i] == (shapes[number - 1].label == "cargroup")


def test_a_slanted_polygon_is_filled_as_the_publisher_fills_it() -> None:
    """PIL fills the polygon with its corners and edges, as the publisher does; a hidden car is left out."""
    corners = [(2.0, 3.0), (20.0, 1.0), (17.0, 14.0), (5.0, 11.0)]
    image = Image.new("L", (24, 18))
    ImageDraw.Draw(image).polygon(corners, fill=1)
    cars = visible_cars(24, 18, [Shape("car", corners)])
    assert (decode_mask(cars.masks[0]) == np.asarray(image)).all()
    whole = [(0.0, 0.0), (23.0, 0.0), (23.0, 17.0), (0.0, 17.0)]
    assert len(visible_cars(24, 18, [Shape("car", corners), Shape("sky", whole)])) == 0
    assert visible_cars(24, 18, [Shape("car", whole)]).masks[0]["counts"] == [0, 24 * 18]


def test_a_license_plate_hides_nothing(tmp_path: Path) -> None:
    """A license plate does not hide the car, as in the publisher's instance images."""
    cityscapes(tmp_path)
    [path] = (tmp_path / "cityscapes/gtFine/val/munster").glob("munster_000003*")
    shapes = [city_polygon("car", 4, 8, 23, 21), city_polygon("license plate", 10, 10, 12, 12)]
    write_json(path, {"imgHeight": 40, "imgWidth": 64, "objects": shapes})
    objects = load_cityscapes(DataLocations(tmp_path))["test"].objects
    assert objects is not None
    assert objects[3].areas.tolist() == [280]


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"imgHeight": 40, "imgWidth": 64}',
        '{"imgHeight": 40, "imgWidth": 64, "objects": [{"polygon": []}]}',
        '{"imgHeight": 40, "imgWidth": 64, "objects": [{"label": "car", "polygon": [[1, 1], [2, 2]]}]}',
        '{"imgHeight": 40, "imgWidth": 64, "objects": [{"label": "car", "polygon": [[1, 1], [2, 2], [3, NaN]]}]}',
        '{"imgHeight": 40, "imgWidth": 64, "objects": [{"label": "car", "polygon": [[1, 1, 1], [2, 2]]}]}',
        '{"imgWidth": 64, "objects": []}',
        '{"imgHeight": 40, "imgWidth": 64, "objects": ["car"]}',
    ],
)
def test_wrong_polygons_are_one_line(tmp_path: Path, content: str) -> None:
    """Wrong polygons raise an error of one line that names the file."""
    cityscapes(tmp_path)
    path = tmp_path / "cityscapes/gtFine/val/munster/munster_000003_000019_gtFine_polygons.json"
    path.write_text(content)
    with pytest.raises(BobError, match=r"munster_000003_.*json holds no polygons of Cityscapes \(") as caught:
        load_cityscapes(DataLocations(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("load", "inner", "problem"),
    [
        (load_sim10k, "sim10k/VOC2012/JPEGImages", r"sim10k: no \*.xml in .*Annotations; `bob data sim10k`"),
        (load_cityscapes, "cityscapes/leftImg8bit", r"cityscapes: no CITY/\*_gtFine_polygons.json in .*gtFine/val"),
    ],
)
def test_images_alone_are_not_enough(
    tmp_path: Path, load: Callable[[DataLocations], object], inner: str, problem: str
) -> None:
    """Without files data is missing, and with images only, the missing annotations are an error."""
    with pytest.raises(MissingError):
        load(DataLocations(tmp_path))
    (tmp_path / inner).mkdir(parents=True)
    with pytest.raises(BobError, match=problem):
        load(DataLocations(tmp_path))


def test_each_may_be_declared(tmp_path: Path) -> None:
    """Either folder may be declared, and the error about a missing one names both datasets."""
    sim10k_cityscapes(tmp_path)
    (tmp_path / "cityscapes").rename(tmp_path / "streets")
    with pytest.raises(MissingError, match=r"is made of sim10k and cityscapes: cityscapes is not in .*cityscapes;"):
        load_sim10k_cityscapes(DataLocations(tmp_path))
    dataset = load_sim10k_cityscapes(DataLocations(tmp_path, {"cityscapes": tmp_path / "streets"}))
    assert len(dataset["test"]) == 4
