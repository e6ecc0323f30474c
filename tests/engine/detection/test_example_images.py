"""Example images of detections: which images, what is stored of each, their size, and where they are stored."""

import base64
import io
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faster_coco_eval.core import mask as coco
from PIL import Image, ImageDraw

from bob_gauntlet.datasets.dataset import Dataset, Split
from bob_gauntlet.datasets.images import UnreadableImage
from bob_gauntlet.datasets.objects import ImageObjects
from bob_gauntlet.datasets.rle import encode_mask
from bob_gauntlet.engine.detection.example_images import (
    IMAGE_COUNT,
    MAX_BYTES,
    MAX_OBJECTS,
    MAX_SIDE,
    MIN_SCORE,
    choose_examples,
    describe_example_images,
    trace_outline,
)
from bob_gauntlet.metrics.detections import Detections
from bob_gauntlet.protocols import detection
from bob_gauntlet.runtime.artifacts import Artifacts
from bob_gauntlet.runtime.context import RunContext
from bob_gauntlet.runtime.schema import json_schema
from bob_gauntlet.scores.pictures import PicturesDict

CLASSES = ("cat", "dog")
BOX = (10, 20, 30, 40)


def rectangle(size: tuple[int, int] = (80, 100), at: tuple[int, int, int, int] = BOX) -> np.ndarray:
    """Return a (height, width) mask that fills a box of left, top, width, height."""
    left, top, width, height = at
    mask = np.zeros(size, bool)
    mask[top : top + height, left : left + width] = True
    return mask


def objects(*boxes: Any, width: int = 100, height: int = 80, masks: bool = True, crowd: bool = False) -> ImageObjects:
    """Return objects of the class "dog" that fill their boxes."""
    return ImageObjects(
        width, height, np.array(boxes, np.float64).reshape(-1, 4), np.ones(len(boxes), np.int64),
        np.array([box[2] * box[3] for box in boxes], np.float64), np.full(len(boxes), crowd),
        tuple(encode_mask(rectangle((height, width), box)) for box in boxes) if masks else (),
    )  # fmt: skip


def split(annotated: ImageObjects | None = None, count: int = 1, image: Any = None) -> Split:
    """Return `count` images with the same objects: blue, and red inside the box."""
    each = objects(BOX) if annotated is None else annotated
    ids = tuple(f"scene-{index:03}" for index in range(count))

    def blue(index: int) -> Image.Image:
        drawn = Image.new("RGB", (each.width, each.height), (0, 0, 255))
        left, top, width, height = BOX
        ImageDraw.Draw(drawn).rectangle((left, top, left + width - 1, top + height - 1), (255, 0, 0))
        return drawn

    targets = np.tile(np.array([0, 1], np.uint8), (count, 1))
    return Split("test", f"s{count}", ids, targets, image or blue, ids, (each,) * count)


def detections(*rows: tuple[int, float], box: Any = BOX, size: tuple[int, int] | None = (80, 100)) -> Detections:
    """Return detections of cats in a box for each (image, score), with masks unless `size` is None."""
    mask = coco.encode(np.asfortranarray(rectangle(size, box), np.uint8))["counts"] if size else b""
    return Detections(
        np.array([image for image, _ in rows], np.int64), np.tile(np.array(box, np.float32), (len(rows), 1)),
        np.array([score for _, score in rows], np.float32), np.zeros(len(rows), np.int64),
        (mask,) * len(rows) if size else (),
    )  # fmt: skip


def single_entry(made: dict[str, Any]) -> dict[str, Any]:
    """Return the only example image."""
    [entry] = made["pictures"]
    return dict(entry)


def decode_image(made: dict[str, Any]) -> Image.Image:
    """Return the pixels of a stored image."""
    return Image.open(io.BytesIO(base64.b64decode(made["jpeg"]))).convert("RGB")


@pytest.mark.parametrize(
    ("count", "expected"), [(120, [10, 30, 50, 70, 90, 110]), (7, [0, 1, 2, 4, 5, 6]), (3, [0, 1, 2]), (0, [])]
)
def test_images_are_evenly_spaced(count: int, expected: list[int]) -> None:
    """They are the middles of six equal parts: of 120 images, ten from either end and twenty apart."""
    ids = [f"{index:04}" for index in range(count)]
    assert choose_examples(ids) == expected
    assert [ids[::-1][index] for index in choose_examples(ids[::-1])] == [ids[index] for index in expected]


def test_the_rule_knows_no_detections() -> None:
    """The same images are chosen for any detections."""
    whole = split(count=20)
    shown = [
        [entry["id"] for entry in describe_example_images(predicted, whole, CLASSES)["pictures"]]
        for predicted in (detections(), detections((3, 0.9), (4, 0.9)))
    ]
    assert shown[0] == shown[1] == [whole.ids[index] for index in (1, 5, 8, 11, 15, 18)]
    assert len(shown[0]) == IMAGE_COUNT


