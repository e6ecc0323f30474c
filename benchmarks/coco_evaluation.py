"""Compute COCO's twelve numbers of 500 images x 30 detections x 80 classes, boxes and masks: ours against pycocotools.

    python benchmarks/coco_evaluation.py [--repeats 5] [--large]

Each side starts from data in memory (ours from objects and arrays, pycocotools from the same data as COCO's
dictionaries), loads it, evaluates it and returns the twelve numbers; ours also finds the matches of every image. The
target is twice the speed, with numbers that are equal to 1e-6. `--large` instead measures time and memory of 5,000
images with 36,000 objects and 250,000 boxes, with the standard error.
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

from benchmarks.paired import describe_load, format_spread, ratios, run_in_turn, time_call
from bob_gauntlet.datasets.objects import ImageObjects
from bob_gauntlet.metrics.coco import Kind
from bob_gauntlet.metrics.detection import AREAS, average_precision
from bob_gauntlet.metrics.detections import Detections
from bob_gauntlet.metrics.jackknife import jackknife

IMAGES, DETECTIONS, CLASSES = 500, 30, 80
WIDTH, HEIGHT = 640, 480
TARGET, TOLERANCE = 2.0, 1e-6


def make_data(images: int, detections: int, *, masks: bool) -> tuple[Detections, list[ImageObjects]]:
    """Make 7.2 objects an image with sizes and classes as unbalanced as COCO's; most detections are near an object."""
    rng = np.random.default_rng(0)
    shares = 1 / np.arange(1, CLASSES + 1)
    draw_labels = partial(rng.choice, CLASSES, p=shares / shares.sum())
    objects, parts = [], []
    for image in range(images):
        count = rng.poisson(7.2)
        boxes, labels = _draw_boxes(count, rng), draw_labels(count)
        shapes = tuple([_ellipse(box, 12)] for box in boxes) if masks else ()
        areas = boxes[:, 2] * boxes[:, 3] * 0.7
        objects.append(ImageObjects(WIDTH, HEIGHT, boxes, labels, areas, rng.random(count) < 0.01, shapes))
        detected_boxes, detected_labels = _draw_boxes(detections, rng), draw_labels(detections)
        if count:
            near = rng.integers(0, count, detections)
            detected_boxes = boxes[near] * (1 + rng.normal(0, 0.08, (detections, 4)))
            detected_labels = np.where(rng.random(detections) < 0.6, labels[near], detected_labels)
        scores = rng.random(detections).astype(np.float32)
        parts.append((np.full(detections, image), detected_boxes.astype(np.float32), scores, detected_labels))
    image_indices, boxes, scores, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
    polygons = [[_ellipse(box, 12)] for box in boxes] if masks else []
    encoded = tuple(rle.merge(rle.frPyObjects(polygon, HEIGHT, WIDTH))["counts"] for polygon in polygons)
    return Detections(image_indices, boxes, scores, labels, encoded), objects


