"""Stamps of files: what they show, and when they can be trusted."""

import os
from pathlib import Path

import numpy as np
import pytest

from bob_gauntlet.datasets.file_stamps import ABSENT, CLOCK_TICK, MAX_CLOCK_LEAD, are_settled, file_stamp, stamp_array
from tests.helpers.tiny_images import rewrite, wait_for_the_clock

NOW = 1_800_000_000_000_000_000


@pytest.mark.parametrize(
    ("age", "settled"),
    [
        (CLOCK_TICK + 1, True),
        (CLOCK_TICK, False),
        (0, False),
        (-CLOCK_TICK, False),
        (-MAX_CLOCK_LEAD, False),
        (-MAX_CLOCK_LEAD - 1, True),
    ],
)
@pytest.mark.parametrize("column", [1, 2], ids=["content", "entry"])
def test_a_recent_change_is_not_settled(age: int, settled: bool, column: int) -> None:
    """Either time counts; a time far in the future is that of an archive, and a change would set it to today's."""
    stamp = [5, NOW - 10 * CLOCK_TICK, NOW - 10 * CLOCK_TICK]
    stamp[column] = NOW - age
    assert are_settled(stamp_array([(stamp[0], stamp[1], stamp[2])]), NOW).tolist() == [settled]


def test_each_file_has_a_time_of_its_own() -> None:
    """The times may be an array, one for each file."""
    stamps = stamp_array([(1, 0, 0), (1, NOW, NOW)])
    assert are_settled(stamps, np.array([CLOCK_TICK + 1, NOW])).tolist() == [True, False]


def test_every_edit_changes_the_stamp(tmp_path: Path) -> None:
    """So does an edit of the same size, one that puts the time back, and a rename over the file; links are followed."""
    path, link, other = tmp_path / "a", tmp_path / "link", tmp_path / "other"
    path.write_bytes(b"aaaa")
    link.symlink_to(path)
    stamps = [file_stamp(link)]
    rewrite(path, b"bbbb")
    stamps.append(file_stamp(link))
    rewrite(path, b"cccc", keep_time=True)
    stamps.append(file_stamp(link))
    wait_for_the_clock()
    other.write_bytes(b"dddd")
    os.utime(other, ns=(0, path.stat().st_mtime_ns))
    other.rename(path)
    stamps.append(file_stamp(link))
    path.unlink()
    assert len(set(stamps)) == 4
    assert [stamp[0] for stamp in stamps] == [4] * 4
    assert stamps[1][:2] == stamps[2][:2] == stamps[3][:2]
    assert file_stamp(link) == ABSENT
