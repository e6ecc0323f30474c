"""Check the JSON values of the fields of an annotation file: numbers, ids and flags.

Exporters write some of them as other types than COCO's files. A value that has only one meaning is taken, any other one
is refused. Text is never taken for its truth value: "0" is no crowd.
"""

import math
from collections.abc import Sequence
from typing import Any

_NUMBER_TYPES = frozenset((int, float))

_FLAGS = {"0": False, "1": True, "false": False, "true": True}


def are_numbers(values: Sequence[Any]) -> bool:
    """Return whether all values are finite numbers; JSON's true and false are none.

    >>> are_numbers([1, 2.5]), are_numbers([1, "2"]), are_numbers([1, True]), are_numbers([float("nan")])
    (True, False, False, False)
    """
    try:
        return all(type(value) in _NUMBER_TYPES for value in values) and math.isfinite(sum(values))
    except OverflowError:
        return False


def is_whole(value: Any) -> bool:
    """Return whether a value is a whole number; it may be written with a decimal point.

    >>> is_whole(3), is_whole(3.0), is_whole(3.5), is_whole(True), is_whole("3")
    (True, True, False, False, False)
    """
    return type(value) is int or (type(value) is float and value.is_integer())


def is_identity(value: Any) -> bool:
    """Return whether a value can be the id of an image: a whole number or a text.

    >>> is_identity(5), is_identity("a"), is_identity(False), is_identity([5])
    (True, True, False, False)
    """
    return isinstance(value, str) or is_whole(value)


def flag(value: Any) -> bool | None:
    """Return the meaning of a flag: 0 or 1, false or true, also as text; an absent one is false. None for any other.

    >>> [flag(value) for value in (0, 1, "0", "1", True, None, "no", 2)]
    [False, True, False, True, True, False, None, None]
    """
    if value is None:
        return False
    if isinstance(value, str):
        return _FLAGS.get(value.strip().lower())
    return bool(value) if value in (0, 1) else None
