"""The identity, the comparability and the record of a Score."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bob_gauntlet.errors import BobError
from bob_gauntlet.scores.json_types import LARGEST
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
    """`difference` names each field that changes what was measured."""
    assert difference(Score(**BASE), Score(**{**BASE, field: value})) == field


def test_backbones_and_seeds_may_differ() -> None:
    """Scores of two backbones with their own transforms and seeds are comparable, and their identities differ."""
    other = {**BASE, "backbone": "b", "backbone_fingerprint": "f2", "seeds": (0, 1), "transform": "96px other mean"}
    assert difference(Score(**BASE), Score(**other)) is None
    assert Score(**BASE).identity != Score(**other).identity


def test_the_device_is_in_the_identity_of_efficiency_alone() -> None:
    """The device belongs to the identity of an efficiency score, and not to that of an accuracy."""
    eff = {**BASE, "setting": "efficiency@noise", "metric": "latency_ratio", "task": "Eff"}
    assert Score(**{**BASE, "device": "x"}).identity == Score(**{**BASE, "device": "y"}).identity
    assert Score(**{**eff, "device": "x"}).identity != Score(**{**eff, "device": "y"}).identity


CPU, OTHER_CPU, GPU = "cpu: AMD EPYC, 2 cores", "cpu: Apple M2, 8 cores", "NVIDIA H100 80GB HBM3"
FAST, SLOW = (
    {"matrix_product": {"quickest_ms": ms, "median_ms": ms}, "memory_pass": {"quickest_ms": 2.0, "median_ms": 2.0}}
    for ms in (1.0, 1.5)
)


@pytest.mark.parametrize(
    ("metric", "compared"),
    [
        # sizes of a network are the same everywhere; a ratio is compared among CPUs or among GPUs
        ("params", {"same", "slower", "other", "gpu"}),
        ("flops", {"same", "slower", "other", "gpu"}),
        ("latency_ratio", {"same", "slower", "other"}),
        ("batch_ratio", {"same", "slower", "other"}),
        ("peak_memory", {"same", "slower", "other"}),
        # a machine of the same name that is slower is another machine
        ("latency", {"same"}),
        ("throughput", {"same"}),
    ],
)
def test_what_devices_must_have_in_common(metric: str, compared: set[str]) -> None:
    """Each efficiency metric is compared with measurements on these machines, and on no others."""

    def eff(device: str, timing: dict[str, Any]) -> Score:
        measure = {"setting": "efficiency@noise", "metric": metric, "task": "Eff"}
        return Score(**{**BASE, **measure, "device": device, "provenance": {"timing": timing}})

    machines = {"same": (CPU, FAST), "slower": (CPU, SLOW), "other": (OTHER_CPU, FAST), "gpu": (GPU, FAST)}
    fields = {name: difference(eff(CPU, FAST), eff(*machine)) for name, machine in machines.items()}
    assert {name for name, field in fields.items() if field is None} == compared
    assert set(fields.values()) <= {None, "device"}


def test_a_machine_without_figures_has_no_known_speed() -> None:
    """Latencies are not compared by the name of the processor alone."""
    latency = Score(**{**BASE, "setting": "efficiency@noise", "metric": "latency", "task": "Eff", "device": CPU})
    assert difference(latency, latency) == "device"


def test_a_time_says_whether_its_machine_was_quiet() -> None:
    """A noisy record gives the reason; a score without a record has none."""
    eff = {**BASE, "setting": "efficiency@noise", "metric": "latency_ratio", "task": "Eff"}
    assert Score(**eff).not_quiet == ""
    assert Score(**eff, provenance={"timing": {"spread": 0.01}}).not_quiet == ""
    noisy = Score(**eff, provenance={"timing": {"spread": 0.5}})
    assert noisy.not_quiet.endswith("run it again alone: pytest suites/ --backbone=a -k efficiency --bob-rerun")


def test_provenance_is_in_no_key() -> None:
    """Provenance, such as the time of a measurement, is not part of the identity."""
    assert Score(**BASE, provenance={"started": "now"}).identity == Score(**BASE).identity


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 1e31])
def test_a_value_must_be_finite(value: float) -> None:
    """A value that is not finite raises an error."""
    with pytest.raises(BobError, match="not a finite number"):
        Score(**{**BASE, "value": value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metric": "top7"}, "unknown metric 'top7'"),
        ({"value": "88"}, "value is '88', and has to be a number"),
        ({"value": True}, "value is True, and has to be a number"),
        ({"value": 10**400}, "value is 1000.*, and has to be a number"),
        ({"colour": 1}, "it has the unknown 'colour'"),
        ({"seeds": "0"}, "seeds is '0', and has to be a list"),
        ({"limit": True}, "limit is True, and has to be a whole number"),
        ({"datasets": {"test": ["d"]}}, r"datasets.test is \['d'\], and has to be text"),
        ({"scale": "tiny"}, "scale is 'tiny', and has to be 'mini' or 'paper'"),
        ({"provenance": None}, "provenance is None, and has to be an object"),
        ({"provenance": {"metrics": 5}}, "provenance.metrics is 5, and has to be a list"),
        ({"provenance": {"examples": {"kind": "x"}}}, "provenance.examples has no key"),
        ({"provenance": {"curve": {"epoch": [1], "validation": [], "loss": []}}}, "columns of different lengths"),
    ],
)
def test_a_record_that_is_no_score_is_refused(change: dict[str, Any], message: str) -> None:
    """A damaged record is refused, and the message says what is wrong."""
    with pytest.raises(BobError, match=message):
        Score.from_dict({**Score(**BASE).to_dict(), **change})


def test_a_missing_field_is_named() -> None:
    """A record without one of the five fields that have no default is refused, and the missing ones are named."""
    with pytest.raises(BobError, match="no backbone, value"):
        Score.from_dict({"setting": "s", "metric": "top1", "task": "Cls"})


@given(
    value=st.floats(-LARGEST, LARGEST),
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
    """Values in the provenance that are not finite become null, because JSON has no NaN or infinity."""
    curve = {"epoch": [1, 2], "validation": [math.nan, 5.0], "loss": [1.0, math.inf]}
    plain = Score(**BASE, provenance={"curve": curve, "by_label": (0.5, math.nan)}).to_dict()
    stored_curve = {"epoch": [1, 2], "validation": [None, 5.0], "loss": [1.0, None]}
    assert plain["provenance"] == {"curve": stored_curve, "by_label": [0.5, None]}
    assert Score.from_dict(json.loads(json.dumps(plain, allow_nan=False))).to_dict() == plain


def test_what_was_cut_is_named_before_its_fidelity() -> None:
    """A difference in the limit or in the number of steps is named before one in the fidelity."""
    cut = {**BASE, "limit": 8, "max_steps": 2, "fidelity": "paper"}
    assert difference(Score(**BASE), Score(**cut)) == "limit"
    assert difference(Score(**BASE), Score(**{**cut, "limit": None})) == "max_steps"


def test_a_part_of_a_backbone_is_not_compared() -> None:
    """A score of a partly loaded backbone is compared with scores of equal parts only, at any fidelity."""
    text = "partial: 51% of the parameters were in the file"
    part = {**BASE, "provenance": {"backbone": {"partial": text}}}
    assert Score(**part).partial == text
    assert difference(Score(**BASE), Score(**{**part, "fidelity": "paper"})) == "partial"
    assert difference(Score(**part), Score(**part)) is None


@pytest.mark.parametrize("provenance", [{}, {"backbone": {}}, {"backbone": "x"}, {"backbone": None}], ids=repr)
def test_a_whole_backbone_has_no_mark(provenance: Any) -> None:
    """Scores of whole backbones, and provenance of any content, have no mark."""
    assert Score(**{**BASE, "provenance": provenance}).partial == ""


# 98 / 96 = 1.02 and 70 / 64 = 1.09 are patches of 14 px; 112 / 96 = 1.17
@pytest.mark.parametrize(
    ("sizes", "fields", "difference_of_both"),
    [
        ((96, 96), {}, None),
        ((98, 96), {}, None),
        ((64, 70), {}, None),
        ((96, 112), {}, "input size"),
        ((224, 96), {}, "input size"),
        ((96, 64), {"task": "Eff"}, "input size"),
        ((224, 176), {"task": "Det"}, None),
        ((224, 176), {"task": "Seg"}, None),
        ((224, 176), {"task": "OOD-Det"}, None),
        ((384, 224), {"scale": "paper"}, None),
    ],
)
def test_inputs_of_unequal_size_are_not_compared_at_mini_scale(
    sizes: tuple[int, int], fields: dict[str, str], difference_of_both: str | None
) -> None:
    """Sizes may differ by a tenth; detection resizes images itself; the paper takes each backbone at its own size."""
    a, b = (Score(**{**BASE, **fields, "transform": f"{size}px crop 0.9"}) for size in sizes)
    assert difference(a, b) == difference(b, a) == difference_of_both


def test_another_field_is_named_before_the_size() -> None:
    """A score of another protocol differs in more than its size; a score without a transform has no size."""
    other = Score(**{**BASE, "transform": "224px", "protocol_hash": "q"})
    assert difference(Score(**BASE), other) == "protocol_hash"
    assert difference(Score(**BASE), Score(**{**BASE, "transform": ""})) is None
