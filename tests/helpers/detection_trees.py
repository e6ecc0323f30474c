"""Small copies of the paper's datasets for detection, in their publishers' layouts, of noise with coloured boxes."""

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CATEGORIES = ({"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}, {"id": 3, "name": "car"})
"""Unsorted, with gaps between their ids."""

FREQUENCIES = {1: "f", 3: "c", 90: "r"}
"""How common LVIS says that they are."""

SIZES = ((60, 44), (44, 60), (52, 52), (64, 40), (40, 64), (56, 48))
"""Width and height of the images of a role, in turn."""

CITIES = ("frankfurt", "munster")

Json = dict[str, Any]


def picture(path: Path, size: tuple[int, int], boxes: Iterable[Sequence[float]] = ()) -> Path:
    """An image file of noise that its path's last two parts seed, with a lit box for each object."""
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    rng = np.random.default_rng(zlib.crc32("/".join(path.parts[-2:]).encode()))
    pixels = rng.integers(0, 100, (height, width, 3)).astype(np.uint8)
    for number, (left, top, wide, high) in enumerate(boxes):
        pixels[int(top) : int(top + high), int(left) : int(left + wide), number % 3] += 120
    Image.fromarray(pixels).save(path)
    return path


def polygon(left: float, top: float, width: float, height: float) -> list[list[float]]:
    """The corners of a box, as COCO writes a mask."""
    return [[left, top, left + width, top, left + width, top + height, left, top + height]]


def runs(size: tuple[int, int], box: Sequence[int]) -> Json:
    """Uncompressed run lengths of a box of pixels."""
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


def annotation(number: int, image: int, category: int, box: Sequence[float], **more: Any) -> Json:
    """One with a polygon, unless `more` says otherwise."""
    shape = {"segmentation": polygon(*box), "area": box[2] * box[3], "iscrowd": 0}
    return {"id": number, "image_id": image, "category_id": category, "bbox": list(box), **shape, **more}


def some(image: int, size: tuple[int, int], first: int) -> list[Json]:
    """Four objects: polygons of two classes, run lengths, and a crowd of run lengths."""
    crowd = annotation(first + 3, image, 1, (2, 20, 30, 12), segmentation=runs(size, (2, 20, 30, 12)), iscrowd=1)
    return [
        annotation(first, image, 1, (4.5, 3.25, 16, 12)),
        annotation(first + 1, image, 90, (20, 8, 14.5, 20)),
        annotation(first + 2, image, 3, (10, 22, 12, 10), segmentation=runs(size, (10, 22, 12, 10))),
        crowd,
    ]


def coco_content(first: int = 7, count: int = 6) -> Json:
    """A file's content: images whose ids fall, all but the last with objects, whose order is not that of the images."""
    sizes = [SIZES[i % len(SIZES)] for i in range(count)]
    images = [
        {"id": first + count - i, "file_name": f"{first + i:012}.jpg", "width": w, "height": h}
        for i, (w, h) in enumerate(sizes)
    ]
    found = [some(image["id"], size, 10 * i) for i, (image, size) in enumerate(zip(images, sizes, strict=True))]
    annotations = [one for row in reversed(found[:-1]) for one in row]
    return {"images": images, "annotations": annotations, "categories": list(CATEGORIES)}


def draw(folder: Path, content: Mapping[str, Any]) -> None:
    """The images that a file of annotations lists, with its boxes."""
    for image in content["images"]:
        boxes = [one["bbox"] for one in content["annotations"] if one["image_id"] == image["id"]]
        picture(folder / image["file_name"], (image["width"], image["height"]), boxes)


def write(path: Path, content: object) -> Path:
    """A JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def coco_2017(root: Path) -> None:
    """annotations/, train2017/ and val2017/: six and four images, the last of each without objects."""
    for folder, first, count in (("train2017", 7, 6), ("val2017", 107, 4)):
        content = coco_content(first, count)
        write(root / f"coco-2017/annotations/instances_{folder}.json", content)
        draw(root / "coco-2017" / folder, content)


def lvis_v1(root: Path) -> None:
    """Its two files, and COCO's images: train is five of train2017, val one of those and all of val2017."""
    coco_2017(root)
    train, val = _on_coco("train2017", 7, 6), _on_coco("val2017", 107, 4)
    moved = train["images"].pop(0)
    train["annotations"] = [one for one in train["annotations"] if one["image_id"] != moved["id"]]
    val["images"].append({**moved, "id": 1})
    val["annotations"].append(annotation(900, 1, 3, (4, 4, 20, 20)))
    for role, content in (("train", train), ("val", val)):
        content["categories"] = [{**one, "frequency": FREQUENCIES[one["id"]]} for one in CATEGORIES]
        for image in content["images"]:
            present = {one["category_id"] for one in content["annotations"] if one["image_id"] == image["id"]}
            image["neg_category_ids"] = sorted({1, 90} - present)
            image["not_exhaustive_category_ids"] = sorted({3} & present)
        write(root / f"lvis-v1/lvis_v1_{role}.json", content)


def _on_coco(folder: str, first: int, count: int) -> Json:
    """A file's content in LVIS's manner: a URL for a name, no crowds."""
    content = coco_content(first, count)
    for image in content["images"]:
        image["coco_url"] = f"http://images.cocodataset.org/{folder}/{image.pop('file_name')}"
    content["annotations"] = [one for one in content["annotations"] if not one.pop("iscrowd")]
    return content


def voc(size: tuple[int, int], objects: Iterable[tuple[str, Sequence[int]]]) -> str:
    """An annotation in PASCAL VOC's XML; boxes are left, top, right and bottom."""
    found = "".join(
        f"<object><name>{name}</name><bndbox>"
        + "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
        + "</bndbox></object>"
        for name, box in objects
    )
    return f"<annotation><size><width>{size[0]}</width><height>{size[1]}</height></size>{found}</annotation>"


def sim10k(root: Path, inner: str = "VOC2012") -> None:
    """Six images with two cars and a motorbike each, but the last, which has a person alone."""
    folder = root / "sim10k" / inner
    (folder / "Annotations").mkdir(parents=True, exist_ok=True)
    for number, size in enumerate(SIZES):
        cars = [] if number == 5 else [("car", (3, 4, 21, 18)), ("motorbike", (1, 1, 9, 9)), ("car", (20, 20, 38, 36))]
        name = f"{3384645 + number}"
        (folder / "Annotations" / f"{name}.xml").write_text(voc(size, cars or [("person", (2, 2, 8, 20))]))
        boxes = [(x0, y0, x1 - x0, y1 - y0) for label, (x0, y0, x1, y1) in cars if label == "car"]
        picture(folder / "JPEGImages" / f"{name}.jpg", size, boxes)


def outline(label: str, left: int, top: int, right: int, bottom: int, **more: Any) -> Json:
    """A rectangle as Cityscapes writes it; both edges are of it."""
    corners = [[left, top], [right, top], [right, bottom], [left, bottom]]
    return {"label": label, "polygon": corners, **more}


def city_scene(number: int) -> list[Json]:
    """Road, two cars of which a pole hides part of one, a group and a deleted car; of the last image the road alone."""
    road = outline("road", 0, 20, 63, 39)
    if number == 3:
        return [road]
    cars = [outline("car", 4, 8, 23, 21), outline("cargroup", 40, 2, 60, 9), outline("car", 30, 15, 49, 34)]
    return [road, *cars, outline("pole", 10, 0, 12, 39), outline("car", 1, 1, 9, 9, deleted=1)]


def cityscapes(root: Path) -> None:
    """Four validation images of two cities, and a city of train, which is not read."""
    for number in range(4):
        city = CITIES[number // 2]
        _city_image(root / "cityscapes", "val", city, f"{city}_{number:06}_000019", city_scene(number))
    _city_image(root / "cityscapes", "train", "aachen", "aachen_000000_000019", city_scene(0))


def _city_image(root: Path, role: str, city: str, stem: str, shapes: list[Json]) -> None:
    content = {"imgHeight": 40, "imgWidth": 64, "objects": shapes}
    write(root / "gtFine" / role / city / f"{stem}_gtFine_polygons.json", content)
    boxes = []
    for one in shapes:
        if one["label"] == "car" and not one.get("deleted"):
            (left, top), _, (right, bottom), _ = one["polygon"]
            boxes.append((left, top, right - left + 1, bottom - top + 1))
    picture(root / "leftImg8bit" / role / city / f"{stem}_leftImg8bit.png", (64, 40), boxes)


def sim10k_cityscapes(root: Path) -> None:
    """Both, each in its own place."""
    sim10k(root)
    cityscapes(root)
