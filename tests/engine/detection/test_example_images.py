"""Pictures of detections: which images, what is said of each, how little they weigh, and where they are kept."""

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

CLASSES = ("cat", "dog")
BOX = (10, 20, 30, 40)


def rectangle(size: tuple[int, int] = (80, 100), at: tuple[int, int, int, int] = BOX) -> np.ndarray:
    """A (height, width) mask that fills a box of left, top, width, height."""
    left, top, width, height = at
    mask = np.zeros(size, bool)
    mask[top : top + height, left : left + width] = True
    return mask


def objects(*boxes: Any, width: int = 100, height: int = 80, masks: bool = True, crowd: bool = False) -> ImageObjects:
    """Dogs that fill their boxes."""
    return ImageObjects(
        width, height, np.array(boxes, np.float64).reshape(-1, 4), np.ones(len(boxes), np.int64),
        np.array([box[2] * box[3] for box in boxes], np.float64), np.full(len(boxes), crowd),
        tuple(encode_mask(rectangle((height, width), box)) for box in boxes) if masks else (),
    )  # fmt: skip


def split(own: ImageObjects | None = None, count: int = 1, image: Any = None) -> Split:
    """As many images with the same objects: blue, red inside the box."""
    own = objects(BOX) if own is None else own
    ids = tuple(f"scene-{index:03}" for index in range(count))

    def blue(index: int) -> Image.Image:
        found = Image.new("RGB", (own.width, own.height), (0, 0, 255))
        left, top, width, height = BOX
        ImageDraw.Draw(found).rectangle((left, top, left + width - 1, top + height - 1), (255, 0, 0))
        return found

    targets = np.tile(np.array([0, 1], np.uint8), (count, 1))
    return Split("test", f"s{count}", ids, targets, image or blue, ids, (own,) * count)


def detections(*rows: tuple[int, float], box: Any = BOX, size: tuple[int, int] | None = (80, 100)) -> Detections:
    """(image, score) each: cats in a box, with masks where they have a size."""
    mask = coco.encode(np.asfortranarray(rectangle(size, box), np.uint8))["counts"] if size else b""
    return Detections(
        np.array([image for image, _ in rows], np.int64), np.tile(np.array(box, np.float32), (len(rows), 1)),
        np.array([score for _, score in rows], np.float32), np.zeros(len(rows), np.int64),
        (mask,) * len(rows) if size else (),
    )  # fmt: skip


def only(made: dict[str, Any]) -> dict[str, Any]:
    """The only picture."""
    [found] = made["pictures"]
    return dict(found)


def decoded(made: dict[str, Any]) -> Image.Image:
    """A picture's pixels."""
    return Image.open(io.BytesIO(base64.b64decode(made["jpeg"]))).convert("RGB")


@pytest.mark.parametrize(
    ("count", "expected"), [(120, [10, 30, 50, 70, 90, 110]), (7, [0, 1, 2, 4, 5, 6]), (3, [0, 1, 2]), (0, [])]
)
def test_images_are_evenly_spaced(count: int, expected: list[int]) -> None:
    """The middles of six equal parts: of 120, ten from either end and twenty apart."""
    ids = [f"{index:04}" for index in range(count)]
    assert choose_examples(ids) == expected
    assert [ids[::-1][index] for index in choose_examples(ids[::-1])] == [ids[index] for index in expected]


def test_the_rule_knows_no_detections() -> None:
    """Whatever is found, and on which images, the same ones are shown."""
    whole = split(count=20)
    shown = [
        [each["id"] for each in describe_example_images(found, whole, CLASSES)["pictures"]]
        for found in (detections(), detections((3, 0.9), (4, 0.9)))
    ]
    assert shown[0] == shown[1] == [whole.ids[index] for index in (1, 5, 8, 11, 15, 18)]
    assert len(shown[0]) == IMAGE_COUNT


