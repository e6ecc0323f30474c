"""Average precision against pycocotools and lvis, and its standard errors against a bootstrap."""

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lvis import LVIS, LVISEval, LVISResults
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from bob_gauntlet.datasets.objects import ImageObjects
from bob_gauntlet.errors import BobError, MissingError
from bob_gauntlet.gauntlet import _spread
from bob_gauntlet.metrics import jackknife as jackknife_module
from bob_gauntlet.metrics.detection import AveragePrecision, average_precision, federated_average_precision
from bob_gauntlet.metrics.detections import Detections
from bob_gauntlet.metrics.jackknife import hits_needed, jackknife
from bob_gauntlet.metrics.matching import IOUS, Matches, match_image, top_detections
from bob_gauntlet.runtime.artifacts import Artifacts

# pycocotools' own
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

CLASSES = ("bird", "cat", "dog", "eel", "fox", "gnu")
ABSENT, MISSED = 4, 5  # nowhere annotated, but found; annotated, but never found


def polygon(box: np.ndarray) -> list[float]:
    """A hexagon in a box."""
    left, top, width, height = box
    x = left + width * np.array([0.2, 0.8, 1, 0.8, 0.2, 0])
    y = top + height * np.array([0, 0, 0.5, 1, 1, 0.5])
    return [float(v) for v in np.stack([x, y], 1).ravel().round(2)]


def compressed(polygons: list[list[float]], height: int, width: int) -> dict[str, Any]:
    """COCO's compressed run lengths."""
    found: dict[str, Any] = rle.merge(rle.frPyObjects(polygons, height, width))
    return found


def ground_truth_mask(box: np.ndarray, height: int, width: int, form: int) -> Any:
    """One of the forms in which COCO's files have masks: polygons (one or two), runs, compressed text or bytes."""
    left, top, w, h = box
    parts = [polygon(box)] if form % 2 else [polygon(np.array([left, top, w, h / 2])), polygon(box)]
    if form < 2:
        return parts
    whole = compressed(parts, height, width)
    if form == 2:
        flat = rle.decode(whole).ravel(order="F")
        ends = np.flatnonzero(np.diff(flat)) + 1
        runs = np.diff([0, *ends, len(flat)]).tolist()
        return {"size": [height, width], "counts": [0, *runs] if flat[0] else runs}
    return {**whole, "counts": whole["counts"].decode() if form == 3 else whole["counts"]}


def boxes_within(count: int, width: int, height: int, rng: np.random.Generator) -> np.ndarray:
    """Boxes of all three areas."""
    sides = np.exp(rng.uniform(np.log(6), np.log(180), (count, 2)))
    corner = rng.random((count, 2)) * ([width, height] - sides)
    return np.concatenate([corner, sides], axis=1).round(1)


def drawn(seed: int, images: int = 30, found: int = 25, crowd: float = 0.1) -> tuple[Detections, list[ImageObjects]]:
    """Images of 200 to 300 px, a fifth without objects; scores in steps of 0.05, so that there are ties.

    Half of the detections lie near an object, often of its class, and some are copies of one another.
    """
    rng = np.random.default_rng(seed)
    objects, parts = [], []
    for image in range(images):
        width, height = rng.integers(200, 300, 2).tolist()
        count = int(rng.integers(1, 9)) * int(rng.random() > 0.2)
        boxes = boxes_within(count, width, height, rng)
        labels = rng.choice([0, 0, 0, 1, 1, 2, 3, MISSED], count)
        masks = tuple(ground_truth_mask(box, height, width, int(rng.integers(5))) for box in boxes)
        negative = tuple({0, 1, 2, 3, ABSENT} - set(labels.tolist()) - set(rng.integers(0, 5, 2).tolist()))
        incomplete = tuple(set(labels.tolist()) - set(rng.integers(0, 6, 5).tolist()))
        areas = boxes[:, 2] * boxes[:, 3] * 0.7
        objects.append(
            ImageObjects(width, height, boxes, labels, areas, rng.random(count) < crowd, masks, negative, incomplete)
        )
        parts.append(guesses(image, objects[-1], found, rng))
    joined = [np.concatenate([part[i] for part in parts]) for i in range(4)]
    return Detections(*joined, tuple(mask for part in parts for mask in part[4])), objects


