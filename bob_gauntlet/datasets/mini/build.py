"""Functions shared by the mini datasets: random crops, and splits whose fingerprint is a digest of their pixels."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from bob_gauntlet.datasets.dataset import Split
from bob_gauntlet.datasets.objects import ImageObjects

Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels of the photo."""


@dataclass(frozen=True)
class Example:
    """One rendered image with its id, its target and its cluster.

    The target is a class index, or {0, 1} for each class in a multi-label dataset. The cluster names what the image
    shares with others, such as its photo. In a detection dataset, `objects` are the annotated objects.
    """

    id: str
    target: int | tuple[int, ...]
    cluster: str
    image: Image.Image
    objects: ImageObjects | None = None


def build_split(role: str, examples: Sequence[Example]) -> Split:
    """Return a split that is held in memory; its fingerprint covers ids, targets, clusters, objects and every pixel."""
    sha = hashlib.sha256(role.encode())
    for example in examples:
        sha.update(f"{example.id}|{example.target}|{example.cluster}|{example.image.size}".encode())
        sha.update(example.image.tobytes())
        if example.objects is not None:
            sha.update(json.dumps(example.objects.canonical, sort_keys=True).encode())
    images = [example.image for example in examples]
    objects = tuple(example.objects for example in examples if example.objects is not None)
    return Split(
        role=role,
        fingerprint=sha.hexdigest()[:16],
        ids=tuple(example.id for example in examples),
        targets=np.array([example.target for example in examples], np.uint8 if objects else np.int64),
        image=images.__getitem__,
        clusters=tuple(example.cluster for example in examples),
        objects=objects or None,
    )


def random_crop(rng: np.random.Generator, region: Box, smallest: float, largest: float) -> Box:
    """Return a random square inside `region`.

    Its side is a random fraction, between `smallest` and `largest`, of the short side of `region`, and at least 8 px.
    """
    left, top, right, bottom = region
    width, height = right - left, bottom - top
    side = max(8, int(min(width, height) * rng.uniform(smallest, largest)))
    x = left + int(rng.integers(0, width - side + 1))
    y = top + int(rng.integers(0, height - side + 1))
    return x, y, x + side, y + side


def render(photo: Image.Image, box: Box, size: int = 128) -> Image.Image:
    """Return the pixels of a box, resized to `size` x `size`.

    The box is cut out before the resizing, since a resampling filter would use pixels outside the box.
    """
    return photo.crop(box).resize((size, size), Image.Resampling.BICUBIC)


def generator(*names: object) -> np.random.Generator:
    """Return a random generator that is seeded by names, and is therefore the same on every machine."""
    digest = hashlib.sha256("/".join(map(str, names)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))
