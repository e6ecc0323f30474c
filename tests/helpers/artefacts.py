"""Artefacts with a valid checksum and other values than those that were written."""

import hashlib
from pathlib import Path

import numpy as np
from safetensors.numpy import load, save

from bob_gauntlet.runtime.artifacts import Artifacts


def overwrite(artifacts: Artifacts, kind: str, **arrays: np.ndarray) -> None:
    """Replace arrays of the only artefact of a kind by others."""
    [path] = (artifacts.root / kind).glob("*.safetensors")
    _write(path, {**_read(path), **arrays})


def spoil(artifacts: Artifacts, kind: str, name: str, value: float) -> int:
    """Put a value into the middle of an array of every artefact of a kind; return how many there are."""
    paths = list((artifacts.root / kind).glob("*.safetensors"))
    for path in paths:
        arrays = _read(path)
        array = np.array(arrays[name])
        array.flat[array.size // 2] = value
        _write(path, {**arrays, name: array})
    return len(paths)


def _read(path: Path) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = load(path.read_bytes()[32:])
    return arrays


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    body = save(arrays)
    path.write_bytes(hashlib.sha256(body).digest() + body)