def guesses(image: int, objects: ImageObjects, count: int, rng: np.random.Generator) -> tuple[Any, ...]:
    """Images, boxes, scores, labels, masks of what a mediocre detector finds on an image."""
    boxes = boxes_within(count, objects.width, objects.height, rng)
    labels = rng.integers(0, 5, count)
    if len(objects):
        near = rng.integers(0, len(objects), count // 2)
        boxes[: len(near)] = objects.boxes[near] * (1 + rng.normal(0, 0.06, (len(near), 4)))
        same = rng.random(len(near)) < 0.8
        labels[: len(near)][same] = objects.labels[near][same]
        boxes[1], labels[1] = boxes[0], labels[0]
    labels[labels == MISSED] = ABSENT
    boxes = boxes.astype(np.float32)
    masks = [compressed([polygon(box)], objects.height, objects.width)["counts"] for box in boxes.astype(float)]
    scores = (rng.integers(1, 20, count) / 20).astype(np.float32)
    order = rng.permutation(count)
    own = np.full(count, image), boxes[order], scores[order], labels[order], [masks[k] for k in order]
    return own if rng.random() > 0.1 else tuple(part[:0] for part in own)


def as_coco(objects: Sequence[ImageObjects]) -> dict[str, Any]:
    """COCO's file of the objects, its ids unlike ours: 7 times an image and 10 more than a class."""
    annotations: list[dict[str, Any]] = []
    for image, own in enumerate(objects):
        for k in range(len(own)):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": 7 * image,
                    "category_id": int(own.labels[k]) + 10,
                    "bbox": own.boxes[k].tolist(),
                    "area": float(own.areas[k]),
                    "iscrowd": int(own.crowd[k]),
                    "segmentation": own.masks[k],
                }
            )
    images = [
        {
            "id": 7 * image,
            "height": own.height,
            "width": own.width,
            "neg_category_ids": [label + 10 for label in own.negative],
            "not_exhaustive_category_ids": [label + 10 for label in own.incomplete],
        }
        for image, own in enumerate(objects)
    ]
    categories = [{"id": i + 10, "name": name, "frequency": "rcf"[i % 3]} for i, name in enumerate(CLASSES)]
    return {"images": images, "annotations": annotations, "categories": categories}


def as_results(detections: Detections, objects: Sequence[ImageObjects], kind: str) -> list[dict[str, Any]]:
    """COCO's results; of masks alone, so that pycocotools takes their area."""
    shared = [
        {"image_id": 7 * image, "category_id": label + 10, "score": score}
        for image, label, score in zip(
            detections.images.tolist(), detections.labels.tolist(), detections.scores.tolist(), strict=True
        )
    ]
    if kind == "box":
        return [{**one, "bbox": box} for one, box in zip(shared, detections.boxes.tolist(), strict=True)]
    sizes = [[objects[i].height, objects[i].width] for i in detections.images.tolist()]
    return [
        {**one, "segmentation": {"size": size, "counts": counts}}
        for one, size, counts in zip(shared, sizes, detections.masks, strict=True)
    ]


def by_pycocotools(detections: Detections, objects: Sequence[ImageObjects], kind: str) -> COCOeval:
    """Its evaluation, after `summarize`."""
    truth = COCO()
    truth.dataset = as_coco(objects)
    truth.createIndex()
    results = as_results(detections, objects, kind)
    evaluation = COCOeval(truth, truth.loadRes(results), {"box": "bbox", "mask": "segm"}[kind])
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation


def twelve(ours: AveragePrecision) -> list[float]:
    """COCO's twelve numbers in its order, -1 for None."""
    areas = ("small", "medium", "large")
    every = [ours.ap, ours.ap50, ours.ap75, ours.small, ours.medium, ours.large]
    every += [ours.recall[name] for name in ("1", "10", "100", *areas)]
    return [-1.0 if value is None else value / 100 for value in every]


