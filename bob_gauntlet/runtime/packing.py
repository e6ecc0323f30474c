"""Names and JSON as arrays of bytes, the form in which artefacts hold them."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np


def pack_names(names: Sequence[str]) -> np.ndarray:
    r"""Return names as one uint8 array of newline-joined UTF-8, which holds no pickles.

    A newline in a name becomes a space, and what UTF-8 cannot hold a question mark.

    >>> unpack_names(pack_names(["a", "b\nc"]))
    ('a', 'b c')
    """
    return np.frombuffer("\n".join(name.replace("\n", " ") for name in names).encode(errors="replace"), np.uint8)


def unpack_names(array: np.ndarray) -> tuple[str, ...]:
    """Return the names that `pack_names` packed."""
    return tuple(array.tobytes().decode().split("\n"))


def pack_json(value: Any) -> np.ndarray:
    """Return plain types as a uint8 array of JSON."""
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def unpack_json(array: np.ndarray) -> dict[str, Any]:
    """Return the JSON object that `pack_json` packed."""
    value: dict[str, Any] = json.loads(array.tobytes())
    return value
