"""Units of settings that share an artefact, and the orders in which they run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bob_gauntlet.plugin.units import Unit, cheap_first, share_of, timed_units, units_of


def test_a_unit_shares_a_trained_head() -> None:
    """Shifts and attacks of a fine-tuned network are in its unit, and settings on features are in another."""
    units = units_of(
        [
            "c.py::t[x@adversarial-finetune-eps1@photos]",
            "c.py::t[x@linear-probe@photos]",
            "c.py::t[x@finetune@photos]",
            "c.py::t[x@ood-finetune@photos-sketch]",
            "c.py::t[x@ood-linear-probe@photos-sketch]",
            "c.py::t[x@ood-finetune@imagenet-a]",
            "c.py::t[x@finetune@mine]",
        ]
    )
    assert [len(unit) for unit in units] == [3, 2, 1, 1]
    assert units[0][-1] == "c.py::t[x@ood-finetune@photos-sketch]"


@pytest.mark.parametrize(
    "protocol",
    ["low-shot-10pct", "linear-probe-lars", "detection-frozen", "ood-detection-frozen", "efficiency", "of-a-user"],
)
def test_a_protocol_that_reuses_nothing_is_a_unit_of_its_own(protocol: str) -> None:
    """A protocol that reuses nothing of the linear probe or of fine-tuning on its dataset is a unit of its own."""
    ids = [f"t[x@{name}@photos]" for name in ("linear-probe", protocol, "finetune")]
    assert units_of(ids) == [[each] for each in ids]


def test_other_tests_are_units_of_their_own() -> None:
    """Each test outside the suites is a unit of its own."""
    assert units_of(["t.py::a", "t.py::b[1]", "s.py::c[x@knn@d]"]) == [
        ["t.py::a"],
        ["t.py::b[1]"],
        ["s.py::c[x@knn@d]"],
    ]


SECONDS = {
    "t[x@adversarial-linear-probe-eps1@photos]": 145.0,
    "t[x@knn@photos]": 0.1,
    "t[x@linear-probe@photos]": 5.0,
    "t[x@adversarial-finetune-eps1@photos]": 2.0,
    "t[x@finetune@photos]": 40.0,
    "t[x@low-shot-10pct@photos]": 10.0,
    "t[x@ood-finetune@photos-hard]": 0.1,
}


def test_a_serial_run_does_what_is_cheap_first() -> None:
    """Settings on features are sorted one by one; those of a trained network stay together, behind cheaper ones."""
    shown = [
        node_id.removeprefix("t[x@").removesuffix("]") for node_id in cheap_first(list(SECONDS), SECONDS.__getitem__)
    ]
    assert shown == [
        "knn@photos", "linear-probe@photos", "low-shot-10pct@photos",
        "adversarial-finetune-eps1@photos", "finetune@photos", "ood-finetune@photos-hard",
        "adversarial-linear-probe-eps1@photos",
    ]  # fmt: skip


@given(st.permutations(list(SECONDS)), st.lists(st.floats(0, 100), min_size=len(SECONDS), max_size=len(SECONDS)))
def test_a_serial_run_has_every_item_once_and_networks_together(order: list[str], seconds: list[float]) -> None:
    """Whatever the durations are, no item is lost and nothing comes between settings of one trained network."""
    expected = dict(zip(order, seconds, strict=True))
    ordered = cheap_first(order, expected.__getitem__)
    assert sorted(ordered) == sorted(order)
    places = [place for place, node_id in enumerate(ordered) if "finetune" in node_id]
    assert places == list(range(places[0], places[0] + 3))


def test_units_are_sorted_by_what_they_take_together() -> None:
    """Long units come first, whatever their single items take, and exclusive ones last."""
    seconds = {**SECONDS, "t[x@efficiency@noise]": 500.0}
    units = timed_units(list(seconds), seconds.__getitem__)
    assert [round(unit.seconds) for unit in units] == [150, 42, 10, 500]
    assert [unit.exclusive for unit in units] == [False, False, False, True]


@given(st.lists(st.floats(0, 50), min_size=1, max_size=5), st.lists(st.floats(0, 50), max_size=12))
def test_every_unit_is_in_one_share(free: list[float], seconds: list[float]) -> None:
    """The shares of all workers together are all units, each once."""
    units = [Unit([str(number)], each) for number, each in enumerate(seconds)]
    shares = [unit.items[0] for worker in range(len(free)) for unit in share_of(worker, free, units)]
    assert sorted(shares) == sorted(unit.items[0] for unit in units)