@pytest.mark.parametrize("kind", ["box", "mask"])
@pytest.mark.parametrize("seed", range(4))
def test_all_twelve_numbers_are_cocos(seed: int, kind: Any) -> None:
    """pycocotools 2.0 on the same data: crowds, areas, ties, empty images, a class never annotated or never found."""
    detections, objects = drawn(seed)
    ours = average_precision(detections, objects, CLASSES, kind)
    theirs = by_pycocotools(detections, objects, kind)
    assert twelve(ours) == pytest.approx(theirs.stats.tolist(), abs=1e-9)
    precision = theirs.eval["precision"][:, :, :, 0, -1].mean(axis=(0, 1))
    expected = [None if value < 0 else pytest.approx(100 * value, abs=1e-7) for value in precision]
    assert list(ours.by_class.values()) == expected
    assert ours.by_class["fox"] is None
    assert ours.by_class["gnu"] == 0
    assert ours.rare is ours.common is ours.frequent is None


def test_a_hundred_detections_an_image_and_class_count() -> None:
    """Of 120 and more of a class on an image the best hundred, as in pycocotools."""
    rng = np.random.default_rng(0)
    _, objects = drawn(5, images=3)
    parts = [guesses(image, own, 700, rng) for image, own in enumerate(objects)]
    detections = Detections(*(np.concatenate([part[i] for part in parts]) for i in range(4)))
    assert max(np.bincount(detections.labels[detections.images == image]).max() for image in range(3)) > 120
    ours = average_precision(detections, objects, CLASSES)
    assert twelve(ours) == pytest.approx(by_pycocotools(detections, objects, "box").stats.tolist(), abs=1e-9)
    assert max(np.bincount(found.images).max() for found in ours.matches if len(found.images)) == 100


@pytest.mark.parametrize("kind", ["box", "mask"])
def test_matches_are_cocos(kind: Any) -> None:
    """Image by image those of pycocotools' evalImgs over all areas."""
    detections, objects = drawn(11)
    theirs = by_pycocotools(detections, objects, kind).evalImgs
    ours = dict(zip([0, 1, 2, 3, MISSED], average_precision(detections, objects, CLASSES, kind).matches, strict=True))
    seen = 0
    for each in filter(None, theirs):
        label, image = each["category_id"] - 10, each["image_id"] // 7
        if label not in ours or each["aRng"] != [0, 1e10]:
            continue
        rows = ours[label].images == image
        ignored = each["dtIgnore"].astype(bool)
        np.testing.assert_array_equal(ours[label].ignored[:, rows], ignored)
        np.testing.assert_array_equal(ours[label].hits[:, rows], (each["dtMatches"] > 0) & ~ignored)
        assert np.sum(ours[label].objects == image) == np.sum(each["gtIgnore"] == 0)
        seen += int(ignored.any())
    assert seen > 5


def by_lvis(
    detections: Detections, objects: Sequence[ImageObjects], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, float]:
    """The lvis package, which reads a file and asks NumPy for a name that is gone."""
    monkeypatch.setattr(np, "float", float, raising=False)
    monkeypatch.setattr(logging.Logger, "warn", lambda *_: None)
    file = tmp_path / "lvis.json"
    file.write_text(json.dumps(as_coco(objects), default=lambda counts: counts.decode()))
    truth = LVIS(str(file))
    name = {"box": "bbox", "mask": "segm"}[kind]
    evaluation = LVISEval(truth, LVISResults(truth, as_results(detections, objects, kind)), name)
    evaluation.run()
    return dict(evaluation.get_results())


