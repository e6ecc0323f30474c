"""Content hashes of the files of a dataset: made once, in threads, and made again for files that changed."""

import hashlib
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from io import FileIO
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from bob_gauntlet.datasets.file_stamps import ChangedFile, Stamp, are_settled, stamp_of
from bob_gauntlet.datasets.hash_log import DIGEST_BYTES, HashLog, HashRecords, HashWriter
from bob_gauntlet.datasets.image_reader import ImageReader
from bob_gauntlet.datasets.images import read_bytes
from bob_gauntlet.errors import BobError
from bob_gauntlet.runtime.artifacts import Artifacts, digest
from bob_gauntlet.runtime.devices import cores
from bob_gauntlet.runtime.progress import Progress
from bob_gauntlet.runtime.schema import json_schema

if TYPE_CHECKING:
    from hashlib import _Hash

MAX_FILES_IN_ONE_HASH = 1_000
"""Largest number of files whose fingerprint is one hash of all their bytes; with more it is a hash of their hashes.

The first form is the older one. It is kept because stored scores have such fingerprints.
"""

_CHUNK = 64
"""Files that a thread hashes before it hands over their hashes."""

_READ_BYTES = 1 << 20


class _Fingerprint(TypedDict):
    """One hash of all bytes of some files, as an artefact holds it."""

    fingerprint: str


@dataclass
class FileHashes:
    """The content hashes of files; without `artifacts` they are not kept.

    A kept hash is used where the file still has the same stamp, which was settled when it was hashed, and where it was
    hashed at `since` (ns since the epoch) or later. `unseen_changes` collects the files whose content turned out to
    be another one under the same stamp.
    """

    artifacts: Artifacts | None = None
    progress: Progress = field(default_factory=Progress)
    since: int = 0
    unseen_changes: list[str] = field(default_factory=list)

    def fingerprint(self, described: "_Hash", reader: ImageReader, what: str) -> tuple[str, np.ndarray]:
        """Return 16 hex digits that identify a split, and the (N, 16) uint8 digests of its files.

        `described` is the SHA-256 of everything that identifies the split except for the content of its files, which
        `what` names in the progress. A file that is absent has a digest of zeros. Raises ChangedFile where a file is no
        longer as it was listed, BobError where one cannot be read.
        """
        digests = self.digests(reader, what)
        whole = described.copy()
        whole.update(digests.tobytes())
        if len(reader.paths) > MAX_FILES_IN_ONE_HASH:
            return whole.hexdigest()[:16], digests
        hash_all = partial(_hash_all_bytes, described, reader, digests)
        if self.artifacts is None:
            return hash_all(), digests
        key, schema = {"content": whole.hexdigest()}, json_schema(_Fingerprint)
        memo = self.artifacts.memo("manifests", key, lambda: {"fingerprint": hash_all()}, schema)
        return str(memo["fingerprint"]), digests

    def digests(self, reader: ImageReader, what: str) -> np.ndarray:
        """Return the (N, 16) uint8 digests of the files of `reader`."""
        if self.artifacts is None:
            return self._hash_missing(_KnownHashes.of(reader, HashRecords(), self.since), None, what)
        log = HashLog(self.artifacts.root / "hashes" / f"{digest(str(reader.root.resolve()))}.hashes")
        known = _KnownHashes.of(reader, log.read(), self.since)
        if not len(known.missing):
            return known.digests
        with self.artifacts.lock(log.path):
            # another process may have hashed files while this one waited
            known = _KnownHashes.of(reader, log.read(), self.since)
            with HashWriter(log, reader.paths, reader.stamps, self.artifacts.warn) as writer:
                return self._hash_missing(known, writer, what)

    def _hash_missing(self, known: "_KnownHashes", writer: HashWriter | None, what: str) -> np.ndarray:
        """Return the digests of all files; hash those of `known.missing`, and write their digests as they are made."""
        reader, digests = known.reader, known.digests
        if not len(known.missing):
            return digests
        with self.progress.step(f"hash {what}", total=len(known.missing)) as advance:
            for indices, hashed, started in _hash_in_threads(reader, known.missing):
                digests[indices] = hashed
                advance(len(indices))
                if writer is not None:
                    writer.add(indices, hashed, started)
        self.unseen_changes += [reader.paths[i] for i in known.changed_unseen()]
        return digests


