"""A Score's identity, comparability and record."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bob_gauntlet.errors import BobError
from bob_gauntlet.scores.score import METRICS, Score, difference

BASE: dict[str, Any] = {
    "setting": "linear-probe@photos",
    "metric": "top1",
    "task": "Cls",
    "value": 88.0,
    "backbone": "a",
    "backbone_fingerprint": "f1",
    "protocol_hash": "p1",
    "datasets": {"train": "d1", "test": "d2"},
    "transform": "96px",
    "precision": "float32",
}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("setting", "knn@photos"),
        ("metric", "top5"),
        ("protocol_hash", "p2"),
        ("datasets", {"train": "d1", "test": "d3"}),
        ("precision", "bfloat16"),
        ("limit", 8),
        ("scale", "paper"),
        ("fidelity", "paper"),
    ],
)
def test_a_difference_that_forbids_comparison_is_named(field: str, value: object) -> None:
    """Each field that changes what was measured is found."""
    assert difference(Score(**BASE), Score(**{**BASE, field: value})) == field


def test_backbones_and_seeds_may_differ() -> None:
    """Two backbones are what a comparison is about; their transforms belong to them."""
    other = {**BASE, "backbone": "b", "backbone_fingerprint": "f2", "seeds": (0, 1), "transform": "96px other mean"}
    assert difference(Score(**BASE), Score(**other)) is None
    assert Score(**BASE).identity != Score(**other).identity


def test_the_device_is_in_the_identity_of_efficiency_alone() -> None:
    """Accuracy does not depend on where it was measured, speed does."""
    eff = {**BASE, "setting": "efficiency@noise", "metric": "latency", "task": "Eff"}
    assert Score(**{**BASE, "device": "x"}).identity == Score(**{**BASE, "device": "y"}).identity
    assert difference(Score(**{**eff, "device": "x"}), Score(**{**eff, "device": "y"})) == "device"


def test_provenance_is_in_no_key() -> None:
    """When and by whom it was measured does not make it another measurement."""
    assert Score(**BASE, provenance={"started": "now"}).identity == Score(**BASE).identity


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_must_be_finite(value: float) -> None:
    """A NaN is a failure, not a score."""
    with pytest.raises(BobError, match="not a finite number"):
        Score(**{**BASE, "value": value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metric": "top7"}, "unknown metric 'top7'"),
        ({"value": "88"}, "not a number"),
        ({"colour": 1}, "unknown colour"),
    ],
)
def test_a_record_that_is_no_score_is_refused(change: dict[str, Any], message: str) -> None:
    """A damaged line says which field is wrong."""
    with pytest.raises(BobError, match=message):
        Score.from_dict({**Score(**BASE).to_dict(), **change})


def test_a_missing_field_is_named() -> None:
    """The five fields without a default have to be there."""
    with pytest.raises(BobError, match="no backbone, value"):
        Score.from_dict({"setting": "s", "metric": "top1", "task": "Cls"})


@given(
    value=st.floats(allow_nan=False, allow_infinity=False),
    metric=st.sampled_from(sorted(METRICS)),
    backbone=st.text(),
    seeds=st.lists(st.integers(0, 99), min_size=1),
    limit=st.none() | st.integers(1, 99),
)
def test_a_record_reads_back(value: float, metric: str, backbone: str, seeds: list[int], limit: int | None) -> None:
    """`from_dict` is the inverse of `to_dict`."""
    score = Score(
        **{**BASE, "value": value, "metric": metric, "backbone": backbone, "seeds": tuple(seeds), "limit": limit}
    )
    assert Score.from_dict(score.to_dict()) == score
    assert hash(Score.from_dict(score.to_dict()).identity) == hash(score.identity)


def test_a_record_holds_no_nan() -> None:
    """JSON has none: what a protocol tells beside its value never keeps a score from being stored."""
    told = {"curve": {"loss": [1.0, math.inf]}, "by_label": (0.5, math.nan)}
    plain = Score(**BASE, provenance=told).to_dict()
    assert plain["provenance"] == {"curve": {"loss": [1.0, None]}, "by_label": [0.5, None]}
    assert Score.from_dict(json.loads(json.dumps(plain, allow_nan=False))).to_dict() == plain


def test_what_was_cut_is_named_before_its_fidelity() -> None:
    """A sound run of eight images is not indicative of anything."""
    cut = {**BASE, "limit": 8, "max_steps": 2, "fidelity": "paper"}
    assert difference(Score(**BASE), Score(**cut)) == "limit"
    assert difference(Score(**BASE), Score(**{**cut, "limit": None})) == "max_steps"