def test_an_image_has_its_objects_and_detections() -> None:
    """It has boxes and outlines in its pixels, class names and scores."""
    made = describe_example_images(detections((0, 0.9)), split(), CLASSES)
    entry = single_entry(made)
    assert (entry["id"], entry["width"], entry["height"]) == ("scene-000", 100, 80)
    [annotated], [detected] = entry["objects"], entry["detections"]
    assert (annotated["box"], annotated["class"], annotated["label"]) == ([10, 20, 30, 40], "dog", 1)
    assert annotated["crowd"] is False
    assert (detected["box"], detected["class"], detected["label"]) == ([10, 20, 30, 40], "cat", 0)
    assert detected["score"] == 0.9
    for described in (annotated, detected):
        [polygon] = described["outline"]
        corners = np.array(polygon).reshape(-1, 2)
        assert corners.min(axis=0) == pytest.approx([10, 20], abs=0.3)
        assert corners.max(axis=0) == pytest.approx([40, 60], abs=0.3)
    assert (made["role"], made["images"], made["least_score"], made["most"]) == ("test", 1, MIN_SCORE, MAX_OBJECTS)
    assert json.loads(json.dumps(made)) == made


def test_the_pixels_are_those_of_the_image() -> None:
    """The stored image is red inside the box and blue around it."""
    image = decode_image(single_entry(describe_example_images(detections(), split(), CLASSES)))
    assert image.size == (100, 80)
    assert image.getpixel((25, 40)) == pytest.approx((255, 0, 0), abs=6)
    assert image.getpixel((70, 40)) == pytest.approx((0, 0, 255), abs=6)


