"""Expected durations of settings, from stored scores and from a pool."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bob_gauntlet.scores.durations import LONGEST, UNKNOWN, Conditions, Durations, ExpectedTime
from bob_gauntlet.scores.score import Score


def timed(setting: str, seconds: Any, backbone: str = "x", **fields: Any) -> Score:
    """Return a score that took some seconds."""
    values: dict[str, Any] = {"device": "cpu", "provenance": {"seconds": seconds}, **fields}
    return Score(setting=setting, metric="top1", task="Cls", value=1.0, backbone=backbone, **values)


ABSURD = (-1.0, math.nan, math.inf, -math.inf, 2 * LONGEST, "12", None, True, [3.0])


@pytest.mark.parametrize("seconds", ABSURD, ids=repr)
def test_an_absurd_duration_is_ignored(seconds: Any) -> None:
    """A stored or pooled duration that is no plain number of seconds changes no expectation."""
    durations = Durations([timed("knn@photos", seconds)], [timed("knn@digits", seconds, "member")])
    assert durations.expect("x", "knn@photos") == ExpectedTime(UNKNOWN, "guess")
    durations.add(timed("knn@photos", 3.0))
    durations.add(timed("knn@photos", seconds))
    assert durations.expect("x", "knn@photos") == ExpectedTime(3.0, "store")


@given(st.lists(st.one_of(st.sampled_from(ABSURD), st.floats(), st.integers()), max_size=8))
def test_every_expectation_is_a_plain_number_of_seconds(values: list[Any]) -> None:
    """Whatever is stored, what is expected of any setting is finite and not negative."""
    scores = [timed(f"knn@d{index % 3}", value, f"b{index % 2}") for index, value in enumerate(values)]
    durations = Durations(scores[::2], scores[1::2])
    for backbone in ("b0", "new"):
        for setting in ("knn@d0", "knn@d9", "finetune@d0"):
            seconds = durations.expect(backbone, setting).seconds
            assert math.isfinite(seconds)
            assert seconds >= 0


def test_the_present_protocol_counts_before_others() -> None:
    """A duration of the same protocol hash is used, else the last one of the setting."""
    stored = [timed("knn@photos", 5.0, protocol_hash="now"), timed("knn@photos", 9.0, protocol_hash="old")]
    durations = Durations(stored, [])
    assert durations.expect("x", "knn@photos", "now").seconds == 5
    assert durations.expect("x", "knn@photos", "next").seconds == 9
    durations.add(timed("knn@photos", 6.0, protocol_hash="now"))
    assert durations.expect("x", "knn@photos", "next").seconds == 6


def test_another_backbone_of_the_store_counts_before_the_pool() -> None:
    """Durations of other backbones on this machine are used before durations of the pool, from another machine."""
    stored = [timed("knn@photos", seconds, name) for name, seconds in (("a", 1.0), ("b", 3.0), ("c", 8.0))]
    durations = Durations(stored, [timed("knn@photos", 99.0, "member")])
    assert durations.expect("x", "knn@photos") == ExpectedTime(3.0, "store")


def test_the_pool_is_scaled_to_the_backbone_and_the_machine() -> None:
    """The median ratio of at least three settings scales the pool: of the backbone, else of all backbones."""
    settings = ["finetune@photos", "finetune@digits", "low-shot-10pct@photos", "low-shot-10pct@digits"]
    pool = [timed(setting, 10.0, member) for setting in settings for member in ("m", "n")]
    durations = Durations([timed(settings[0], 20.0), timed(settings[1], 30.0)], pool)
    assert durations.expect("x", settings[3]) == ExpectedTime(10.0, "pool")
    durations.add(timed(settings[2], 900.0))
    assert durations.expect("x", settings[3]) == ExpectedTime(30.0, "pool")
    assert durations.expect("new", settings[3]) == ExpectedTime(30.0, "pool")
    assert durations.expect("x", "finetune@mine") == ExpectedTime(75.0, "guess")


def test_tiny_durations_scale_nothing() -> None:
    """A setting of milliseconds says nothing about the speed of a machine."""
    settings = ["knn@photos", "knn@digits", "retrieval@copydays-mini"]
    pool = [timed(setting, 0.01) for setting in settings] + [timed("finetune@photos", 10.0)]
    durations = Durations([timed(setting, 5.0) for setting in settings], pool)
    assert durations.expect("x", "finetune@photos").seconds == 10


@pytest.mark.parametrize("field", [{"limit": 8}, {"max_steps": 2}, {"device": "NVIDIA H100"}])
def test_runs_under_other_conditions_are_not_compared(field: dict[str, Any]) -> None:
    """A shortened run and a whole one, a GPU and a CPU: durations of one say nothing certain about the other."""
    other = timed("knn@photos", 500.0, **field)
    assert Durations([other], []).expect("x", "knn@photos").source == "guess"
    durations = Durations([other], [timed("knn@photos", 4.0)], Conditions.of(other))
    assert durations.expect("x", "knn@photos") == ExpectedTime(500.0, "store")
    assert durations.expect("y", "knn@digits").source == "guess"
    assert Durations([], [timed("knn@photos", 4.0)], Conditions.of(other)).expect("x", "knn@photos").source == "guess"


def test_seeds_are_repetitions() -> None:
    """A duration of three seeds stands for three times one seed."""
    durations = Durations([timed("finetune@photos", 30.0, seeds=(0, 1, 2))], [])
    assert durations.expect("x", "finetune@photos", seeds=1).seconds == 10
    assert durations.expect("x", "finetune@photos", seeds=5).seconds == 50
