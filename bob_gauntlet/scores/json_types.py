"""JSON values checked against type hints. Standard library only.

A stored file may hold any JSON: after damage, from another program or another version. What fits its hint has the types
that its readers rely on. Hints are made of Any, str, int, float, bool, None, Literal, unions, lists, tuples, mappings
with keys of text, dataclasses and TypedDicts; of any other class a value has to be an instance.
"""

import json
import re
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from math import isfinite
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

LARGEST = 1e30
"""The largest number that counts as one: sums and squares of larger ones would overflow."""

DEPTH = 64
"""Levels of lists and objects that a value may have: code that walks through it calls itself at each level."""

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
"""Finds in JSON what may be half of a surrogate pair."""

_Check = Callable[[Any], str]
"""From a value to where and why it does not fit: `.n is 'x', and has to be a whole number`; "" where it fits."""

_EXPECTED: Mapping[Any, tuple[Callable[[Any], bool], str]] = {
    Any: (lambda value: True, "anything"),
    str: (lambda value: isinstance(value, str), "text"),
    bool: (lambda value: isinstance(value, bool), "true or false"),
    int: (
        lambda value: isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63,
        "a whole number of at most 64 bits",
    ),
    # NaN and infinity are floats: whoever must not have one refuses it, as `load_json` does
    float: (
        lambda value: (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and (abs(value) <= LARGEST or (isinstance(value, float) and not isfinite(value)))
        ),
        f"a number of at most {LARGEST:g}",
    ),
    NoneType: (lambda value: value is None, "null"),
}
"""Hint -> whether a value fits, and what it has to be."""


def load_json(content: bytes) -> Any:
    """Return the value of JSON in UTF-8.

    Raises ValueError where it is none, is nested deeper than DEPTH, or has numbers or text that JSON in UTF-8 cannot
    hold: NaN, infinity, half of a surrogate pair.
    """
    try:
        value = json.loads(content.decode("utf-8-sig"), parse_float=_parse_number, parse_constant=_parse_number)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if _SURROGATE.search(content):
        json.dumps(value, ensure_ascii=False).encode()
    if content.count(b"[") + content.count(b"{") > DEPTH and not _is_shallow(value, DEPTH):
        raise ValueError(f"nested deeper than {DEPTH} levels")
    return value


def misfit(value: Any, hint: Any) -> str:
    """Return where and why a value does not fit a type hint, "" where it fits.

    A TypedDict with `total=False` may have more keys than it declares; other records have exactly their fields.

    >>> misfit({"a": [1, 2.5]}, dict[str, list[float]])
    ''
    >>> misfit({"a": [1, True]}, dict[str, list[int]])
    'a[1] is True, and has to be a whole number of at most 64 bits'
    """
    problem = _checker(hint)(value)
    return f"it{problem}" if problem.startswith(" ") else problem.removeprefix(".")


@cache
def _checker(hint: Any) -> _Check:
    """Return the check of a hint."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint in _EXPECTED:
        fits, expected = _EXPECTED[hint]
        return lambda value: "" if fits(value) else _wrong(value, expected)
    if origin is Literal:
        choices = " or ".join(map(repr, arguments))
        return lambda value: "" if isinstance(value, str) and value in arguments else _wrong(value, choices)
    if origin in (Union, UnionType):
        checks = [_checker(argument) for argument in arguments]
        return lambda value: "" if any(not check(value) for check in checks) else checks[0](value)
    if is_typeddict(hint) or is_dataclass(hint):
        return _record_checker(hint)
    if origin is tuple and arguments[-1] is not Ellipsis:
        return _tuple_checker([_checker(argument) for argument in arguments])
    if origin in (list, tuple, Sequence):
        return _list_checker(_checker(arguments[0]))
    if origin in (dict, Mapping):
        return _mapping_checker(None if arguments[1] is Any else _checker(arguments[1]))
    if isinstance(hint, type):
        return lambda value: "" if isinstance(value, hint) else _wrong(value, f"a {hint.__name__}")
    raise TypeError(f"no check is known for {hint}")


def _list_checker(check: _Check) -> _Check:
    def check_list(value: Any) -> str:
        if not isinstance(value, list | tuple):
            return _wrong(value, "a list")
        return next((f"[{i}]{problem}" for i, item in enumerate(value) if (problem := check(item))), "")

    return check_list


def _tuple_checker(checks: Sequence[_Check]) -> _Check:
    def check_tuple(value: Any) -> str:
        if not isinstance(value, list | tuple) or len(value) != len(checks):
            return _wrong(value, f"a list of {len(checks)}")
        pairs = enumerate(zip(checks, value, strict=True))
        return next((f"[{i}]{problem}" for i, (check, item) in pairs if (problem := check(item))), "")

    return check_tuple


def _mapping_checker(check: _Check | None) -> _Check:
    def check_mapping(value: Any) -> str:
        if not isinstance(value, Mapping):
            return _wrong(value, "an object")
        for name in value:
            if not isinstance(name, str):
                return f" has the key {_shown(name)}, and keys have to be text"
        if check is None:
            return ""
        return next((f".{name}{problem}" for name, item in value.items() if (problem := check(item))), "")

    return check_mapping


def _record_checker(hint: Any) -> _Check:
    """Return the check of a dataclass or a TypedDict."""
    checks = {name: _checker(inner) for name, inner in get_type_hints(hint).items()}
    if is_dataclass(hint):
        required = {f.name for f in fields(hint) if f.default is MISSING and f.default_factory is MISSING}
        is_open = False
    else:
        required, is_open = set(hint.__required_keys__), not hint.__total__

    def check_record(value: Any) -> str:
        if not isinstance(value, Mapping):
            return _wrong(value, "an object")
        if missing := required - value.keys():
            return f" has no {', '.join(sorted(missing))}"
        if not is_open and (unknown := value.keys() - checks.keys()):
            return f" has the unknown {', '.join(sorted(map(_shown, unknown)))}"
        for name, item in value.items():
            if name in checks and (problem := checks[name](item)):
                return f".{name}{problem}"
        return ""

    return check_record


def _wrong(value: Any, expected: str) -> str:
    return f" is {_shown(value)}, and has to be {expected}"


def _shown(value: Any) -> str:
    """Return a value in a few characters, however large or deep it is."""
    return reprlib.repr(value)


def _parse_number(text: str) -> float:
    """Return a number with a fraction or an exponent. Raises ValueError where it is not finite."""
    number = float(text)
    if not isfinite(number):
        raise ValueError(f"the number {_shown(text)} is not finite")
    return number


def _is_shallow(value: Any, levels: int) -> bool:
    """Return whether a value has at most so many levels of lists and objects."""
    if not isinstance(value, list | dict):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(_is_shallow(item, levels - 1) for item in inner)
