"""COCO's twelve numbers of 500 images x 30 detections x 80 classes, boxes and masks: ours beside pycocotools.

    python benchmarks/coco_evaluation.py [--repeats 5] [--large]

Each side starts from what it is given in memory (ours from objects and arrays, pycocotools from the same as COCO's
dictionaries), loads it, evaluates it and gives the twelve numbers; ours also finds the matches of every image. The bar
is twice as fast at numbers equal to 1e-6. `--large` takes the time and memory of 5,000 images with 36,000 objects and
250,000 boxes instead, with its standard error.
"""

import argparse
import contextlib
import copy
import io
import resource
import statistics
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.paired import in_turn, load, ratios, spread, timed
from bob_gauntlet.datasets.objects import ImageObjects
from bob_gauntlet.metrics.coco import Kind
from bob_gauntlet.metrics.detection import AREAS, average_precision
from bob_gauntlet.metrics.detections import Detections
from bob_gauntlet.metrics.jackknife import jackknife

IMAGES, DETECTIONS, CLASSES = 500, 30, 80
WIDTH, HEIGHT = 640, 480
BAR, EQUAL = 2.0, 1e-6


def data(images: int, detections: int, *, masks: bool) -> tuple[Detections, list[ImageObjects]]:
    """7.2 objects an image of sizes and classes as skew as COCO's; most detections lie near one."""
    rng = np.random.default_rng(0)
    shares = 1 / np.arange(1, CLASSES + 1)
    drawn = partial(rng.choice, CLASSES, p=shares / shares.sum())
    objects, parts = [], []
    for image in range(images):
        count = rng.poisson(7.2)
        boxes, labels = _boxes(count, rng), drawn(count)
        shapes = tuple([_polygon(box, 12)] for box in boxes) if masks else ()
        areas = boxes[:, 2] * boxes[:, 3] * 0.7
        objects.append(ImageObjects(WIDTH, HEIGHT, boxes, labels, areas, rng.random(count) < 0.01, shapes))
        found, guessed = _boxes(detections, rng), drawn(detections)
        if count:
            near = rng.integers(0, count, detections)
            found = boxes[near] * (1 + rng.normal(0, 0.08, (detections, 4)))
            guessed = np.where(rng.random(detections) < 0.6, labels[near], guessed)
        scores = rng.random(detections).astype(np.float32)
        parts.append((np.full(detections, image), found.astype(np.float32), scores, guessed))
    at, boxes, scores, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
    polygons = [[_polygon(box, 12)] for box in boxes] if masks else []
    counts = tuple(rle.merge(rle.frPyObjects(each, HEIGHT, WIDTH))["counts"] for each in polygons)
    return Detections(at, boxes, scores, labels, counts), objects


def _boxes(count: int, rng: np.random.Generator) -> np.ndarray:
    """Sides from 8 to 300 px, evenly in their logarithm."""
    sides = np.exp(rng.uniform(np.log(8), np.log(300), (count, 2)))
    return np.asarray(np.concatenate([rng.random((count, 2)) * ([WIDTH, HEIGHT] - sides), sides], axis=1))


def _polygon(box: np.ndarray, corners: int) -> list[float]:
    """An ellipse in a box."""
    angles = np.arange(corners) * 2 * np.pi / corners
    points = np.stack([np.cos(angles), np.sin(angles)], 1) / 2 + 0.5
    return [float(value) for value in (box[:2] + points * box[2:]).ravel()]


def ours(detections: Detections, objects: list[ImageObjects], kind: Kind) -> list[float]:
    """The twelve numbers, with the matches."""
    found = average_precision(detections, objects, [str(label) for label in range(CLASSES)], kind)
    every = [found.ap, found.ap50, found.ap75, found.small, found.medium, found.large]
    every += [found.recall[name] for name in ("1", "10", "100", *AREAS)]
    return [-1.0 if value is None else value / 100 for value in every]


