"""What `bob data` says: which datasets are there, what one of them holds, and which of its images cannot be read."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from bob_gauntlet.datasets.annotated_images import ImageReader
from bob_gauntlet.datasets.catalog import CATALOG
from bob_gauntlet.datasets.dataset import Dataset, Split
from bob_gauntlet.datasets.image_folders import is_nonempty_folder
from bob_gauntlet.datasets.images import MAX_UNREADABLE_SHARE, UnreadableImage
from bob_gauntlet.datasets.locations import DataLocations
from bob_gauntlet.datasets.objects import ImageObjects
from bob_gauntlet.datasets.spec import DatasetSpec
from bob_gauntlet.errors import BobError, named

_CHUNK = 1_000


def overview_rows(locations: DataLocations) -> list[list[str]]:
    """A row a dataset, the user's own last: name, scale, whether it is there, place, images, classes, licence."""
    return [_row(locations.spec(name), locations) for name in (*CATALOG, *locations.user_datasets)]


def _row(spec: DatasetSpec, locations: DataLocations) -> list[str]:
    roots = list(locations.roots(spec.name).values()) if spec.loader else []
    if not spec.loader:
        there = "no reader yet"
    elif not roots:
        there = "with packages"
    else:
        there = "yes" if all(path.is_file() or is_nonempty_folder(path) for path in roots) else "no"
    where = str(roots[0]) if roots else ""
    return [spec.name, spec.scale, there, where, spec.size, spec.classes, spec.licence]


def describe_locations(spec: DatasetSpec, locations: DataLocations) -> str:
    """Where a dataset is looked for, and how to change that; empty where nothing is looked for."""
    roots = locations.roots(spec.name) if spec.loader else {}
    lines = [f"{one}: {path}" if len(roots) > 1 else str(path) for one, path in roots.items()]
    if roots and spec.name not in locations.user_datasets:
        names = list(roots) if spec.combined else [spec.name]
        paths = " and ".join(f'{name} = "PATH"' for name in names)
        folders = f"folders {' and '.join(names)}" if len(names) > 1 else f"a folder {spec.name}"
        lines.append(
            f"elsewhere: {paths} under [datasets] of bob.toml, or {folders} below "
            "--bob-data DIR (here: --data DIR) or $BOB_DATA"
        )
    return "\n".join(f"{'looked for' if i == 0 else '':14} {line}" for i, line in enumerate(lines))


def role_rows(dataset: Dataset) -> list[list[str]]:
    """A row a role of a loaded dataset: role, images, classes that occur, fingerprint."""
    return [
        [role, f"{len(split):,}", f"{_occurring(split):,} of {len(dataset.classes):,}", split.fingerprint]
        for role, split in dataset.splits.items()
    ]


def _occurring(split: Split) -> int:
    targets = split.targets
    return len(np.unique(targets)) if targets.ndim == 1 else int(targets.any(axis=0).sum())


def object_lines(dataset: Dataset) -> list[str]:
    """A line a role of a dataset for detection: how many objects, and what is odd about them and their images."""
    return [
        f"objects of {role}: {sum(map(len, split.objects)):,}; {_oddities(split, split.objects)}"
        for role, split in dataset.splits.items()
        if split.objects is not None
    ]


def _oddities(split: Split, objects: Sequence[ImageObjects]) -> str:
    """Counts of what a detector's training or evaluation passes by."""
    boxes = np.concatenate([one.boxes for one in objects])
    sides = np.concatenate([np.tile((one.width, one.height), (len(one), 1)) for one in objects])
    # annotations are rounded to hundredths of a pixel
    outside = (boxes[:, :2] < -0.01) | (boxes[:, :2] + boxes[:, 2:] > sides + 0.01)
    counts = {
        "crowds": sum(int(one.crowd.sum()) for one in objects),
        "boxes without area": int((boxes[:, 2:] <= 0).any(axis=1).sum()),
        "boxes that reach outside": int(outside.any(axis=1).sum()),
        "images without objects": sum(not len(one) for one in objects),
        "missing images": len(split.image.missing) if isinstance(split.image, ImageReader) else 0,
    }
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def verify_images(dataset: Dataset, spec: DatasetSpec, advance: Callable[[int], None]) -> list[str]:
    """Decode every image, but those of a dataset that this one needs; a line a role and kind of bad images.

    Bad are those that cannot be read, and those of another size than their annotation says. Raises BobError where a
    role has more than MAX_UNREADABLE_SHARE of a kind. `advance` is told how many more have been read.
    """
    lines = []
    for role, split in splits_to_verify(dataset, spec).items():
        found = find_bad_images(split, advance)
        for reason in ("cannot be read", "are of another size than annotated"):
            names = [identity for identity, why in found.items() if why == reason]
            if names:
                lines.append(f"{role}: {len(names)} of {len(split):,} images {reason}: {named(names)}")
            if len(names) > MAX_UNREADABLE_SHARE * len(split):
                raise BobError(f"{lines[-1]}; at most {MAX_UNREADABLE_SHARE:.0%} may be: get these files anew")
    return lines


def splits_to_verify(dataset: Dataset, spec: DatasetSpec) -> dict[str, Split]:
    """The splits that are this dataset's own files: test alone where the others are those of a dataset it needs."""
    shared = spec.trains_on in spec.needs
    return {role: split for role, split in dataset.splits.items() if role == "test" or not shared}


def find_bad_images(split: Split, advance: Callable[[int], None]) -> dict[str, str]:
    """Id -> what is wrong, of the images that cannot be decoded or are of another size than annotated, in order."""

    def wrong(index: int) -> str:
        try:
            image = split.image(index)
        except UnreadableImage:
            return "cannot be read"
        annotation = split.objects[index] if split.objects else None
        if annotation and image.size != (annotation.width, annotation.height):
            return "are of another size than annotated"
        return ""

    found: dict[str, str] = {}
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(split), _CHUNK):
            chunk = range(start, min(start + _CHUNK, len(split)))
            found |= {split.ids[i]: why for i, why in zip(chunk, pool.map(wrong, chunk), strict=True) if why}
            advance(len(chunk))
    return found