@dataclass(frozen=True)
class _KnownHashes:
    """The entries of a hash log that belong to the files of a reader.

    `rows` are the record of each file, -1 for none; `digests` are those of the records that can be used; `missing` are
    the indices of the files that have to be hashed.
    """

    reader: ImageReader
    records: HashRecords
    rows: np.ndarray
    digests: np.ndarray
    missing: np.ndarray

    @classmethod
    def of(cls, reader: ImageReader, records: HashRecords, since: int) -> "_KnownHashes":
        """Look up the files of `reader` in the records of a log; use those that were made at `since` or later."""
        rows = records.rows_of(reader.paths)
        usable = np.zeros(len(rows), bool)
        known = np.flatnonzero(rows >= 0)
        stamps, times = records.stamps[rows[known]], records.times[rows[known]]
        same = (stamps == reader.stamps[known]).all(axis=1)
        usable[known] = same & are_settled(stamps, times) & (times >= since)
        digests = np.zeros((len(rows), DIGEST_BYTES), np.uint8)
        digests[usable] = records.digests[rows[usable]]
        return cls(reader, records, rows, digests, np.flatnonzero(~usable & (reader.stamps[:, 0] >= 0)))

    def changed_unseen(self) -> np.ndarray:
        """Return the indices of the files that were hashed and have another digest than a record of the same stamp."""
        hashed = self.missing[self.rows[self.missing] >= 0]
        rows = self.rows[hashed]
        same_stamp = (self.records.stamps[rows] == self.reader.stamps[hashed]).all(axis=1)
        return np.asarray(hashed[same_stamp & (self.records.digests[rows] != self.digests[hashed]).any(axis=1)])


def _hash_in_threads(reader: ImageReader, indices: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Yield indices of files with their digests, and the time before they were read, in the order of `indices`."""

    def hash_chunk(chunk: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
        started = time.time_ns()
        hashed = b"".join(_hash_file(reader, int(index)) for index in chunk)
        return chunk, np.frombuffer(hashed, np.uint8).reshape(-1, DIGEST_BYTES), started

    chunks = [indices[start : start + _CHUNK] for start in range(0, len(indices), _CHUNK)]
    pool = ThreadPoolExecutor(min(32, 2 * cores()))
    try:
        yield from pool.map(hash_chunk, chunks)
    finally:
        # an error or a key press does not wait for the other files
        pool.shutdown(cancel_futures=True)


def _hash_file(reader: ImageReader, index: int) -> bytes:
    """Return the first 16 bytes of the SHA-256 of a file."""
    path, sha = f"{reader.root}/{reader.paths[index]}", hashlib.sha256()
    try:
        # half the time of Path.open for small files
        with FileIO(path) as file:
            stamp: Stamp = stamp_of(os.fstat(file.fileno()))
            size = max(1, min(stamp[0] + 1, _READ_BYTES))
            while part := file.read(size):
                sha.update(part)
    except OSError as error:
        raise BobError(f"{path} cannot be read ({error.strerror}); replace the file or remove it") from error
    if stamp != tuple(reader.stamps[index].tolist()):
        raise ChangedFile.at(reader.path(index))
    return sha.digest()[:DIGEST_BYTES]


def _hash_all_bytes(described: "_Hash", reader: ImageReader, digests: np.ndarray) -> str:
    """Return the 16 hex digits of one hash of the description and the bytes of all files, which have these digests."""
    sha = described.copy()
    for index in np.flatnonzero(reader.stamps[:, 0] >= 0).tolist():
        content = read_bytes(reader.path(index))
        if hashlib.sha256(content).digest()[:DIGEST_BYTES] != digests[index].tobytes():
            raise ChangedFile.at(reader.path(index))
        sha.update(content)
    return sha.hexdigest()[:16]