def as_coco(
    detections: Detections, objects: list[ImageObjects], kind: Kind
) -> tuple[dict[str, Any], list[dict[str, Any]], str]:
    """The same as COCO's dictionaries: the annotation file, the results, and the kind."""
    annotations = [
        {"image_id": i, "category_id": int(own.labels[k]), "bbox": own.boxes[k].tolist(), "area": float(own.areas[k])}
        | {"iscrowd": int(own.crowd[k]), "segmentation": own.masks[k] if own.masks else []}
        for i, own in enumerate(objects)
        for k in range(len(own))
    ]
    annotations = [{"id": number, **one} for number, one in enumerate(annotations, 1)]
    images = [{"id": i, "height": own.height, "width": own.width} for i, own in enumerate(objects)]
    categories = [{"id": label, "name": str(label)} for label in range(CLASSES)]
    fields = (detections.images, detections.labels, detections.scores, detections.boxes)
    results: list[dict[str, Any]] = []
    for place, (image, label, score, box) in enumerate(zip(*(field.tolist() for field in fields), strict=True)):
        mask = {"segmentation": {"size": [HEIGHT, WIDTH], "counts": detections.masks[place]}} if kind == "mask" else {}
        results.append({"image_id": image, "category_id": label, "score": score, **(mask or {"bbox": box})})
    dataset = {"images": images, "annotations": annotations, "categories": categories}
    return dataset, results, {"box": "bbox", "mask": "segm"}[kind]


def theirs(dataset: dict[str, Any], results: list[dict[str, Any]], kind: str) -> list[float]:
    """pycocotools: load, evaluate, accumulate, summarise."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = dataset
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [float(value) for value in evaluation.stats]


def compare(kind: Kind, repeats: int) -> bool:
    """Prints one kind's times, ratio and difference; whether the bar is met."""
    given = data(IMAGES, DETECTIONS, masks=kind == "mask")
    # what a side writes into its input is not there in the next round
    copies = [copy.deepcopy(as_coco(*given, kind)) for _ in range(repeats + 1)]
    sides = {"ours": lambda: timed(lambda: ours(*given, kind)), "pycocotools": lambda: _their_time(copies.pop())}
    rounds = in_turn(sides, repeats, warm_up=1)
    seconds = {side: [taken for taken, _ in turns] for side, turns in rounds.items()}
    gain = ratios(seconds["pycocotools"], seconds["ours"])
    pairs = zip(rounds["ours"][-1][1], rounds["pycocotools"][-1][1], strict=True)
    difference = max(abs(a - b) for a, b in pairs)
    for side, taken in seconds.items():
        print(f"{kind:5}{side:14}{spread(taken)} s")
    met = statistics.median(gain) >= BAR and difference < EQUAL
    print(f"{kind:5}{'times faster':14}{spread(gain)}; largest difference of the twelve numbers {difference:.1e}")
    print(f"{kind:5}bar: {BAR:.0f} times at numbers equal to {EQUAL:.0e}: {'met' if met else 'MISSED'}")
    return met


def _their_time(given: tuple[dict[str, Any], list[dict[str, Any]], str]) -> tuple[float, list[float]]:
    return timed(lambda: theirs(*given))


def large() -> None:
    """Prints time and peak memory of the evaluation and of the values an image, on COCO's val in size."""
    detections, objects = data(5_000, 50, masks=False)
    names = [str(label) for label in range(CLASSES)]
    print(f"{len(objects)} images, {sum(map(len, objects))} objects, {len(detections)} boxes; {peak():.0f} MB before")
    seconds, found = timed(lambda: average_precision(detections, objects, names))
    print(f"evaluation with matches {seconds:.1f} s, peak {peak():.0f} MB")
    seconds, _ = timed(lambda: jackknife(found.matches, [f"{image:05}" for image in range(len(objects))]))
    print(f"jackknife of AP, 200 groups {seconds:.1f} s, peak {peak():.0f} MB")


def peak() -> float:
    """The process's greatest memory so far in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print the comparison; exit 1 where the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--large", action="store_true")
    arguments = parser.parse_args()
    if arguments.large:
        large()
        return
    print(f"{IMAGES} images x {DETECTIONS} detections x {CLASSES} classes, {load()}")
    raise SystemExit(not all([compare("box", arguments.repeats), compare("mask", arguments.repeats)]))


if __name__ == "__main__":
    main()
