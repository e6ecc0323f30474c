"""Thousands of tiny image files of one size, and edits of files that their size and times do not show."""

import os
import struct
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from bob_gauntlet.datasets import file_hashes, file_stamps, folder_state, image_folders

SIDE = 8
COLOURS = ((40, 200, 90), (210, 30, 90), (240, 240, 240))


def bmp(red: int, green: int, blue: int, number: int = 0) -> bytes:
    """Return a BMP file of 8 x 8 pixels of one colour; two bytes of its padded header hold a number."""
    pixels = bytes((blue, green, red)) * SIDE * SIDE
    head = struct.pack("<2sIHHI", b"BM", 54 + len(pixels), number, 0, 54)
    return head + struct.pack("<IiiHHIIiiII", 40, SIDE, SIDE, 1, 24, 0, len(pixels), 0, 0, 0, 0) + pixels


def write_colours(root: Path, counts: dict[str, int], first: int = 0) -> list[Path]:
    """Write a folder of BMP files for each class, of its own colour; no two files have the same content."""
    paths = []
    for label, (name, count) in enumerate(sorted(counts.items())):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(first, first + count):
            path = root / name / f"{i:05}.bmp"
            path.write_bytes(bmp(*COLOURS[label], number=i))
            paths.append(path)
    return paths


def rewrite(path: Path, content: bytes, *, keep_time: bool = False) -> None:
    """Write other content into a file; its modification time is a second later, or the same with `keep_time`.

    The change time is a later one for certain.
    """
    before = path.stat().st_mtime_ns
    wait_for_the_clock()
    path.write_bytes(content)
    os.utime(path, ns=(before, before + (0 if keep_time else 1_000_000_000)))


def swap_contents(first: Iterable[Path], second: Iterable[Path], *, keep_time: bool = False) -> None:
    """Exchange the contents of files, pair by pair."""
    wait_for_the_clock()
    for one, other in zip(first, second, strict=True):
        contents = one.read_bytes(), other.read_bytes()
        for path, content in zip((other, one), contents, strict=True):
            before = path.stat().st_mtime_ns
            path.write_bytes(content)
            os.utime(path, ns=(before, before + (0 if keep_time else 1_000_000_000)))


def wait_for_the_clock() -> None:
    """Wait until a file that is written now gets another time than all before."""
    time.sleep(0.02)


def wait_until_settled() -> None:
    """Wait until files that were written before count as settled, also in other processes."""
    time.sleep(file_stamps.CLOCK_TICK / 1e9 + 0.1)


def settle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files count as settled that were written a moment ago, as if the test had waited."""
    monkeypatch.setattr(file_stamps, "CLOCK_TICK", -10_000_000_000)


def hide_change_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the change times from all stamps, as on a file system that has none."""
    for module in (file_stamps, file_hashes, folder_state, image_folders):
        monkeypatch.setattr(module, "stamp_of", lambda status: (status.st_size, status.st_mtime_ns, 0))


class HashedFiles:
    """Counts the files whose content is read to hash it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.paths: list[str] = []
        hash_file = file_hashes._hash_file

        def counted(reader: file_hashes.ImageReader, index: int) -> bytes:
            self.paths.append(reader.paths[index])
            return hash_file(reader, index)

        monkeypatch.setattr(file_hashes, "_hash_file", counted)

    def since_last(self) -> list[str]:
        """Return the sorted paths that were read since the last call."""
        paths, self.paths = sorted(self.paths), []
        return paths