def test_a_large_image_is_scaled_with_all_that_is_on_it() -> None:
    """For an image four times as large as MAX_SIDE every number is a quarter."""
    large = objects((400, 80, 200, 160), width=4 * MAX_SIDE, height=2 * MAX_SIDE)
    predicted = detections((0, 0.9), box=(400, 80, 200, 160), size=(2 * MAX_SIDE, 4 * MAX_SIDE))
    entry = single_entry(describe_example_images(predicted, split(large), CLASSES))
    assert (entry["width"], entry["height"]) == decode_image(entry).size == (MAX_SIDE, MAX_SIDE // 2)
    for described in (entry["objects"][0], entry["detections"][0]):
        assert described["box"] == [100, 20, 50, 40]
        assert np.array(described["outline"][0]).reshape(-1, 2).max(axis=0) == pytest.approx([150, 60], abs=0.3)


def test_only_detections_with_a_score_are_kept_best_first_and_not_too_many() -> None:
    """The best detections of the image from MIN_SCORE on are kept, and the largest objects."""
    many = [(0, 0.31 + index / 100) for index in range(MAX_OBJECTS + 5)]
    entry = single_entry(describe_example_images(detections((0, MIN_SCORE - 0.01), *many), split(), CLASSES))
    scores = [detected["score"] for detected in entry["detections"]]
    assert scores == sorted((round(score, 4) for _, score in many), reverse=True)[:MAX_OBJECTS]
    few = describe_example_images(detections((0, 0.2), (0, 0.8), (1, 0.9)), split(count=2), CLASSES)["pictures"]
    assert [[detected["score"] for detected in each["detections"]] for each in few] == [[0.8], [0.9]]
    crowded = split(objects(*[(0, 0, side, side) for side in range(1, MAX_OBJECTS + 6)]))
    sides = [one["box"][2] for one in single_entry(describe_example_images(detections(), crowded, CLASSES))["objects"]]
    assert sides == [*range(MAX_OBJECTS + 5, 5, -1)]


@pytest.mark.parametrize(("annotated", "size"), [(True, None), (False, None)])
def test_boxes_alone_have_no_outlines(annotated: bool, size: None) -> None:
    """Neither objects nor detections have outlines if one of them has no masks."""
    whole = split(objects(BOX, masks=annotated))
    entry = single_entry(describe_example_images(detections((0, 0.9), size=size), whole, CLASSES))
    assert entry["objects"][0]["outline"] == entry["detections"][0]["outline"] == []


def test_a_crowd_is_one() -> None:
    """A crowd is marked, so that a report can say so."""
    entry = single_entry(describe_example_images(detections(), split(objects(BOX, crowd=True)), CLASSES))
    assert entry["objects"][0]["crowd"] is True


def test_an_image_that_cannot_be_read_is_grey() -> None:
    """It has the annotated size, its objects and its detections."""

    def broken(index: int) -> Image.Image:
        raise UnreadableImage("scene-000 (truncated)")

    entry = single_entry(describe_example_images(detections((0, 0.9)), split(image=broken), CLASSES))
    assert decode_image(entry).getcolors() == [(8000, (128, 128, 128))]
    assert len(entry["detections"]) == len(entry["objects"]) == 1


@pytest.mark.parametrize("mask", [np.zeros((9, 9)), np.eye(1, 9)], ids=["nothing", "a pixel"])
def test_too_little_has_no_outline(mask: np.ndarray) -> None:
    """An empty mask and a mask of one pixel have no outline, since a polygon needs three corners."""
    assert trace_outline(mask) == []


def test_a_hole_and_a_second_piece_are_polygons_of_their_own() -> None:
    """A ring and a square have three polygons, whose areas are those of the mask."""
    mask = rectangle(at=(10, 10, 40, 40)) & ~rectangle(at=(20, 20, 20, 20)) | rectangle(at=(60, 10, 20, 20))
    polygons = [np.array(corners).reshape(-1, 2) for corners in trace_outline(mask)]
    areas = [(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2 for x, y in (polygon.T for polygon in polygons)]
    assert sorted(abs(area) for area in areas) == pytest.approx([400, 400, 1600], rel=0.07)


@pytest.mark.parametrize(("count", "radius", "most"), [(7, 50, 100_000), (MAX_OBJECTS, 100, 220_000)])
def test_they_weigh_little(count: int, radius: int, most: int) -> None:
    """Detailed images of COCO's size fit the limits, with seven objects and detections each and with the most."""
    coarse = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    photo = Image.fromarray(coarse).resize((640, 480), Image.Resampling.BICUBIC)
    y, x = np.indices((480, 640))
    disc = (x - 320) ** 2 + (y - 240) ** 2 < radius**2
    box = (320 - radius, 240 - radius, 2 * radius, 2 * radius)
    annotated = replace(objects(*[box] * count, width=640, height=480), masks=(encode_mask(disc),) * count)
    rows = [(image, 0.9) for image in range(IMAGE_COUNT) for _ in range(count)]
    packed = coco.encode(np.asfortranarray(disc, np.uint8))["counts"]
    predicted = replace(detections(*rows, box=box, size=None), masks=(packed,) * len(rows))
    made = describe_example_images(predicted, split(annotated, IMAGE_COUNT, lambda index: photo), CLASSES)
    assert all(len(base64.b64decode(each["jpeg"])) <= MAX_BYTES for each in made["pictures"])
    assert all(len(each["detections"]) == len(each["objects"]) == count for each in made["pictures"])
    assert len(json.dumps(made)) < most


@dataclass
class FakeDetector:
    """A trained detector of one seed, as `evaluate_detectors` uses it."""

    seed: int
    stored: Detections

    @property
    def facts(self) -> dict[str, Any]:
        names = ("runs", "micro_batch", "effective_batch", "drop_path", "train_images", "validation_images")
        return {**dict.fromkeys(names, 1), "chosen": {}, "judged": [0.0], "curve": {}, "unreadable_images": 0}

    def detections_key(self, split: Split) -> dict[str, Any]:
        return {"network": f"n{self.seed}", "split": split.fingerprint}

    def detections(self, split: Split, context: RunContext) -> Detections:
        return self.stored


@dataclass(frozen=True)
class Trained(detection.Detection):
    """The recipe with trained detectors: that of seed 0 detects everything, that of seed 1 nothing."""

    def detectors(self, *asked: Any) -> Any:
        return [FakeDetector(0, detections((0, 0.9), (1, 0.8))), FakeDetector(1, detections((0, 0.1)))]


def test_example_images_of_the_first_seed_are_stored(tmp_path: Path) -> None:
    """They are stored under the key of its detections, and only the first measure refers to them."""
    whole = split(count=2)
    context = RunContext(Artifacts(tmp_path), seeds=(0, 1))
    dataset = Dataset("d", {"test": whole}, CLASSES)
    measured = list(detection.evaluate_detectors(Trained(), None, dataset, context, {}))  # type: ignore[arg-type]
    assert [each.metric for each in measured] == [
        f"{metric}_{kind}" for kind in ("box", "mask") for metric in ("ap", "ap50", "ap75")
    ]
    where = [each.details.get("pictures") for each in measured]
    assert where == [{"kind": "pictures", "key": {"network": "n0", "split": "s2"}}] + [None] * 5
    key, schema = measured[0].details["detections"]["key"], json_schema(PicturesDict)
    kept = context.artifacts.peek("pictures", key, schema)
    assert kept is not None
    assert json.loads(kept["json"].tobytes()) == describe_example_images(detections((0, 0.9), (1, 0.8)), whole, CLASSES)
