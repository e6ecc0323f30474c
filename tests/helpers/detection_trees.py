"""Small copies of the paper's detection datasets, in their publishers' layouts, with images of noise and boxes."""

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CATEGORIES = ({"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}, {"id": 3, "name": "car"})
"""Categories in no order, with gaps between their ids."""

FREQUENCIES = {1: "f", 3: "c", 90: "r"}
"""Category id -> its frequency in LVIS."""

SIZES = ((60, 44), (44, 60), (52, 52), (64, 40), (40, 64), (56, 48))
"""Widths and heights of the images of a role, in this order."""

CITIES = ("frankfurt", "munster")

Json = dict[str, Any]


def write_image(path: Path, size: tuple[int, int], boxes: Iterable[Sequence[float]] = ()) -> Path:
    """Write an image of noise with a brighter box for each object; the last two parts of its path seed the noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    rng = np.random.default_rng(zlib.crc32("/".join(path.parts[-2:]).encode()))
    pixels = rng.integers(0, 100, (height, width, 3)).astype(np.uint8)
    for number, (left, top, wide, high) in enumerate(boxes):
        pixels[int(top) : int(top + high), int(left) : int(left + wide), number % 3] += 120
    Image.fromarray(pixels).save(path)
    return path


def box_polygon(left: float, top: float, width: float, height: float) -> list[list[float]]:
    """Return the corners of a box as the polygon of a COCO mask."""
    return [[left, top, left + width, top, left + width, top + height, left, top + height]]


def box_run_lengths(size: tuple[int, int], box: Sequence[int]) -> Json:
    """Return the uncompressed run lengths of the mask of a box of pixels."""
    width, height = size
    left, top, wide, high = box
    mask = np.zeros((height, width), bool)
    mask[top : top + high, left : left + wide] = True
    flat = mask.ravel(order="F").tolist()
    counts, value = [0], False
    for pixel in flat:
        if pixel != value:
            counts, value = [*counts, 0], pixel
        counts[-1] += 1
    return {"size": [height, width], "counts": counts}


def coco_annotation(number: int, image: int, category: int, box: Sequence[float], **more: Any) -> Json:
    """Return a COCO annotation of a box with a polygon; `more` adds fields or replaces them."""
    shape = {"segmentation": box_polygon(*box), "area": box[2] * box[3], "iscrowd": 0}
    return {"id": number, "image_id": image, "category_id": category, "bbox": list(box), **shape, **more}


def four_annotations(image: int, size: tuple[int, int], first: int) -> list[Json]:
    """Return annotations of four objects: polygons of two classes, run lengths, and a crowd with run lengths."""
    crowd_mask = box_run_lengths(size, (2, 20, 30, 12))
    return [
        coco_annotation(first, image, 1, (4.5, 3.25, 16, 12)),
        coco_annotation(first + 1, image, 90, (20, 8, 14.5, 20)),
        coco_annotation(first + 2, image, 3, (10, 22, 12, 10), segmentation=box_run_lengths(size, (10, 22, 12, 10))),
        coco_annotation(first + 3, image, 1, (2, 20, 30, 12), segmentation=crowd_mask, iscrowd=1),
    ]


def coco_content(first: int = 7, count: int = 6) -> Json:
    """Return the content of a COCO file.

    Ids of images decrease, all images but the last have objects, and annotations are not in the order of images.
    """
    sizes = [SIZES[i % len(SIZES)] for i in range(count)]
    images = [
        {"id": first + count - i, "file_name": f"{first + i:012}.jpg", "width": w, "height": h}
        for i, (w, h) in enumerate(sizes)
    ]
    annotations_by_image = [
        four_annotations(image["id"], size, 10 * i) for i, (image, size) in enumerate(zip(images, sizes, strict=True))
    ]
    annotations = [annotation for row in reversed(annotations_by_image[:-1]) for annotation in row]
    return {"images": images, "annotations": annotations, "categories": list(CATEGORIES)}


def write_listed_images(folder: Path, content: Mapping[str, Any]) -> None:
    """Write the images that a COCO file lists, with its boxes."""
    for image in content["images"]:
        boxes = [one["bbox"] for one in content["annotations"] if one["image_id"] == image["id"]]
        write_image(folder / image["file_name"], (image["width"], image["height"]), boxes)


def write_json(path: Path, content: object) -> Path:
    """Write a JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def coco_2017(root: Path) -> None:
    """Write annotations/, train2017/ with six images and val2017/ with four; the last image of each has no objects."""
    for folder, first, count in (("train2017", 7, 6), ("val2017", 107, 4)):
        content = coco_content(first, count)
        write_json(root / f"coco-2017/annotations/instances_{folder}.json", content)
        write_listed_images(root / "coco-2017" / folder, content)


def lvis_v1(root: Path) -> None:
    """Write the two files of LVIS, and COCO's images: train is five of train2017, val the sixth and all of val2017."""
    coco_2017(root)
    train, val = _lvis_content("train2017", 7, 6), _lvis_content("val2017", 107, 4)
    moved = train["images"].pop(0)
    train["annotations"] = [one for one in train["annotations"] if one["image_id"] != moved["id"]]
    val["images"].append({**moved, "id": 1})
    val["annotations"].append(coco_annotation(900, 1, 3, (4, 4, 20, 20)))
    for role, content in (("train", train), ("val", val)):
        content["categories"] = [{**one, "frequency": FREQUENCIES[one["id"]]} for one in CATEGORIES]
        for image in content["images"]:
            present = {one["category_id"] for one in content["annotations"] if one["image_id"] == image["id"]}
            image["neg_category_ids"] = sorted({1, 90} - present)
            image["not_exhaustive_category_ids"] = sorted({3} & present)
        write_json(root / f"lvis-v1/lvis_v1_{role}.json", content)


def _lvis_content(folder: str, first: int, count: int) -> Json:
    """Return the content of an LVIS file: images have a URL instead of a name, and there are no crowds."""
    content = coco_content(first, count)
    for image in content["images"]:
        image["coco_url"] = f"http://images.cocodataset.org/{folder}/{image.pop('file_name')}"
    content["annotations"] = [one for one in content["annotations"] if not one.pop("iscrowd")]
    return content


def voc_xml(size: tuple[int, int], objects: Iterable[tuple[str, Sequence[int]]]) -> str:
    """Return an annotation in PASCAL VOC's XML; boxes are left, top, right and bottom."""
    elements = "".join(
        f"<object><name>{name}</name><bndbox>"
        + "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
        + "</bndbox></object>"
        for name, box in objects
    )
    return f"<annotation><size><width>{size[0]}</width><height>{size[1]}</height></size>{elements}</annotation>"


def sim10k(root: Path, inner: str = "VOC2012") -> None:
    """Write six images with two cars and a motorbike each, except the last, which has a person only."""
    folder = root / "sim10k" / inner
    (folder / "Annotations").mkdir(parents=True, exist_ok=True)
    for number, size in enumerate(SIZES):
        cars = [] if number == 5 else [("car", (3, 4, 21, 18)), ("motorbike", (1, 1, 9, 9)), ("car", (20, 20, 38, 36))]
        name = f"{3384645 + number}"
        (folder / "Annotations" / f"{name}.xml").write_text(voc_xml(size, cars or [("person", (2, 2, 8, 20))]))
        boxes = [(x0, y0, x1 - x0, y1 - y0) for label, (x0, y0, x1, y1) in cars if label == "car"]
        write_image(folder / "JPEGImages" / f"{name}.jpg", size, boxes)


def city_polygon(label: str, left: int, top: int, right: int, bottom: int, **more: Any) -> Json:
    """Return a rectangle as a Cityscapes polygon; both edges belong to it."""
    corners = [[left, top], [right, top], [right, bottom], [left, bottom]]
    return {"label": label, "polygon": corners, **more}


def city_shapes(number: int) -> list[Json]:
    """Return the shapes of an image.

    They are a road, two cars of which one is partly hidden by a pole, a group of cars and a deleted car. The last image
    (number 3) has the road only.
    """
    road = city_polygon("road", 0, 20, 63, 39)
    if number == 3:
        return [road]
    cars = [
        city_polygon("car", 4, 8, 23, 21),
        city_polygon("cargroup", 40, 2, 60, 9),
        city_polygon("car", 30, 15, 49, 34),
    ]
    return [road, *cars, city_polygon("pole", 10, 0, 12, 39), city_polygon("car", 1, 1, 9, 9, deleted=1)]


def cityscapes(root: Path) -> None:
    """Write four validation images of two cities, and a city of train, which is not read."""
    for number in range(4):
        city = CITIES[number // 2]
        _city_image(root / "cityscapes", "val", city, f"{city}_{number:06}_000019", city_shapes(number))
    _city_image(root / "cityscapes", "train", "aachen", "aachen_000000_000019", city_shapes(0))


def _city_image(root: Path, role: str, city: str, stem: str, shapes: list[Json]) -> None:
    """Write an image and its file of polygons."""
    content = {"imgHeight": 40, "imgWidth": 64, "objects": shapes}
    write_json(root / "gtFine" / role / city / f"{stem}_gtFine_polygons.json", content)
    boxes = []
    for shape in shapes:
        if shape["label"] == "car" and not shape.get("deleted"):
            (left, top), _, (right, bottom), _ = shape["polygon"]
            boxes.append((left, top, right - left + 1, bottom - top + 1))
    write_image(root / "leftImg8bit" / role / city / f"{stem}_leftImg8bit.png", (64, 40), boxes)


def sim10k_cityscapes(root: Path) -> None:
    """Write both datasets, each in its own folder."""
    sim10k(root)
    cityscapes(root)
