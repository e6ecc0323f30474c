"""Size and times of a file: what tells, without reading it, that its content is still the one that was hashed."""

import os
from pathlib import Path

import numpy as np

from bob_gauntlet.errors import BobError

Stamp = tuple[int, int, int]
"""Size in bytes, time of the last change of the content, and time of the last change of the file's entry, both in ns.

No program can set the third one, so an edit that puts the modification time back is seen too, and so are two files
that have swapped their names. Windows has the time of creation there.
"""

ABSENT: Stamp = (-1, 0, 0)
"""Stands for a file that does not exist."""

CLOCK_TICK = 2_000_000_000
"""Coarsest step of the times of a file system, in ns (FAT). Two changes within one step leave the same times."""

MAX_CLOCK_LEAD = 86_400_000_000_000
"""A file server's clock may be ahead of this machine's clock by at most this time, in ns: a day."""


class ChangedFile(BobError):
    """A file is no longer the one that was listed or hashed; the setting has to be measured again."""

    @classmethod
    def at(cls, path: Path) -> "ChangedFile":
        """Return the error for the file at `path`."""
        return cls(f"{path} changed while its dataset was in use; run again when nothing writes to the dataset")


def stamp_of(status: os.stat_result) -> Stamp:
    """Return the stamp of a file from its status."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def file_stamp(path: Path) -> Stamp:
    """Return the stamp of the file at `path`, to which links are followed; ABSENT where there is none."""
    try:
        return stamp_of(path.stat())
    except (OSError, ValueError):
        return ABSENT


def stamp_array(stamps: list[Stamp]) -> np.ndarray:
    """Return (N, 3) int64 stamps."""
    return np.array(stamps, np.int64).reshape(-1, 3)


def are_settled(stamps: np.ndarray, times: np.ndarray | int) -> np.ndarray:
    """Return (N,) bool: whether a change after `times` (ns since the epoch) gives a file another stamp for certain.

    It does not for a file that was changed shortly before: another change within the same step of the clock would
    leave the same times. `git` treats such files in the same way.

    >>> second = 1_000_000_000
    >>> are_settled(stamp_array([(5, 10 * second, 90 * second), (5, 10 * second, 11 * second)]), 100 * second)
    array([ True,  True])
    >>> are_settled(stamp_array([(5, 99 * second, 99 * second)]), 100 * second)
    array([False])
    """
    ages = np.asarray(times).reshape(-1, 1) - stamps[:, 1:]
    return np.asarray(((ages > CLOCK_TICK) | (ages < -MAX_CLOCK_LEAD)).all(axis=1))
