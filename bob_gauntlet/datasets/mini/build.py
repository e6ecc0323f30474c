"""What the mini datasets share: crops, and splits whose fingerprint is a digest of the pixels themselves."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from bob_gauntlet.datasets.dataset import Split
from bob_gauntlet.datasets.objects import ImageObjects

Box = tuple[int, int, int, int]
"""left, top, right, bottom in pixels of the photo."""


@dataclass(frozen=True)
class Example:
    """One rendered image with its id, class index and what it shares with others (its photo).

    Where images have several labels, the target is {0, 1} for each of them. For detection `objects` says what is
    where.
    """

    id: str
    target: int | tuple[int, ...]
    cluster: str
    image: Image.Image
    objects: ImageObjects | None = None


def split(role: str, examples: Sequence[Example]) -> Split:
    """A split held in memory; its fingerprint covers ids, targets, objects and every pixel."""
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
    """A square inside `region` whose side is a random share of the short side of `region`."""
    left, top, right, bottom = region
    width, height = right - left, bottom - top
    side = max(8, int(min(width, height) * rng.uniform(smallest, largest)))
    x = left + int(rng.integers(0, width - side + 1))
    y = top + int(rng.integers(0, height - side + 1))
    return x, y, x + side, y + side


def render(photo: Image.Image, box: Box, size: int = 128) -> Image.Image:
    """The pixels of a box, at `size` x `size`; cut out first, since a resampling filter reaches over a box's edge."""
    return photo.crop(box).resize((size, size), Image.Resampling.BICUBIC)


def generator(*names: object) -> np.random.Generator:
    """A random generator seeded by names alone, the same on every machine."""
    digest = hashlib.sha256("/".join(map(str, names)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))
