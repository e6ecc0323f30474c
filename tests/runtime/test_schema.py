"""Schemas of artefacts: what fits, and what is said of what does not."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from bob_gauntlet.errors import BobError
from bob_gauntlet.runtime.packing import pack_json, pack_names
from bob_gauntlet.runtime.schema import Array, Json, Names, Schema, json_schema

SCHEMA = Schema(
    {
        "values": Array("float32", (3, "width")),
        "means": Array("float64", ("width",)),
        "ids": Names(3),
        "facts": Json(dict[str, int]),
        "count": Array("int64", optional=True),
    }
)

FITTING: Mapping[str, np.ndarray] = {
    "values": np.zeros((3, 2), np.float32),
    "means": np.zeros(2),
    "ids": pack_names(["a", "b", "c"]),
    "facts": pack_json({"a": 1}),
}


@pytest.mark.parametrize("width", [0, 2, 5])
def test_what_fits_passes(width: int) -> None:
    """A named dimension has any size, and an optional array may be there or not."""
    arrays = {**FITTING, "values": np.zeros((3, width), np.float32), "means": np.zeros(width)}
    SCHEMA.check(arrays)
    SCHEMA.check({**arrays, "count": np.array(7)})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"values": None}, "it lacks values"),
        ({"more": np.zeros(1)}, "it has more, which is unknown"),
        ({"values": np.zeros((3, 2))}, r"values is float64 \(3, 2\), not float32 \(3, 2\)"),
        ({"values": np.zeros((2, 2), np.float32)}, r"values is float32 \(2, 2\), not float32 \(3, 2\)"),
        ({"values": np.zeros(6, np.float32)}, r"values is float32 \(6\), not float32 \(3, width\)"),
        ({"means": np.zeros(3)}, r"means is float64 \(3\), not float64 \(2\)"),
        ({"ids": pack_names(["a", "b"])}, "ids holds 2 names, not 3"),
        ({"ids": np.array([255, 10, 10], np.uint8)}, "can't decode"),
        ({"ids": np.zeros(3)}, r"ids is float64 \(3\), not uint8"),
        ({"facts": pack_json({"a": "x"})}, "facts: a is 'x', and has to be a whole number"),
        ({"facts": pack_json([])}, r"facts: it is \[\], and has to be an object"),
        ({"facts": np.frombuffer(b"{", np.uint8)}, "facts is no JSON"),
        ({"facts": np.frombuffer(b"[" * 200_000, np.uint8)}, "facts is no JSON"),
        ({"count": np.array([7])}, r"count is int64 \(1\), not int64 \(\)"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], reason: str) -> None:
    """The message names the array, and says what it is and what it has to be."""
    arrays = {name: array for name, array in {**FITTING, **change}.items() if array is not None}
    with pytest.raises(ValueError, match=reason):
        SCHEMA.check(arrays)


@pytest.mark.parametrize("error", [ValueError, BobError])
def test_values_are_checked_after_types(error: type[Exception]) -> None:
    """`check_values` sees arrays of the right types only, and its error is a ValueError."""

    def refuse(arrays: Mapping[str, np.ndarray]) -> None:
        assert arrays["x"].dtype == np.int64
        raise error("too small")

    schema = Schema({"x": Array("int64", ())}, refuse)
    with pytest.raises(ValueError, match="too small"):
        schema.check({"x": np.array(1)})
    with pytest.raises(ValueError, match="not int64"):
        schema.check({"x": np.array(1.0)})


def test_a_memo_is_one_object() -> None:
    """The schema of a memo states the type of its object, and what its values have to be."""

    def refuse_negative(value: dict[str, Any]) -> None:
        if value["a"] < 0:
            raise ValueError("a is negative")

    schema = json_schema(dict[str, int], refuse_negative)
    schema.check({"json": pack_json({"a": 1})})
    with pytest.raises(ValueError, match="a is negative"):
        schema.check({"json": pack_json({"a": -1})})
    with pytest.raises(ValueError, match="json: a is None"):
        schema.check({"json": pack_json({"a": None})})