@pytest.mark.parametrize(("kind", "found"), [("box", 30), ("mask", 30), ("box", 330)])
def test_federated_numbers_are_lviss(kind: Any, found: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """lvis 0.5.3 on the same data, also with more than 300 detections an image."""
    detections, objects = drawn(3, images=30 if found < 300 else 5, found=found, crowd=0)
    frequencies = ["rcf"[i % 3] for i in range(len(CLASSES))]
    ours = federated_average_precision(detections, objects, CLASSES, frequencies, kind)
    theirs = by_lvis(detections, objects, kind, tmp_path, monkeypatch)
    values = [ours.ap, ours.ap50, ours.ap75, ours.small, ours.medium, ours.large, ours.rare, ours.common, ours.frequent]
    values += [ours.recall[name] for name in ("300", "small", "medium", "large")]
    assert [-1 if v is None else v / 100 for v in values] == pytest.approx(list(theirs.values()), abs=1e-9)
    # federated rules decide something here, and the matches keep to them
    assert ours.ap != pytest.approx(average_precision(detections, objects, CLASSES, kind).ap, abs=0.1)
    assert jackknife(ours.matches, [str(i) for i in range(len(objects))])[0].mean() == pytest.approx(ours.ap, abs=1e-9)


def test_incomplete_classes_and_unknown_ones_excuse_what_matches_nothing() -> None:
    """By hand: a hit at 0.5 after a false one at 0.9 is AP 50; without the false one, 100."""
    one, nothing = scene(BOX), scene()
    detections = seen((0, BOX, 0.5), (1, BOX, 0.9))
    assert average_precision(detections, [one, nothing], ["a"]).ap == pytest.approx(50)
    absent = replace(nothing, negative=(0,))
    assert federated_average_precision(detections, [one, absent], ["a"], "f").ap == pytest.approx(50)
    unknown = federated_average_precision(detections, [one, nothing], ["a"], "f")
    assert (unknown.ap, unknown.frequent, unknown.rare) == (pytest.approx(100), pytest.approx(100), None)
    beside = seen((0, BOX, 0.5), (0, (60, 60, 9, 9), 0.9))
    assert federated_average_precision(beside, [one], ["a"], "f").ap == pytest.approx(50)
    incomplete = replace(one, incomplete=(0,))
    assert federated_average_precision(beside, [incomplete], ["a"], "f").ap == pytest.approx(100)
    assert average_precision(beside, [incomplete], ["a"]).ap == pytest.approx(50)


BOX = (10.0, 10.0, 40.0, 40.0)


def scene(*boxes: Sequence[float], masks: tuple[Any, ...] = ()) -> ImageObjects:
    """99 x 99 px with these objects of class 0."""
    n = len(boxes)
    made = np.array(boxes, float).reshape(-1, 4)
    return ImageObjects(99, 99, made, np.zeros(n, int), made[:, 2] * made[:, 3], np.zeros(n, bool), masks)


def seen(*every: tuple[int, Sequence[float], float], masks: tuple[bytes, ...] = ()) -> Detections:
    """Detections of class 0 from their image, box and score."""
    boxes = np.array([box for _, box, _ in every], np.float32).reshape(-1, 4)
    scores = np.array([score for *_, score in every], np.float32)
    return Detections(np.array([i for i, *_ in every], int), boxes, scores, np.zeros(len(every), int), masks)


def test_nothing_found_and_nothing_there() -> None:
    """0 and None; without an object there are no values an image."""
    assert average_precision(seen(), [scene(BOX)], ["a"]).ap == 0
    assert average_precision(seen(), [scene(BOX, masks=([polygon(np.array(BOX))],))], ["a"], "mask").ap == 0
    nowhere = average_precision(seen((0, BOX, 0.5)), [scene()], ["a"])
    assert (nowhere.ap, nowhere.small, nowhere.by_class, nowhere.matches) == (None, None, {"a": None}, ())
    with pytest.raises(BobError, match="no image has an object"):
        jackknife(nowhere.matches, ["i"])


def test_an_object_without_polygons_is_never_found() -> None:
    """Its mask is empty; the other one is found."""
    shape = polygon(np.array(BOX))
    found = seen((0, BOX, 0.5), masks=(compressed([shape], 99, 99)["counts"],))
    both = scene(BOX, (60, 60, 9, 9), masks=([shape], []))
    assert average_precision(found, [both], ["a"], "mask").ap50 == pytest.approx(100 * 51 / 101)


def test_it_is_quiet(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    """Nothing on stdout or stderr, nothing in the log at INFO."""
    caplog.set_level(logging.INFO)
    detections, objects = drawn(0, images=4)
    average_precision(detections, objects, CLASSES)
    federated_average_precision(detections, objects, CLASSES, "rcfrcf", "mask")
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_what_is_given_stays_as_it_was() -> None:
    """The library writes into what it reads; our objects are evaluated again for the other kind."""
    detections, objects = drawn(0, images=6)
    before = json.dumps([each.canonical for each in objects], default=bytes.decode)
    average_precision(detections, objects, CLASSES, "mask")
    assert json.dumps([each.canonical for each in objects], default=bytes.decode) == before


def test_without_the_library_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """A MissingError, so that the setting is skipped."""
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(MissingError, match=r'pip install "bob-gauntlet\[detection\]"'):
        average_precision(seen(), [scene(BOX)], ["a"])


def test_bad_detections_say_what_is_wrong() -> None:
    """Each in one line."""
    two = seen((0, BOX, 0.5), (1, BOX, 0.9))
    with pytest.raises(BobError, match="not in ascending order of their images; sort them"):
        replace(two, images=np.array([1, 0]))
    with pytest.raises(BobError, match="an image, a box, a score and a label"):
        replace(two, labels=np.zeros(1, int))
    with pytest.raises(BobError, match="either all or none have a mask"):
        replace(two, masks=(b"1",))
    with pytest.raises(BobError, match="lower its learning rate"):
        replace(two, scores=np.array([0.5, np.nan]))
    with pytest.raises(BobError, match="the image index 1, but there are 1 images"):
        average_precision(two, [scene(BOX)], ["a"])
    with pytest.raises(BobError, match="the class index 3, but there are 1 classes"):
        average_precision(replace(two, labels=np.array([0, 3])), [scene(BOX), scene()], ["a"])
    with pytest.raises(BobError, match="boxes without masks"):
        average_precision(two, [scene(BOX), scene()], ["a"], "mask")


@st.composite
def detections_of(draw: st.DrawFn) -> Detections:
    """Any, with masks and without."""
    n = draw(st.integers(0, 6))
    numbers = st.floats(-1e6, 1e6, width=32)
    images = sorted(draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)))
    masks = draw(st.lists(st.binary(max_size=9), min_size=n, max_size=n)) if draw(st.booleans()) else []
    boxes = np.array(draw(st.lists(numbers, min_size=4 * n, max_size=4 * n)), np.float32).reshape(n, 4)
    scores = np.array(draw(st.lists(numbers, min_size=n, max_size=n)), np.float32)
    labels = np.array(draw(st.lists(st.integers(0, 1202), min_size=n, max_size=n)), np.int64)
    return Detections(np.array(images, np.int64), boxes, scores, labels, tuple(masks))


