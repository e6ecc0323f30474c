"""Content-addressed files: features, heads, per-example values, memos. One test computes them, the others read them.

An artefact is a few named arrays under a key of plain values. Its file is named by the digest of the key, written
under a temporary name and renamed, and read with its checksum: a damaged file is computed again, with a warning.
Where two processes ask for the same one, the first computes and the second waits on a file lock and reads.
"""

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.numpy import load, save

from bob_gauntlet.errors import BobError
from bob_gauntlet.runtime.packing import pack_json, pack_names, unpack_json, unpack_names
from bob_gauntlet.runtime.schema import Array, Arrays, Names, Schema
from bob_gauntlet.scores.provenance import ArtifactRefDict

AnySchema = Schema | Callable[[], Schema]
"""A schema, or a function that returns it where a file has to be checked."""

log = logging.getLogger(__name__)


class Artifacts:
    """The artefacts under one folder.

    >>> import tempfile
    >>> artifacts, schema = Artifacts(Path(tempfile.mkdtemp())), Schema({"x": Array("int64", (3,))})
    >>> artifacts.get("features", {"of": "a"}, lambda: {"x": np.arange(3)}, schema)["x"].tolist()
    [0, 1, 2]
    >>> artifacts.peek("features", {"of": "b"}, schema) is None
    True
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self._writable = True

    def get(self, kind: str, key: Mapping[str, Any], compute: Callable[[], Arrays], schema: AnySchema) -> Arrays:
        """Return the arrays under `key`; compute and keep them where they are absent or do not fit the schema.

        Where the folder cannot be written, the result is returned but not kept, and one warning is logged. Raises
        BobError where what was computed does not fit the schema.
        """
        path = self.path(kind, key)
        arrays = self._read(path, schema, "computed again")
        if arrays is not None:
            return arrays
        with self.lock(path):
            arrays = self._read(path, schema)
            if arrays is None:
                arrays = {name: np.asarray(array, order="C") for name, array in compute().items()}
                try:
                    _resolve(schema).check(arrays)
                except ValueError as error:
                    raise BobError(f"what was computed as {kind} cannot be used: {error}") from error
                self._write(path, _pack(arrays, key))
            return arrays

    def memo(
        self, kind: str, key: Mapping[str, Any], compute: Callable[[], dict[str, Any]], schema: Schema
    ) -> dict[str, Any]:
        """Do the same as `get` for one small JSON object, whose schema `json_schema` makes."""
        return unpack_json(self.get(kind, key, lambda: {"json": pack_json(compute())}, schema)["json"])

    def peek(self, kind: str, key: Mapping[str, Any], schema: AnySchema) -> Arrays | None:
        """Return the arrays under `key`, or None where they are absent, damaged or do not fit the schema."""
        return self._read(self.path(kind, key), schema, "not used")

    def path(self, kind: str, key: Mapping[str, Any]) -> Path:
        """Return the file of the artefact of a key; it need not exist."""
        return self.root / kind / f"{digest(key)}.safetensors"

    def lock(self, path: Path) -> AbstractContextManager[Any]:
        """Acquire a lock on a file of the cache, which the system frees when its holder dies.

        Where the folder cannot be written there is no lock, and one warning is logged.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path.with_suffix(".lock"))
            lock.acquire()
        except (OSError, NotImplementedError) as error:  # the second where the file system has no locks
            self.warn(error)
            return nullcontext()
        return _Released(lock)

    def warn(self, error: OSError | NotImplementedError) -> None:
        """Log once that nothing can be kept."""
        if self._writable:
            self._writable = False
            reason = getattr(error, "strerror", None) or error
            log.warning("artefacts cannot be kept in %s (%s); pass --bob-cache DIR", self.root, reason)

    def _read(self, path: Path, schema: AnySchema, consequence: str = "") -> Arrays | None:
        """Return the arrays of a file, or None where it is absent, damaged or does not fit.

        `consequence` says in a warning what becomes of a damaged file; without it there is no warning.
        """
        try:
            arrays = _unpack(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, SafetensorError, ValueError, KeyError) as error:
            _say_damaged(path, error, consequence)
            return None
        expected = _resolve(schema)
        try:
            expected.check(arrays)
        except ValueError as error:
            _say_damaged(path, error, consequence)
            return None
        return arrays

    def _write(self, path: Path, content: bytes) -> None:
        """Write a file; warn where that fails."""
        try:
            write_atomically(path, content)
        except OSError as error:
            self.warn(error)


class _Released(AbstractContextManager[None]):
    """Releases an acquired lock at the end."""

    def __init__(self, lock: FileLock) -> None:
        self._lock = lock

    def __exit__(self, *args: object) -> None:
        self._lock.release()


@dataclass(frozen=True)
class ArtifactRef:
    """The reference to an artefact: its kind and key. A score's provenance holds it as `to_dict` writes it."""

    kind: str
    key: Mapping[str, Any]

    def to_dict(self) -> ArtifactRefDict:
        """Return plain types: the inverse of `from_dict`."""
        return {"kind": self.kind, "key": self.key}

    @classmethod
    def from_dict(cls, plain: ArtifactRefDict) -> Self:
        """Read what `to_dict` wrote."""
        return cls(plain["kind"], plain["key"])

    def read(self, artifacts: Artifacts, schema: AnySchema) -> Arrays | None:
        """Return the arrays, or None where they are absent, damaged or do not fit the schema."""
        return artifacts.peek(self.kind, self.key, schema)


@dataclass(frozen=True)
class ExampleValues:
    """Values (N,) of one metric of one backbone, an example each, with ids (N,) and clusters (N,)."""

    values: np.ndarray
    ids: tuple[str, ...]
    clusters: tuple[str, ...]

    @staticmethod
    def schema(count: int | str = "examples") -> Schema:
        """Return the schema of the artefact, of `count` examples or any number."""
        return Schema({"values": Array("float32", (count,)), "ids": Names(count), "clusters": Names(count)})

    def to_arrays(self) -> Arrays:
        """Return the arrays of an artefact: the inverse of `from_arrays`."""
        values = np.asarray(self.values, np.float32)
        return {"values": values, "ids": pack_names(self.ids), "clusters": pack_names(self.clusters)}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """Read what `to_arrays` wrote."""
        return cls(arrays["values"], unpack_names(arrays["ids"]), unpack_names(arrays["clusters"]))


def _say_damaged(path: Path, error: Exception, consequence: str) -> None:
    """Log that a file is damaged, and what becomes of it; do nothing without a consequence."""
    if consequence:
        log.warning("%s is damaged (%s) and is %s", path, error, consequence)


def _resolve(schema: AnySchema) -> Schema:
    return schema if isinstance(schema, Schema) else schema()


def digest(key: Any) -> str:
    """Return 32 hex digits: a hash of the canonical JSON of a key of plain values."""
    text = json.dumps(key, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, fsync and rename it, so that it is whole or absent. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _pack(arrays: Arrays, key: Mapping[str, Any]) -> bytes:
    """Return the content of a file: a checksum, then the arrays and their key as safetensors."""
    body = save(dict(arrays), metadata={"key": json.dumps(key, sort_keys=True)})
    return hashlib.sha256(body).digest() + body


def _unpack(content: bytes) -> Arrays:
    """Return the arrays of a file's content. Raises ValueError where the checksum differs."""
    checksum, body = content[:32], content[32:]
    if hashlib.sha256(body).digest() != checksum:
        raise ValueError("its checksum does not fit")
    arrays: Arrays = load(body)
    return arrays
