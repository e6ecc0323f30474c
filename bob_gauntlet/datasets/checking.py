"""The output of `bob data`: the datasets that are there, the content of a dataset, and its unreadable images."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from bob_gauntlet.datasets.catalog import CATALOG
from bob_gauntlet.datasets.dataset import Dataset, Split
from bob_gauntlet.datasets.image_folders import is_nonempty_folder
from bob_gauntlet.datasets.image_reader import ImageReader
from bob_gauntlet.datasets.images import MAX_UNREADABLE_SHARE, UnreadableImage
from bob_gauntlet.datasets.locations import DataLocations
from bob_gauntlet.datasets.objects import ImageObjects
from bob_gauntlet.datasets.spec import DatasetSpec
from bob_gauntlet.errors import BobError, named

_CHUNK = 1_000
"""Images that are decoded between two reports of progress."""


def overview_rows(locations: DataLocations) -> list[list[str]]:
    """Return a row for each dataset, the user's own last.

    The columns are name, scale, whether its files are there, where they are looked for, images, classes and licence.
    """
    return [_overview_row(locations.spec(name), locations) for name in (*CATALOG, *locations.user_datasets)]


def _overview_row(spec: DatasetSpec, locations: DataLocations) -> list[str]:
    """Return the row of one dataset."""
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
    """Return where the files of a dataset are looked for and how to change that; "" for a dataset without files."""
    roots = locations.roots(spec.name) if spec.loader else {}
    lines = [f"{part}: {path}" if len(roots) > 1 else str(path) for part, path in roots.items()]
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
    """Return a row for each role of a loaded dataset: role, images, number of classes that occur, fingerprint."""
    return [
        [role, f"{len(split):,}", f"{_count_classes(split):,} of {len(dataset.classes):,}", split.fingerprint]
        for role, split in dataset.splits.items()
    ]


def _count_classes(split: Split) -> int:
    """Return the number of classes that occur in a split."""
    targets = split.targets
    return len(np.unique(targets)) if targets.ndim == 1 else int(targets.any(axis=0).sum())


def object_lines(dataset: Dataset) -> list[str]:
    """Return a line for each role of a dataset for detection: the number of objects, and of unusual annotations."""
    return [
        f"objects of {role}: {sum(map(len, split.objects)):,}; {_count_unusual(split, split.objects)}"
        for role, split in dataset.splits.items()
        if split.objects is not None
    ]


def _count_unusual(split: Split, objects: Sequence[ImageObjects]) -> str:
    """Return the numbers of annotations and images that training or evaluation of a detector ignores or corrects."""
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
    """Decode every image of the dataset's own files; return a line for each role and kind of bad images.

    Bad images cannot be read, or have another size than their annotation says. `advance` is called with the number of
    images read since its last call. Raises BobError where a role has more than MAX_UNREADABLE_SHARE of one kind.
    """
    lines = []
    for role, split in splits_to_verify(dataset, spec).items():
        bad_images = find_bad_images(split, advance)
        for reason in ("cannot be read", "are of another size than annotated"):
            ids = [identity for identity, why in bad_images.items() if why == reason]
            if ids:
                lines.append(f"{role}: {len(ids)} of {len(split):,} images {reason}: {named(ids)}")
            if len(ids) > MAX_UNREADABLE_SHARE * len(split):
                raise BobError(f"{lines[-1]}; at most {MAX_UNREADABLE_SHARE:.0%} may be: get these files again")
    return lines


def splits_to_verify(dataset: Dataset, spec: DatasetSpec) -> dict[str, Split]:
    """Return the splits that are read from the dataset's own files, without those of a dataset that it needs."""
    shares_training = spec.trains_on in spec.needs
    return {role: split for role, split in dataset.splits.items() if role == "test" or not shares_training}


def find_bad_images(split: Split, advance: Callable[[int], None]) -> dict[str, str]:
    """Return id -> reason for the images that cannot be decoded or have another size than annotated, in order."""

    def reason_of(index: int) -> str:
        try:
            image = split.image(index)
        except UnreadableImage:
            return "cannot be read"
        annotation = split.objects[index] if split.objects else None
        if annotation and image.size != (annotation.width, annotation.height):
            return "are of another size than annotated"
        return ""

    bad_images: dict[str, str] = {}
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(split), _CHUNK):
            chunk = range(start, min(start + _CHUNK, len(split)))
            reasons = pool.map(reason_of, chunk)
            bad_images |= {split.ids[i]: reason for i, reason in zip(chunk, reasons, strict=True) if reason}
            advance(len(chunk))
    return bad_images