@settings(deadline=None)
@given(detections_of())
def test_arrays_hold_all_of_it(tmp_path_factory: pytest.TempPathFactory, detections: Detections) -> None:
    """Through an artefact's file and back: the same numbers, types and masks."""
    artifacts = Artifacts(tmp_path_factory.mktemp("artifacts"))
    artifacts.get("detections", {}, detections.to_arrays)
    arrays = artifacts.peek("detections", {})
    assert arrays is not None
    back = Detections.from_arrays(arrays)
    assert back.masks == detections.masks
    for name in ("images", "boxes", "scores", "labels"):
        ours, theirs = getattr(back, name), getattr(detections, name)
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), max_size=30), st.integers(1, 5))
def test_limited_keeps_the_first_of_each_image_by_falling_score(pairs: list[tuple[int, int]], most: int) -> None:
    """As a stable sort of each image's own has them."""
    images, scores = (np.array([pair[k] for pair in pairs], float) for k in (0, 1))
    expected = []
    for image in range(4):
        own = [i for i, pair in enumerate(pairs) if pair[0] == image]
        expected += sorted(own, key=lambda i: -pairs[i][1])[:most]
    assert top_detections(images, scores, most).tolist() == expected


def slow_match(iou: np.ndarray, crowd: np.ndarray, threshold: float) -> list[str]:
    """COCO's rules as Lin et al. state them, for one threshold: each detection is a "hit", "ignored" or "false"."""
    free, found = set(range(len(crowd))), []
    for row in iou:
        fits = [g for g in sorted(free) if row[g] >= threshold]
        fits = [g for g in fits if not crowd[g]] or fits
        best = max(fits, key=lambda g: (row[g], g), default=None)
        if best is not None and not crowd[best]:
            free.remove(best)
        found.append("false" if best is None else "ignored" if crowd[best] else "hit")
    return found


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(8, 20), min_size=4, max_size=4), max_size=6), st.lists(st.booleans(), min_size=4))
def test_a_match_is_greedy_and_of_equals_the_last(rows: list[list[int]], flags: list[bool]) -> None:
    """Overlaps in steps of 0.05, so that many are equal; crowds among the others; at every threshold."""
    iou, crowd = np.array(rows).reshape(-1, 4) / 20, np.array(flags[:4])
    hits, ignored = match_image(iou, crowd)
    for t, threshold in enumerate(IOUS):
        expected = slow_match(iou, crowd, threshold)
        assert hits[t].tolist() == [one == "hit" for one in expected]
        assert ignored[t].tolist() == [one == "ignored" for one in expected]