def test_a_picture_says_what_is_there_and_what_was_found() -> None:
    """Boxes and outlines in its pixels, classes by name, scores."""
    made = describe_example_images(detections((0, 0.9)), split(), CLASSES)
    own = only(made)
    assert (own["id"], own["width"], own["height"]) == ("scene-000", 100, 80)
    [there], [found] = own["objects"], own["detections"]
    assert (there["box"], there["class"], there["label"], there["crowd"]) == ([10, 20, 30, 40], "dog", 1, False)
    assert (found["box"], found["class"], found["label"], found["score"]) == ([10, 20, 30, 40], "cat", 0, 0.9)
    for one in (there, found):
        [polygon] = one["outline"]
        corners = np.array(polygon).reshape(-1, 2)
        assert corners.min(axis=0) == pytest.approx([10, 20], abs=0.3)
        assert corners.max(axis=0) == pytest.approx([40, 60], abs=0.3)
    assert (made["role"], made["images"], made["least_score"], made["most"]) == ("test", 1, MIN_SCORE, MAX_OBJECTS)
    assert json.loads(json.dumps(made)) == made


def test_the_pixels_are_those_of_the_image() -> None:
    """Red inside the box, blue around it."""
    image = decoded(only(describe_example_images(detections(), split(), CLASSES)))
    assert image.size == (100, 80)
    assert image.getpixel((25, 40)) == pytest.approx((255, 0, 0), abs=6)
    assert image.getpixel((70, 40)) == pytest.approx((0, 0, 255), abs=6)


