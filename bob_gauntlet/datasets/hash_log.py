"""A file that keeps the content hashes of the files below one folder, and grows while they are hashed.

It is a sequence of blocks: a checksum of 32 bytes, the length of 8 bytes, and arrays in safetensors. A block is added
by writing it at the end, so that a process that is killed loses the files of one block at most. What follows a damaged
block is not read, and is overwritten.
"""

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from bob_gauntlet.runtime.artifacts import write_atomically

DIGEST_BYTES = 16
"""Bytes of a SHA-256 that are kept of each file; equal ones mean equal content."""

FILES_IN_BLOCK = 10_000
SECONDS_IN_BLOCK = 10.0
"""A block is written after so many files or so much time, whichever comes first."""

_HEAD = 40


@dataclass(frozen=True)
class HashRecords:
    """The files that were hashed: paths below the folder, (N, 3) stamps, (N, 16) digests, (N,) times in ns.

    A time is when the reading of the file began. A later record of a path replaces an earlier one.
    """

    paths: Sequence[str] = ()
    stamps: np.ndarray = field(default_factory=lambda: np.empty((0, 3), np.int64))
    digests: np.ndarray = field(default_factory=lambda: np.empty((0, DIGEST_BYTES), np.uint8))
    times: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self.paths)

    def rows_of(self, paths: Sequence[str]) -> np.ndarray:
        """Return the index of the last record of each path, -1 where there is none."""
        last = {path: row for row, path in enumerate(self.paths)}
        return np.fromiter((last.get(path, -1) for path in paths), np.int64, len(paths))

    def without_replaced(self) -> "HashRecords":
        """Return the last record of each path only."""
        rows = np.array(sorted({path: row for row, path in enumerate(self.paths)}.values()), np.int64)
        return HashRecords([self.paths[i] for i in rows], self.stamps[rows], self.digests[rows], self.times[rows])


class HashLog:
    """The file at `path`; it need not exist.

    >>> import tempfile
    >>> log = HashLog(Path(tempfile.mkdtemp()) / "a.hashes")
    >>> log.append(HashRecords(["x.jpg"], np.ones((1, 3), int), np.ones((1, 16), np.uint8), np.ones(1, int)))
    >>> log.read().paths
    ['x.jpg']
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._intact_bytes = 0

    def read(self) -> HashRecords:
        """Return all records up to the first damaged block; none where the file is absent or cannot be read."""
        self._intact_bytes = 0
        blocks: list[HashRecords] = []
        try:
            content = memoryview(self.path.read_bytes())
        except OSError:
            return HashRecords()
        while (body := _block_body(content, self._intact_bytes)) is not None:
            try:
                blocks.append(_unpack(body))
            except (SafetensorError, KeyError, ValueError):
                break
            self._intact_bytes += _HEAD + len(body)
        if not blocks:
            return HashRecords()
        return HashRecords(
            [path for block in blocks for path in block.paths],
            *(np.concatenate([getattr(block, name) for block in blocks]) for name in ("stamps", "digests", "times")),
        )

    def append(self, records: HashRecords) -> None:
        """Write a block behind the last intact one that `read` saw. Raises OSError where that is impossible."""
        block = _pack(records)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("r+b" if self.path.exists() else "xb") as file:
            file.seek(self._intact_bytes)
            file.truncate()
            file.write(block)
            file.flush()
            os.fsync(file.fileno())
        self._intact_bytes += len(block)

    def shrink(self) -> None:
        """Write the file anew where most of its records are replaced by later ones. Raises OSError."""
        records = self.read()
        kept = records.without_replaced()
        if len(records) > 2 * len(kept):
            write_atomically(self.path, _pack(kept))


class HashWriter(AbstractContextManager["HashWriter"]):
    """Writes the hashes of files to a log while they are made; what is left is written at the end, also of an error.

    `paths` and `stamps` are those of all files that may be added. `warn` is called where the log cannot be written.
    """

    def __init__(self, log: HashLog, paths: Sequence[str], stamps: np.ndarray, warn: Callable[[OSError], None]) -> None:
        self._log, self._paths, self._stamps, self._warn = log, paths, stamps, warn
        self._indices: list[int] = []
        self._digests: list[np.ndarray] = []
        self._times: list[int] = []
        self._written = time.monotonic()

    def add(self, indices: np.ndarray, digests: np.ndarray, started: int) -> None:
        """Add the digests of some files, whose reading began at `started` (ns since the epoch) or later."""
        self._indices += indices.tolist()
        self._digests.append(digests)
        self._times += [started] * len(indices)
        if len(self._indices) >= FILES_IN_BLOCK or time.monotonic() - self._written > SECONDS_IN_BLOCK:
            self._write()

    def __exit__(self, *args: object) -> None:
        """Write the last block; shrink the log where it has many replaced records."""
        self._write()
        try:
            self._log.shrink()
        except OSError as error:
            self._warn(error)

    def _write(self) -> None:
        """Write a block of the files that were added since the last one."""
        if self._indices:
            paths = [self._paths[i] for i in self._indices]
            times = np.array(self._times, np.int64)
            records = HashRecords(paths, self._stamps[self._indices], np.concatenate(self._digests), times)
            try:
                self._log.append(records)
            except OSError as error:
                self._warn(error)
        self._indices, self._digests, self._times = [], [], []
        self._written = time.monotonic()


def _block_body(content: memoryview, start: int) -> memoryview | None:
    """Return the body of the block at `start`; None at the end of the content, or where the block is damaged."""
    head = content[start : start + _HEAD]
    if len(head) < _HEAD:
        return None
    length = int.from_bytes(head[32:], "little")
    body = content[start + _HEAD : start + _HEAD + length]
    intact = len(body) == length and hashlib.sha256(body).digest() == head[:32]
    return body if intact else None


def _pack(records: HashRecords) -> bytes:
    """Return the block of these records."""
    # no path has a NUL in it, but one may have a line break
    names = "\0".join(records.paths).encode("utf-8", "surrogateescape")
    body = save(
        {
            "paths": np.frombuffer(names, np.uint8),
            "stamps": np.ascontiguousarray(records.stamps, np.int64),
            "digests": np.ascontiguousarray(records.digests, np.uint8),
            "times": np.ascontiguousarray(records.times, np.int64),
        }
    )
    return hashlib.sha256(body).digest() + len(body).to_bytes(8, "little") + body


def _unpack(body: memoryview) -> HashRecords:
    """Return the records of a block's body. Raises ValueError where its arrays do not fit together."""
    arrays = load(bytes(body))
    paths = arrays["paths"].tobytes().decode("utf-8", "surrogateescape").split("\0")
    records = HashRecords(paths, arrays["stamps"], arrays["digests"], arrays["times"])
    shapes = (records.stamps.shape, records.digests.shape, records.times.shape)
    if shapes != ((len(paths), 3), (len(paths), DIGEST_BYTES), (len(paths),)):
        raise ValueError(f"shapes {shapes} of {len(paths)} files")
    return records