@pytest.mark.parametrize("objects", [1, 2, 3, 7, 49, 100, 101, 333, 1000])
def test_recalls_are_reached_where_coco_reaches_them(objects: int) -> None:
    """The search of its `accumulate`, among floats: 35 of 100 hits fall short of its recall of 0.35."""
    expected = np.searchsorted(np.arange(objects + 1) / objects, np.linspace(0, 1, 101), side="left")
    assert hits_needed(np.array([objects]))[0].tolist() == expected.tolist()


@pytest.mark.parametrize("metric", ["ap", "ap50", "ap75"])
@pytest.mark.parametrize("kind", ["box", "mask"])
@pytest.mark.parametrize("seed", range(3))
def test_pseudo_values_are_those_of_evaluations_without_an_image(seed: int, kind: Any, metric: Any) -> None:
    """N AP - (N - 1) AP of the other images, by the library, moved so that the mean is AP; 1e-9."""
    detections, objects = drawn(seed, images=12)
    ours = average_precision(detections, objects, CLASSES, kind)
    values, clusters = jackknife(ours.matches, [f"image {i}" for i in range(12)], metric)
    assert clusters == tuple(f"image {i}" for i in range(12))
    expected = []
    for image in range(12):
        rest = detections.take(np.flatnonzero(detections.images != image))
        rest = replace(rest, images=rest.images - (rest.images > image))
        without = average_precision(rest, objects[:image] + objects[image + 1 :], CLASSES, kind)
        expected.append(12 * getattr(ours, metric) - 11 * getattr(without, metric))
    moved = np.array(expected) - np.mean(expected) + getattr(ours, metric)
    np.testing.assert_allclose(values, moved, atol=1e-9 * 100)
    assert values.mean() == pytest.approx(getattr(ours, metric), abs=1e-9)


def simulated(images: int, rng: np.random.Generator, classes: int = 3) -> list[Matches]:
    """Matches of detectors whose hits and false alarms depend on the image: some images are hard, some crowded."""
    hard = rng.normal(0, 1, images)
    found = []
    for label in range(classes):
        objects = np.repeat(np.arange(images), rng.poisson(1.5 / (label + 1), images) * (1 + (hard > 1)))
        false = np.repeat(np.arange(images), rng.poisson(2, images))
        quality = rng.normal(0, 1, len(objects)) - 0.7 * hard[objects]
        at = np.concatenate([objects, false])
        scores = np.concatenate([quality + 1, rng.normal(0, 1, len(false)) + 0.3 * hard[false]])
        hits = np.concatenate([quality > np.linspace(-1.5, 1, len(IOUS))[:, None], np.zeros((10, len(false)), bool)], 1)
        kept = np.flatnonzero(scores > -1.5)
        order = kept[np.argsort(-scores[kept])]
        found.append(Matches(at[order], hits[:, order], np.zeros((10, len(order)), bool), objects))
    return found


def plain_ap(found: Sequence[Matches], weights: np.ndarray) -> float:
    """AP in % with each image so many times: precision at 101 recalls, the best from there on, in plain NumPy."""
    values = []
    for one in found:
        objects = weights[one.objects].sum()
        for hits in one.hits:
            again = np.repeat(hits, weights[one.images])
            reached = np.cumsum(again)
            precision = np.maximum.accumulate((reached / np.arange(1, len(again) + 1))[::-1])[::-1]
            at = np.searchsorted(reached / objects, np.linspace(0, 1, 101))
            values.append(np.append(precision, 0)[at].mean())
    return float(100 * np.mean(values))


