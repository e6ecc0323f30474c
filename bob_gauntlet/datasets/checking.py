"""What `bob data` says: which datasets are there, what one of them holds, and which of its images cannot be read."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from bob_gauntlet.datasets.catalog import CATALOG
from bob_gauntlet.datasets.dataset import Dataset, Split
from bob_gauntlet.datasets.images import UNREADABLE, UnreadableImage
from bob_gauntlet.datasets.places import Places
from bob_gauntlet.datasets.spec import DatasetSpec
from bob_gauntlet.datasets.tree import filled
from bob_gauntlet.errors import BobError, named

_CHUNK = 1_000


def overview(places: Places) -> list[list[str]]:
    """A row a dataset, the user's own last: name, scale, whether it is there, place, images, classes, licence."""
    return [_row(places.spec(name), places) for name in (*CATALOG, *places.own)]


def _row(spec: DatasetSpec, places: Places) -> list[str]:
    roots = list(places.roots(spec.name).values()) if spec.loader else []
    if not spec.loader:
        there = "no reader yet"
    elif not roots:
        there = "with packages"
    else:
        there = "yes" if all(path.is_file() or filled(path) for path in roots) else "no"
    where = str(roots[0]) if roots else ""
    return [spec.name, spec.scale, there, where, spec.size, spec.classes, spec.licence]


def looked_for(spec: DatasetSpec, places: Places) -> str:
    """Where a dataset is looked for, and how to change that; empty where nothing is looked for."""
    roots = places.roots(spec.name) if spec.loader else {}
    lines = [f"{one}: {path}" if len(roots) > 1 else str(path) for one, path in roots.items()]
    if roots and spec.name not in places.own:
        lines.append(
            f'elsewhere: {spec.name} = "PATH" under [datasets] of bob.toml, or a folder {spec.name} below '
            "--bob-data DIR (here: --data DIR) or $BOB_DATA"
        )
    return "\n".join(f"{'looked for' if i == 0 else '':14} {line}" for i, line in enumerate(lines))


def found(dataset: Dataset) -> list[list[str]]:
    """A row a role of a loaded dataset: role, images, classes that occur, fingerprint."""
    return [
        [role, f"{len(split):,}", f"{_occurring(split):,} of {len(dataset.classes):,}", split.fingerprint]
        for role, split in dataset.splits.items()
    ]


def _occurring(split: Split) -> int:
    targets = split.targets
    return len(np.unique(targets)) if targets.ndim == 1 else int(targets.any(axis=0).sum())


def verify(dataset: Dataset, spec: DatasetSpec, advance: Callable[[int], None]) -> list[str]:
    """Decode every image, but those of a dataset that this one needs; a line a role that has unreadable ones.

    Raises BobError where a role has more than UNREADABLE of them. `advance` is told how many more have been read.
    """
    lines = []
    for role, split in own_splits(dataset, spec).items():
        broken = unreadable(split, advance)
        if broken:
            lines.append(f"{role}: {len(broken)} of {len(split):,} images cannot be read: {named(broken)}")
        if len(broken) > UNREADABLE * len(split):
            raise BobError(f"{lines[-1]}; at most {UNREADABLE:.0%} may be: get these files anew")
    return lines


def own_splits(dataset: Dataset, spec: DatasetSpec) -> dict[str, Split]:
    """The splits that are this dataset's own files: test alone where the others are those of a dataset it needs."""
    return {role: split for role, split in dataset.splits.items() if role == "test" or not spec.needs}


def unreadable(split: Split, advance: Callable[[int], None]) -> list[str]:
    """The ids of the images that cannot be decoded, in order."""

    def readable(index: int) -> bool:
        try:
            split.image(index)
        except UnreadableImage:
            return False
        return True

    broken = []
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(split), _CHUNK):
            chunk = range(start, min(start + _CHUNK, len(split)))
            broken += [split.ids[i] for i, good in zip(chunk, pool.map(readable, chunk), strict=True) if not good]
            advance(len(chunk))
    return broken
