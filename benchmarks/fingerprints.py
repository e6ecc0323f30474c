"""Time the fingerprint of a dataset of many small files: the first hash, and a second start that only lists the files.

    python benchmarks/fingerprints.py [--files 100000] [--folder DIR]

The first hash is compared with `sha256sum` on the same files through `xargs`, in as many processes as there are cores,
and with one loop of `hashlib` in Python. The second start, in which no file is read, is compared with `os.walk` and
`os.stat` on every file. All files are in the page cache. The target for a second start is 3 times `os.walk`.
"""

import argparse
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.paired import describe_load, format_spread, ratios, run_in_turn, time_call
from bob_gauntlet.datasets import file_hashes, file_stamps
from bob_gauntlet.datasets.file_hashes import FileHashes
from bob_gauntlet.datasets.folder_state import folder_state
from bob_gauntlet.datasets.image_folders import images_in_class_folders, labelled_split
from bob_gauntlet.runtime.artifacts import Artifacts
from bob_gauntlet.runtime.devices import cores

CLASSES = 100
FILE_BYTES = 2_000
TARGET = 3.0


def write_files(root: Path, count: int) -> None:
    """Write `count` files of FILE_BYTES random bytes in class folders; they are no images, and nobody decodes them."""
    rng = np.random.default_rng(0)
    for label in range(CLASSES):
        (root / f"class-{label:03}").mkdir(parents=True)
    for i in range(count):
        (root / f"class-{i % CLASSES:03}" / f"{i:06}.bmp").write_bytes(rng.bytes(FILE_BYTES))


def fingerprint(root: Path, cache: Path) -> str:
    """Return the fingerprint of the class folders, with the hashes that the cache has."""
    files = images_in_class_folders(root, "benchmark")
    return labelled_split("train", files, hashes=FileHashes(Artifacts(cache))).fingerprint


def first_hash(root: Path) -> str:
    """Hash all files into a new cache."""
    with tempfile.TemporaryDirectory() as cache:
        return fingerprint(root, Path(cache))


def sha256sum(root: Path) -> None:
    """Hash all files with coreutils, in as many processes as there are cores."""
    command = f"find {root} -type f -print0 | xargs -0 -n 500 -P {cores()} sha256sum > /dev/null"
    subprocess.run(command, shell=True, check=True)


def plain_loop(root: Path) -> None:
    """Hash all files one after the other."""
    for folder, _, names in os.walk(root):
        for name in names:
            hashlib.sha256(Path(folder, name).read_bytes()).digest()


def walk(root: Path) -> None:
    """Look up size and times of all files."""
    for folder, _, names in os.walk(root):
        for name in names:
            os.stat(os.path.join(folder, name))  # noqa: PTH116, PTH118  what a plain script does


def refuse(*args: object) -> bytes:
    """Stop a second start that reads a file."""
    raise AssertionError("a file was read")


def measure(root: Path, cache: Path, repeats: int) -> dict[str, list[float]]:
    """Return the seconds of each side, measured in turn."""
    reading: dict[str, Callable[[], object]] = {
        "first hash": partial(first_hash, root),
        "sha256sum": partial(sha256sum, root),
        "hashlib, one loop": partial(plain_loop, root),
    }
    listing: dict[str, Callable[[], object]] = {
        "second start": partial(fingerprint, root, cache),
        "state of a folder": partial(folder_state, root, 0),
        "os.walk and os.stat": partial(walk, root),
    }
    seconds = {}
    for calls in (reading, listing):
        if calls is listing:
            expected = fingerprint(root, cache)
            file_hashes._hash_file = refuse
            assert fingerprint(root, cache) == expected
        timed = {side: partial(time_call, call) for side, call in calls.items()}
        rounds = run_in_turn(timed, repeats, warm_up=1 if calls is listing else 0)
        seconds |= {side: [taken for taken, _ in results] for side, results in rounds.items()}
    return seconds


def main() -> None:
    """Print the table; exit with 1 if the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="where the files are written (default: a temporary folder)")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    # the files of the benchmark are not settled yet
    file_stamps.CLOCK_TICK = -(10**10)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        root, cache = Path(folder) / "files", Path(folder) / "cache"
        write_files(root, options.files)
        seconds = measure(root, cache, options.repeats)
        kept_bytes = sum(path.stat().st_size for path in (cache / "hashes").iterdir())
    print(f"{options.files:,} files of {FILE_BYTES:,} bytes, {cores()} cores, {describe_load()}")
    for side, base in (
        ("first hash", "sha256sum"),
        ("first hash", "hashlib, one loop"),
        ("second start", "os.walk and os.stat"),
        ("state of a folder", "os.walk and os.stat"),
    ):
        spread = format_spread(ratios(seconds[side], seconds[base]))
        times = " and ".join(f"{statistics.median(seconds[one]):.2f} s" for one in (side, base))
        print(f"{side:18} / {base:20} {spread}   ({times})")
    print(f"kept in the cache: {kept_bytes / options.files:.0f} bytes a file")
    ratio = statistics.median(ratios(seconds["second start"], seconds["os.walk and os.stat"]))
    print(f"target: a second start at most {TARGET} x os.walk: {'met' if ratio <= TARGET else 'MISSED'}")
    raise SystemExit(ratio > TARGET)


if __name__ == "__main__":
    main()
