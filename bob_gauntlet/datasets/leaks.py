"""Images that are in two roles of a dataset: copies or links, found by the hashes of their content."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Self, cast

import numpy as np

from bob_gauntlet.datasets.dataset import Dataset, Split
from bob_gauntlet.scores.provenance import LeakDict
from bob_gauntlet.scores.score import Score

MAX_NAMED = 3


@dataclass(frozen=True)
class Leak:
    """Images of `role` whose content is also in the earlier role `other`.

    `count` of the `total` images of `role` are; `names` are some of them, each with an equal one of `other`.
    """

    role: str
    other: str
    count: int
    total: int
    names: tuple[tuple[str, str], ...]

    def to_dict(self) -> LeakDict:
        """Return plain types, as provenance has them: the inverse of `from_dict`."""
        return cast(LeakDict, {**asdict(self), "names": [list(pair) for pair in self.names]})

    @classmethod
    def from_dict(cls, plain: LeakDict) -> Self:
        """Read what `to_dict` wrote."""
        names = tuple((name, equal) for name, equal in plain["names"])
        return cls(plain["role"], plain["other"], plain["count"], plain["total"], names)

    def describe(self, dataset: str) -> str:
        """Return the line that a user reads.

        >>> print(Leak("test", "train", 4, 50, (("cat/1.png", "cat/7.png"),)).describe("pets"))
        pets: 4 of 50 images of test are copies of images of train, or links to them: cat/1.png is cat/7.png and 3 more;
        remove them from one role
        """
        names = ", ".join(f"{name} is {equal}" for name, equal in self.names)
        more = f" and {self.count - len(self.names):,} more" if self.count > len(self.names) else ""
        return (
            f"{dataset}: {self.count:,} of {self.total:,} images of {self.role} are copies of images of {self.other}, "
            f"or links to them: {names}{more}; remove them from one role"
        )


def leak_lines(scores: Iterable[Score]) -> list[str]:
    """Return a line for every two roles that share images, of the datasets that the scores were measured on."""
    lines = (
        Leak.from_dict(plain).describe(score.setting.rpartition("@")[2])
        for score in scores
        for plain in score.provenance.get("leaks", [])
    )
    return list(dict.fromkeys(lines))


def find_leaks(dataset: Dataset) -> list[Leak]:
    """Return the leaks between every two roles of a dataset; train counts as the first role."""
    splits = sorted(dataset.splits.values(), key=lambda split: split.role != "train")
    pairs = [(split, other) for number, split in enumerate(splits) for other in splits[:number]]
    return [leak for split, other in pairs if (leak := _find_leak(split, other)) is not None]


def _find_leak(split: Split, other: Split) -> Leak | None:
    """Return the images of a split whose content is also in another split; None where there is no such image."""
    if split.contents is None or other.contents is None:
        return None
    # eight of the sixteen bytes choose the candidates, which are then compared as a whole
    keys, other_keys = (np.ascontiguousarray(c[:, :8]).view("<u8")[:, 0] for c in (split.contents, other.contents))
    shared = np.intersect1d(keys, other_keys)
    candidates = np.flatnonzero(np.isin(other_keys, shared))
    name_of_content = {other.contents[i].tobytes(): other.ids[i] for i in candidates[::-1]}
    # absent files have zeros
    name_of_content.pop(bytes(other.contents.shape[1]), None)
    equal = [
        (split.ids[i], name)
        for i in np.flatnonzero(np.isin(keys, shared))
        if (name := name_of_content.get(split.contents[i].tobytes()))
    ]
    return Leak(split.role, other.role, len(equal), len(split), tuple(equal[:MAX_NAMED])) if equal else None
