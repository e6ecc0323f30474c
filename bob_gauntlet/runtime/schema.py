"""Schemas of artefacts: the names, types and shapes of the arrays that a reader expects.

The checksum of a file says that it is what was written, not that it is what is asked for: another version, or a tool
that copies files, may have written features of another width under the same key.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bob_gauntlet.errors import BobError
from bob_gauntlet.runtime.packing import unpack_json, unpack_names
from bob_gauntlet.scores.json_types import misfit

Arrays = Mapping[str, np.ndarray]

Dimension = int | str
"""A size, or a name: all dimensions of one name in an artefact have one size."""


@dataclass(frozen=True)
class Array:
    """An array of a dtype (`float32`) and a shape; it may be absent where it is `optional`."""

    dtype: str
    shape: tuple[Dimension, ...] = ()
    optional: bool = False


@dataclass(frozen=True)
class Names:
    """Names as `pack_names` packs them, and how many."""

    count: Dimension
    optional: bool = False


@dataclass(frozen=True)
class Json:
    """JSON as `pack_json` packs it, of a type that `scores.json_types.misfit` knows."""

    hint: Any
    optional: bool = False


@dataclass(frozen=True)
class Schema:
    """The arrays of an artefact, by name.

    `check_values` raises ValueError or BobError where arrays of the right types have values that do not fit.

    >>> schema = Schema({"features": Array("float32", (3, "width")), "mean": Array("float64", ("width",))})
    >>> schema.check({"features": np.zeros((3, 8), np.float32), "mean": np.zeros(4)})
    Traceback (most recent call last):
    ValueError: mean is float64 (4), not float64 (8)
    """

    arrays: Mapping[str, Array | Names | Json]
    check_values: Callable[[Arrays], object] = lambda arrays: None

    def check(self, arrays: Arrays) -> None:
        """Raise ValueError that says what is missing, too much or wrong."""
        missing = [name for name, entry in self.arrays.items() if name not in arrays and not entry.optional]
        unknown = sorted(set(arrays) - set(self.arrays))
        if missing or unknown:
            raise ValueError(f"it lacks {missing[0]}" if missing else f"it has {unknown[0]}, which is unknown")
        sizes: dict[str, int] = {}
        for name in self.arrays:
            if name in arrays:
                _check_entry(name, self.arrays[name], arrays[name], sizes)
        try:
            self.check_values(arrays)
        except BobError as error:
            raise ValueError(str(error)) from error


def json_schema(hint: Any, check_values: Callable[[dict[str, Any]], object] = lambda value: None) -> Schema:
    """Return the schema of a memo: one JSON object of a type, whose values `check_values` checks."""
    return Schema({"json": Json(hint)}, lambda arrays: check_values(unpack_json(arrays["json"])))


def _check_entry(name: str, entry: Array | Names | Json, array: np.ndarray, sizes: dict[str, int]) -> None:
    """Raise ValueError where an array does not fit its entry; `sizes` holds the named dimensions met so far."""
    if isinstance(entry, Array):
        _check_array(name, entry, array, sizes)
        return
    _check_array(name, Array("uint8", (f"bytes of {name}",)), array, sizes)
    if isinstance(entry, Names):
        count = _size(entry.count, len(unpack_names(array)), sizes)
        if len(unpack_names(array)) != count:
            raise ValueError(f"{name} holds {len(unpack_names(array))} names, not {count}")
    elif problem := misfit(_parse(name, array), entry.hint):
        raise ValueError(f"{name}: {problem}")


def _check_array(name: str, entry: Array, array: np.ndarray, sizes: dict[str, int]) -> None:
    actual = f"{array.dtype} ({', '.join(map(str, array.shape))})"
    shape = entry.shape
    if array.ndim == len(shape):
        shape = tuple(_size(dimension, size, sizes) for dimension, size in zip(shape, array.shape, strict=True))
    expected = f"{entry.dtype} ({', '.join(map(str, shape))})"
    if actual != expected:
        raise ValueError(f"{name} is {actual}, not {expected}")


def _size(dimension: Dimension, actual: int, sizes: dict[str, int]) -> int:
    """Return the size that a dimension has to have; a name that is met the first time takes the actual size."""
    return dimension if isinstance(dimension, int) else sizes.setdefault(dimension, actual)


def _parse(name: str, array: np.ndarray) -> Any:
    try:
        return unpack_json(array)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} is no JSON: {error}") from None