def standard_error(values: np.ndarray, clusters: Sequence[str]) -> float:
    """As a Score's provenance has it."""
    return float(_spread(values, clusters)["stderr"])


@pytest.mark.parametrize("images", [150, 500])
def test_standard_errors_are_the_bootstraps(images: int) -> None:
    """Images drawn 150 times with replacement, on four test sets; single images of 150, 200 groups of 500.

    Over eight test sets 1.06 times the bootstrap's at 150 images (1.00 to 1.09), 1.11 at 500 (0.95 to 1.25). The spread
    of AP over 200 test sets of 500 images is 1.94, the mean error by groups 1.90, by images 1.92, bootstrapped 1.85.
    """
    rng = np.random.default_rng(images)
    errors, spreads = [], []
    for found in (simulated(images, rng) for _ in range(4)):
        values, clusters = jackknife(found, [f"{i:03}" for i in range(images)])
        assert values.mean() == pytest.approx(plain_ap(found, np.ones(images, int)), abs=1e-9)
        draws = [plain_ap(found, rng.multinomial(images, np.full(images, 1 / images))) for _ in range(150)]
        errors.append(standard_error(values, clusters))
        spreads.append(np.std(draws))
    assert np.mean(errors) == pytest.approx(np.mean(spreads), rel=0.15)


def test_clusters_are_left_out_whole() -> None:
    """Clusters of one to four images: the error is the bootstrap's over clusters, and every image has its cluster's."""
    rng = np.random.default_rng(1)
    sizes = rng.integers(1, 5, 80)
    of = np.repeat(np.arange(80), sizes)
    found = simulated(len(of), rng)
    names = [f"photo {cluster}" for cluster in of]
    values, clusters = jackknife(found, names)
    assert clusters == tuple(names)
    assert all(np.ptp(values[of == cluster]) == 0 for cluster in range(80))
    draws = [plain_ap(found, rng.multinomial(80, np.full(80, 1 / 80))[of]) for _ in range(300)]
    assert standard_error(values, clusters) == pytest.approx(np.std(draws), rel=0.15)


def test_equal_groups_give_tukeys_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """sqrt((G - 1)/G * sum of squared deviations of AP without each group), over the groups that images fall into."""
    monkeypatch.setattr(jackknife_module, "MAX_GROUPS", 20)
    found = simulated(60, np.random.default_rng(2))
    values, clusters = jackknife(found, [f"{i:02}" for i in range(60)])
    assert clusters[:2] == ("group 0", "group 1")
    assert [clusters.count(name) for name in set(clusters)] == [3] * 20
    without = np.array([plain_ap(found, (np.arange(60) % 20 != group).astype(int)) for group in range(20)])
    expected = np.sqrt(19 / 20 * np.sum((without - without.mean()) ** 2))
    assert standard_error(values, clusters) == pytest.approx(expected)
    assert values.mean() == pytest.approx(plain_ap(found, np.ones(60, int)))


def test_a_single_image_has_its_ap() -> None:
    """And no spread; a class of one image's objects alone is in no AP without it."""
    ours = average_precision(seen((0, BOX, 0.5)), [scene(BOX)], ["a"])
    values, clusters = jackknife(ours.matches, ["i"])
    assert (values.tolist(), clusters) == ([pytest.approx(100)], ("i",))


@pytest.mark.parametrize("metric", ["ap", "ap50"])
def test_intervals_hold_what_they_say(metric: Any) -> None:
    """Over 500 test sets of 60 images, AP +- 1.96 standard errors holds the mean AP in 94% (nominally 95%).

    Over 1,000 sets 93.9% (ap) and 93.5% (ap50); 91.3% of 20 images, and of 400 sets of 1,000 images 95.0%.
    """
    rng = np.random.default_rng(0)
    names = [str(i) for i in range(60)]
    rows = [jackknife(simulated(60, rng, classes=2), names, metric) for _ in range(500)]
    means = np.array([values.mean() for values, _ in rows])
    errors = np.array([standard_error(*row) for row in rows])
    assert 0.915 < np.mean(np.abs(means - means.mean()) < 1.96 * errors) < 0.97
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(np.std(means), rel=0.12)
