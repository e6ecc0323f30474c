"""Artefacts with other content under their right checksum, as another version or tool may have written them."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import load, save

from bob_gauntlet.runtime.packing import pack_json, unpack_json

Arrays = dict[str, np.ndarray]


def rewrite(path: Path, change: Callable[[Arrays], Arrays]) -> None:
    """Change the arrays of an artefact's file; the checksum is that of the new content."""
    changed = {name: np.ascontiguousarray(array) for name, array in change(load(path.read_bytes()[32:])).items()}
    body = save(changed)
    path.write_bytes(hashlib.sha256(body).digest() + body)


def first_required(arrays: Arrays) -> str:
    """Return the name of the first array that is not optional."""
    return next(name for name in sorted(arrays) if name != "unreadable")


def drop(arrays: Arrays) -> Arrays:
    """Leave out the first array that has to be there."""
    name = first_required(arrays)
    return {other: array for other, array in arrays.items() if other != name}


def rename(arrays: Arrays) -> Arrays:
    """Give the first array that has to be there another name."""
    return {**drop(arrays), "another name": arrays[first_required(arrays)]}


def add(arrays: Arrays) -> Arrays:
    """Add an array."""
    return {**arrays, "more": np.zeros(2)}


def halve(arrays: Arrays) -> Arrays:
    """Keep the first half of the last dimension of the widest array; of JSON that is torn text."""
    name = max(arrays, key=lambda name: arrays[name].shape[-1:] or (0,))
    return {**arrays, name: arrays[name][..., : arrays[name].shape[-1] // 2]}


def shorten(arrays: Arrays) -> Arrays:
    """Leave out the last row of the largest array."""
    name = max(arrays, key=lambda name: arrays[name].size)
    return {**arrays, name: arrays[name][:-1]}


def retype(arrays: Arrays) -> Arrays:
    """Store the largest array as 16-bit numbers."""
    name = max(arrays, key=lambda name: arrays[name].size)
    return {**arrays, name: arrays[name].astype(np.int16 if arrays[name].dtype == np.uint8 else np.float16)}


def empty(arrays: Arrays) -> Arrays:
    """Leave nothing in any array."""
    return {name: array.reshape(-1)[:0] for name, array in arrays.items()}


def name_of_json(arrays: Mapping[str, np.ndarray]) -> str:
    """Return the name of the array that holds JSON; "" for none."""
    return next((name for name in ("json", "facts") if name in arrays), "")


def json_list(arrays: Arrays) -> Arrays:
    """Store a list where there was an object."""
    return {**arrays, name_of_json(arrays): pack_json([1])}


def json_null(arrays: Arrays) -> Arrays:
    """Store null as every value of an object."""
    name = name_of_json(arrays)
    return {**arrays, name: pack_json(dict.fromkeys(unpack_json(arrays[name])))}


def json_less(arrays: Arrays) -> Arrays:
    """Leave out the first key of an object."""
    name = name_of_json(arrays)
    return {**arrays, name: pack_json(dict(list(unpack_json(arrays[name]).items())[1:]))}


CHANGES = (drop, rename, add, halve, shorten, retype, empty)
"""Changes of any artefact."""

JSON_CHANGES = (json_list, json_null, json_less)
"""Changes of artefacts that hold JSON."""
