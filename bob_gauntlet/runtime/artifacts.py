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
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.numpy import load, save

Arrays = Mapping[str, np.ndarray]

log = logging.getLogger(__name__)


class Artifacts:
    """The artefacts under one folder.

    >>> import tempfile
    >>> artifacts = Artifacts(Path(tempfile.mkdtemp()))
    >>> artifacts.get("features", {"of": "a"}, lambda: {"x": np.arange(3)})["x"].tolist()
    [0, 1, 2]
    >>> artifacts.peek("features", {"of": "b"}) is None
    True
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self._writable = True

    def get(self, kind: str, key: Mapping[str, Any], compute: Callable[[], Arrays]) -> Arrays:
        """Return the arrays under `key`; compute and keep them where they are absent.

        Where the folder cannot be written, the result is returned but not kept, and one warning is logged.
        """
        arrays = self.peek(kind, key)
        if arrays is not None:
            return arrays
        path = self.path(kind, key)
        with self._lock(path):
            arrays = self._read(path, warn=False)
            if arrays is None:
                arrays = {name: np.asarray(array, order="C") for name, array in compute().items()}
                self._write(path, _pack(arrays, key))
            return arrays

    def memo(self, kind: str, key: Mapping[str, Any], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Do the same as `get` for one small JSON object."""

        def packed() -> Arrays:
            return {"json": np.frombuffer(json.dumps(compute()).encode(), np.uint8)}

        read: dict[str, Any] = json.loads(self.get(kind, key, packed)["json"].tobytes())
        return read

    def peek(self, kind: str, key: Mapping[str, Any]) -> Arrays | None:
        """Return the arrays under `key`, or None where they are absent or damaged."""
        return self._read(self.path(kind, key), warn=True)

    def path(self, kind: str, key: Mapping[str, Any]) -> Path:
        """Return the file of the artefact of a key; it need not exist."""
        return self.root / kind / f"{digest(key)}.safetensors"

    def _read(self, path: Path, *, warn: bool) -> Arrays | None:
        """Return the arrays of a file, or None where it is absent or damaged."""
        try:
            return _unpack(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, SafetensorError, ValueError, KeyError) as error:
            if warn:
                log.warning("%s is damaged (%s) and is computed again", path, error)
            return None

    def _lock(self, path: Path) -> AbstractContextManager[Any]:
        """Acquire a lock that the system frees when its holder dies; do nothing where the folder cannot be written."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path.with_suffix(".lock"))
            lock.acquire()
        except OSError as error:
            self._warn(error)
            return nullcontext()
        return _Released(lock)

    def _write(self, path: Path, content: bytes) -> None:
        """Write a file; warn where that fails."""
        try:
            write_atomically(path, content)
        except OSError as error:
            self._warn(error)

    def _warn(self, error: OSError) -> None:
        """Log once that nothing can be kept."""
        if self._writable:
            self._writable = False
            log.warning("artefacts cannot be kept in %s (%s); pass --bob-cache DIR", self.root, error.strerror)


class _Released(AbstractContextManager[None]):
    """Releases an acquired lock at the end."""

    def __init__(self, lock: FileLock) -> None:
        self._lock = lock

    def __exit__(self, *args: object) -> None:
        self._lock.release()


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