def _draw_boxes(count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw boxes with sides from 8 to 300 px, uniform in the logarithm."""
    sides = np.exp(rng.uniform(np.log(8), np.log(300), (count, 2)))
    return np.asarray(np.concatenate([rng.random((count, 2)) * ([WIDTH, HEIGHT] - sides), sides], axis=1))


def _ellipse(box: np.ndarray, corners: int) -> list[float]:
    """Return the polygon of an ellipse inside a box."""
    angles = np.arange(corners) * 2 * np.pi / corners
    points = np.stack([np.cos(angles), np.sin(angles)], 1) / 2 + 0.5
    return [float(value) for value in (box[:2] + points * box[2:]).ravel()]


def evaluate_ours(detections: Detections, objects: list[ImageObjects], kind: Kind) -> list[float]:
    """Compute the twelve numbers, with the matches."""
    result = average_precision(detections, objects, [str(label) for label in range(CLASSES)], kind)
    numbers = [result.ap, result.ap50, result.ap75, result.small, result.medium, result.large]
    numbers += [result.recall[name] for name in ("1", "10", "100", *AREAS)]
    return [-1.0 if value is None else value / 100 for value in numbers]


def as_coco(
    detections: Detections, objects: list[ImageObjects], kind: Kind
) -> tuple[dict[str, Any], list[dict[str, Any]], str]:
    """Convert the data to COCO's dictionaries: the annotation file, the results, and the kind."""
    annotations = [
        {"image_id": image, "category_id": int(of_image.labels[k]), "bbox": of_image.boxes[k].tolist()}
        | {"area": float(of_image.areas[k]), "iscrowd": int(of_image.crowd[k])}
        | {"segmentation": of_image.masks[k] if of_image.masks else []}
        for image, of_image in enumerate(objects)
        for k in range(len(of_image))
    ]
    annotations = [{"id": number, **annotation} for number, annotation in enumerate(annotations, 1)]
    images = [{"id": i, "height": of_image.height, "width": of_image.width} for i, of_image in enumerate(objects)]
    categories = [{"id": label, "name": str(label)} for label in range(CLASSES)]
    fields = (detections.images, detections.labels, detections.scores, detections.boxes)
    results: list[dict[str, Any]] = []
    for index, (image, label, score, box) in enumerate(zip(*(field.tolist() for field in fields), strict=True)):
        mask = {"segmentation": {"size": [HEIGHT, WIDTH], "counts": detections.masks[index]}} if kind == "mask" else {}
        results.append({"image_id": image, "category_id": label, "score": score, **(mask or {"bbox": box})})
    dataset = {"images": images, "annotations": annotations, "categories": categories}
    return dataset, results, {"box": "bbox", "mask": "segm"}[kind]


def evaluate_pycocotools(dataset: dict[str, Any], results: list[dict[str, Any]], kind: str) -> list[float]:
    """Load, evaluate, accumulate and summarise with pycocotools."""
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
    """Print times, ratio and difference for one kind; return whether the target is met."""
    detections, objects = make_data(IMAGES, DETECTIONS, masks=kind == "mask")
    # pycocotools writes into its input, so every round gets a fresh copy
    copies = [copy.deepcopy(as_coco(detections, objects, kind)) for _ in range(repeats + 1)]
    calls = {
        "ours": lambda: time_call(lambda: evaluate_ours(detections, objects, kind)),
        "pycocotools": lambda: _time_pycocotools(copies.pop()),
    }
    results = run_in_turn(calls, repeats, warm_up=1)
    seconds_by_side = {side: [seconds for seconds, _ in rounds] for side, rounds in results.items()}
    times_faster = ratios(seconds_by_side["pycocotools"], seconds_by_side["ours"])
    number_pairs = zip(results["ours"][-1][1], results["pycocotools"][-1][1], strict=True)
    difference = max(abs(a - b) for a, b in number_pairs)
    for side, seconds in seconds_by_side.items():
        print(f"{kind:5}{side:14}{format_spread(seconds)} s")
    met = statistics.median(times_faster) >= TARGET and difference < TOLERANCE
    print(
        f"{kind:5}{'times faster':14}{format_spread(times_faster)}; largest difference of the twelve numbers "
        f"{difference:.1e}"
    )
    print(f"{kind:5}target: {TARGET:.0f} times, numbers equal to {TOLERANCE:.0e}: {'met' if met else 'MISSED'}")
    return met


def _time_pycocotools(data: tuple[dict[str, Any], list[dict[str, Any]], str]) -> tuple[float, list[float]]:
    """Time pycocotools on data that was made beforehand."""
    return time_call(lambda: evaluate_pycocotools(*data))


def measure_large() -> None:
    """Print time and peak memory of the evaluation and of the jackknife, for data of the size of COCO's val."""
    detections, objects = make_data(5_000, 50, masks=False)
    names = [str(label) for label in range(CLASSES)]
    count = sum(map(len, objects))
    print(f"{len(objects)} images, {count} objects, {len(detections)} boxes; {peak_memory():.0f} MB before")
    seconds, result = time_call(lambda: average_precision(detections, objects, names))
    print(f"evaluation with matches {seconds:.1f} s, peak {peak_memory():.0f} MB")
    seconds, _ = time_call(lambda: jackknife(result.matches, [f"{image:05}" for image in range(len(objects))]))
    print(f"jackknife of AP, 200 groups {seconds:.1f} s, peak {peak_memory():.0f} MB")


def peak_memory() -> float:
    """Return the peak memory of this process so far in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print the comparison; exit with 1 if the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--large", action="store_true", help="Measure time and memory of 5,000 images instead.")
    arguments = parser.parse_args()
    if arguments.large:
        measure_large()
        return
    print(f"{IMAGES} images x {DETECTIONS} detections x {CLASSES} classes, {describe_load()}")
    raise SystemExit(not all([compare("box", arguments.repeats), compare("mask", arguments.repeats)]))


if __name__ == "__main__":
    main()
