"""JSON values against type hints: what fits, what is said of what does not, and nothing raises."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import pytest
from hypothesis import given

from bob_gauntlet.scores.json_types import DEPTH, LARGEST, load_json, misfit
from bob_gauntlet.scores.score import Score
from tests.helpers.nasty_json import RECORD, VALUES
from tests.helpers.score_strategies import plain_values


class Closed(TypedDict):
    """A record of two fields."""

    a: int
    b: list[str]


class Open(TypedDict, total=False):
    """A record that may have more fields."""

    a: int


@dataclass
class WithDefault:
    """A record of one field that has to be there."""

    a: float
    b: int | None = None


@pytest.mark.parametrize(
    ("value", "hint", "problem"),
    [
        (1, int, ""),
        (True, int, "it is True, and has to be a whole number of at most 64 bits"),
        (2**63, int, "it is 9223372036854775808, and has to be a whole number of at most 64 bits"),
        (1.0, int, "it is 1.0, and has to be a whole number of at most 64 bits"),
        (1, float, ""),
        (False, float, "it is False, and has to be a number of at most 1e+30"),
        (1e31, float, "it is 1e+31, and has to be a number of at most 1e+30"),
        (float("nan"), float, ""),
        (1, bool, "it is 1, and has to be true or false"),
        (None, int | None, ""),
        ("x", int | None, "it is 'x', and has to be a whole number of at most 64 bits"),
        ("a", Literal["a", "b"], ""),
        ([], Literal["a", "b"], "it is [], and has to be 'a' or 'b'"),
        ([1, "x"], list[int], "[1] is 'x', and has to be a whole number of at most 64 bits"),
        ((1, 2), Sequence[int], ""),
        ("ab", list[str], "it is 'ab', and has to be a list"),
        ([1], tuple[int, int], "it is [1], and has to be a list of 2"),
        ([1, 2], tuple[int, ...], ""),
        ({"a": {"b": []}}, Mapping[str, dict[str, Any]], ""),
        ({"a": 1}, dict[str, str], "a is 1, and has to be text"),
        ({1: "a"}, dict[str, str], "it has the key 1, and keys have to be text"),
        ({"a": 1, "b": ["x"]}, Closed, ""),
        ({"a": 1}, Closed, "it has no b"),
        ({"a": 1, "b": [], "c": 1}, Closed, "it has the unknown 'c'"),
        ({"a": 1, "b": [2]}, Closed, "b[0] is 2, and has to be text"),
        ({"more": [2]}, Open, ""),
        ({"a": "x"}, Open, "a is 'x', and has to be a whole number of at most 64 bits"),
        ({"a": 1.5}, WithDefault, ""),
        ({"b": 1}, WithDefault, "it has no a"),
        ([], WithDefault, "it is [], and has to be an object"),
    ],
)
def test_what_does_not_fit_is_named(value: Any, hint: Any, problem: str) -> None:
    """The message says where the value is, what it is and what it has to be."""
    assert misfit(value, hint) == problem


def test_a_valid_record_fits() -> None:
    """A record with every field and every key of the provenance fits."""
    assert misfit(RECORD, Score) == ""


@pytest.mark.parametrize("value", VALUES)
def test_any_value_is_shown_in_a_few_characters(value: Any) -> None:
    """Huge numbers, long texts and deep lists are shortened."""
    assert len(misfit(value, dict[str, Literal["no such text"]])) < 300


@given(plain_values)
def test_json_is_what_was_written(value: Any) -> None:
    """A value of finite numbers and text is read as it was written, with characters as they are or escaped."""
    for ascii_only in (True, False):
        content = json.dumps(value, ensure_ascii=ascii_only).encode()
        assert load_json(content) == value


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[NaN]", "not finite"),
        (b"[-Infinity]", "not finite"),
        (b"[1e999]", "not finite"),
        (b"[1" + b"0" * 400 + b".0]", "not finite"),
        (b'["\\ud800"]', "surrogates not allowed"),
        (b'["\\uDFFF"]', "surrogates not allowed"),
        (b'["\xff"]', "can't decode"),
        (b"[" * 200_000, "nested too deeply"),
        (b"[" * 200_000 + b"]" * 200_000, "nested too deeply"),
        (b"[" * (DEPTH + 1) + b"]" * (DEPTH + 1), "nested deeper than 64 levels"),
        (b"9" * 5000, "4300 digits"),
        (b"", "Expecting value"),
    ],
)
def test_what_json_cannot_hold_is_refused(content: bytes, reason: str) -> None:
    """Numbers that are not finite, halves of surrogate pairs and endless nesting are no JSON here."""
    with pytest.raises(ValueError, match=reason):
        load_json(content)


def test_a_pair_of_surrogates_is_a_character() -> None:
    """A character beyond 16 bits, escaped as two surrogates, is text."""
    assert load_json(b'["\\ud83e\\udd86"]') == ["🦆"]


def test_the_largest_values_are_read() -> None:
    """A list of DEPTH levels is read, and LARGEST is a number."""
    assert load_json(b"[" * DEPTH + b"]" * DEPTH)
    assert misfit([LARGEST, -LARGEST], list[float]) == ""