def test_a_large_image_is_scaled_with_all_that_is_on_it() -> None:
    """Four times as large as SIDE: every number a quarter."""
    large = objects((400, 80, 200, 160), width=4 * MAX_SIDE, height=2 * MAX_SIDE)
    found = detections((0, 0.9), box=(400, 80, 200, 160), size=(2 * MAX_SIDE, 4 * MAX_SIDE))
    own = only(describe_example_images(found, split(large), CLASSES))
    assert (own["width"], own["height"]) == decoded(own).size == (MAX_SIDE, MAX_SIDE // 2)
    for one in (own["objects"][0], own["detections"][0]):
        assert one["box"] == [100, 20, 50, 40]
        assert np.array(one["outline"][0]).reshape(-1, 2).max(axis=0) == pytest.approx([150, 60], abs=0.3)


def test_only_detections_with_a_score_are_kept_best_first_and_not_too_many() -> None:
    """Those of the image alone; the largest objects."""
    many = [(0, 0.31 + index / 100) for index in range(MAX_OBJECTS + 5)]
    own = only(describe_example_images(detections((0, MIN_SCORE - 0.01), *many), split(), CLASSES))
    scores = [one["score"] for one in own["detections"]]
    assert scores == sorted((round(score, 4) for _, score in many), reverse=True)[:MAX_OBJECTS]
    few = describe_example_images(detections((0, 0.2), (0, 0.8), (1, 0.9)), split(count=2), CLASSES)["pictures"]
    assert [[one["score"] for one in each["detections"]] for each in few] == [[0.8], [0.9]]
    crowded = split(objects(*[(0, 0, side, side) for side in range(1, MAX_OBJECTS + 6)]))
    sides = [one["box"][2] for one in only(describe_example_images(detections(), crowded, CLASSES))["objects"]]
    assert sides == [*range(MAX_OBJECTS + 5, 5, -1)]


@pytest.mark.parametrize(("annotated", "size"), [(True, None), (False, None)])
def test_boxes_alone_have_no_outlines(annotated: bool, size: None) -> None:
    """Nor has an object where the detector gives none: like is shown beside like."""
    own = only(describe_example_images(detections((0, 0.9), size=size), split(objects(BOX, masks=annotated)), CLASSES))
    assert own["objects"][0]["outline"] == own["detections"][0]["outline"] == []


def test_a_crowd_is_one() -> None:
    """Marked, so that a report can say it."""
    assert (
        only(describe_example_images(detections(), split(objects(BOX, crowd=True)), CLASSES))["objects"][0]["crowd"]
        is True
    )


def test_an_image_that_cannot_be_read_is_grey() -> None:
    """Of the size that is annotated, with everything else."""

    def broken(index: int) -> Image.Image:
        raise UnreadableImage("scene-000 (truncated)")

    own = only(describe_example_images(detections((0, 0.9)), split(image=broken), CLASSES))
    assert decoded(own).getcolors() == [(8000, (128, 128, 128))]
    assert len(own["detections"]) == len(own["objects"]) == 1


@pytest.mark.parametrize("mask", [np.zeros((9, 9)), np.eye(1, 9)], ids=["nothing", "a pixel"])
def test_too_little_has_no_outline(mask: np.ndarray) -> None:
    """A polygon needs three corners."""
    assert trace_outline(mask) == []


def test_a_hole_and_a_second_piece_are_polygons_of_their_own() -> None:
    """A ring and a square: three, whose areas by even-odd are the mask's."""
    mask = rectangle(at=(10, 10, 40, 40)) & ~rectangle(at=(20, 20, 20, 20)) | rectangle(at=(60, 10, 20, 20))
    found = [np.array(one).reshape(-1, 2) for one in trace_outline(mask)]
    x = [(one[:, 0] @ np.roll(one[:, 1], 1) - one[:, 1] @ np.roll(one[:, 0], 1)) / 2 for one in found]
    assert sorted(abs(area) for area in x) == pytest.approx([400, 400, 1600], rel=0.07)


@pytest.mark.parametrize(("count", "radius", "most"), [(7, 50, 100_000), (MAX_OBJECTS, 100, 220_000)])
def test_they_weigh_little(count: int, radius: int, most: int) -> None:
    """Images as large as COCO's without a flat place: with the usual seven objects and detections, and at the worst."""
    coarse = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    photo = Image.fromarray(coarse).resize((640, 480), Image.Resampling.BICUBIC)
    y, x = np.indices((480, 640))
    disc = (x - 320) ** 2 + (y - 240) ** 2 < radius**2
    box = (320 - radius, 240 - radius, 2 * radius, 2 * radius)
    own = replace(objects(*[box] * count, width=640, height=480), masks=(encode_mask(disc),) * count)
    rows = [(image, 0.9) for image in range(IMAGE_COUNT) for _ in range(count)]
    packed = coco.encode(np.asfortranarray(disc, np.uint8))["counts"]
    found = replace(detections(*rows, box=box, size=None), masks=(packed,) * len(rows))
    made = describe_example_images(found, split(own, IMAGE_COUNT, lambda index: photo), CLASSES)
    assert all(len(base64.b64decode(each["jpeg"])) <= MAX_BYTES for each in made["pictures"])
    assert all(len(each["detections"]) == len(each["objects"]) == count for each in made["pictures"])
    assert len(json.dumps(made)) < most


@dataclass
class Found:
    """A trained detector of one seed, as `evaluate_detectors` sees it."""

    seed: int
    own: Detections

    @property
    def facts(self) -> dict[str, Any]:
        names = ("runs", "micro_batch", "effective_batch", "drop_path", "train_images", "validation_images")
        return {**dict.fromkeys(names, 1), "chosen": {}, "judged": [0.0], "curve": {}, "unreadable_images": 0}

    def detections_key(self, split: Split) -> dict[str, Any]:
        return {"network": f"n{self.seed}", "split": split.fingerprint}

    def detections(self, split: Split, context: RunContext) -> Detections:
        return self.own


@dataclass(frozen=True)
class Trained(detection.Detection):
    """Detectors that are there already: seed 0 finds everything, seed 1 nothing."""

    def detectors(self, *asked: Any) -> Any:
        return [Found(0, detections((0, 0.9), (1, 0.8))), Found(1, detections((0, 0.1)))]


def test_a_tested_detector_keeps_those_of_its_first_seed(tmp_path: Path) -> None:
    """Under the key of its detections; the setting's first measure alone says where."""
    whole = split(count=2)
    context = RunContext(Artifacts(tmp_path), seeds=(0, 1))
    dataset = Dataset("d", {"test": whole}, CLASSES)
    measured = list(detection.evaluate_detectors(Trained(), None, dataset, context, {}))  # type: ignore[arg-type]
    assert [each.metric for each in measured] == [
        f"{metric}_{kind}" for kind in ("box", "mask") for metric in ("ap", "ap50", "ap75")
    ]
    where = [each.details.get("pictures") for each in measured]
    assert where == [{"kind": "pictures", "key": {"network": "n0", "split": "s2"}}] + [None] * 5
    kept = context.artifacts.peek("pictures", measured[0].details["detections"]["key"])
    assert kept is not None
    assert json.loads(kept["json"].tobytes()) == describe_example_images(detections((0, 0.9), (1, 0.8)), whole, CLASSES)
