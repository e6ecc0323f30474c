"""The ranking: who is shown, over what, and what is never mixed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bob_gauntlet.errors import UsageError
from bob_gauntlet.pools.folder import PerExampleValues, write_examples
from bob_gauntlet.pools.pool import Pool
from bob_gauntlet.ranking.ranking import rank
from tests.helpers.small_pools import CLS, DIGITS, KNN, LATENCY, RET, make_pool, make_pool_of_four, make_score


@pytest.fixture
def four(tmp_path: Path) -> Pool:
    """a, b, c and the reference r: Cls 10, 20, 30 and 0; Ret 30, 20, 10 and 0."""
    return make_pool_of_four(tmp_path / "four")


def test_z_is_over_members_and_ranks_are_over_candidates(four: Pool) -> None:
    """Mean 15 and population std of 0, 10, 20, 30 (125 ** 0.5 = 11.18): worked by hand."""
    found = rank(four, task="Cls")
    assert [row.backbone for row in found.rows] == ["c", "b", "a"]
    assert [row.rank for row in found.rows] == [1, 2, 3]
    assert found.rows[0].z["Cls"] == pytest.approx((30 - 15) / 125**0.5)


def test_members_lists_references_too(four: Pool) -> None:
    """Random initialisations are shown on request."""
    assert {row.backbone for row in rank(four, members=True).rows} == {"a", "b", "c", "r"}


def test_all_is_the_flat_mean_over_measures(tmp_path: Path) -> None:
    """Two classification measures and one retrieval measure weigh a third each; kNN weighs nothing."""
    scores = [make_score(n, m, v) for n, v in (("a", 1.0), ("b", 2.0), ("c", 4.0)) for m in (CLS, DIGITS, RET, KNN)]
    found = rank(make_pool(tmp_path / "p", [*scores[:-2], make_score("c", RET, 0.0), scores[-1]]))
    c = next(row for row in found.rows if row.backbone == "c")
    assert c.measures == 3
    assert c.z["All"] == pytest.approx((2 * c.z["Cls"] + c.z["Ret"]) / 3)  # type: ignore[operator]


def test_efficiency_has_a_column_and_is_not_in_all(tmp_path: Path) -> None:
    """Lower latency is better: its z is negated."""
    scores = [make_score(n, m, v) for n, v in (("a", 1.0), ("b", 2.0), ("c", 4.0)) for m in (CLS, LATENCY)]
    found = rank(make_pool(tmp_path / "p", scores))
    a = next(row for row in found.rows if row.backbone == "a")
    assert a.z["Eff"] > 0 > a.z["Cls"]  # type: ignore[operator]
    assert a.z["All"] == a.z["Cls"]


def test_a_new_backbone_moves_nobody(four: Pool) -> None:
    """z-scores of the pool are frozen; only places shift."""
    before = {row.backbone: row.z for row in rank(four).rows}
    found = rank(four, {"mine": [make_score("mine", CLS, 1e6), make_score("mine", RET, 1e6)]})
    assert found.rows[0].backbone == "mine"
    assert found.rows[0].highlighted
    assert {row.backbone: row.z for row in found.rows if not row.highlighted} == before


def test_a_member_is_shown_once_and_marked(four: Pool) -> None:
    """The same fingerprint under another name."""
    mine = [replace(make_score("mine", m, v), backbone_fingerprint="fp-b") for m, v in ((CLS, 20.0), (RET, 20.0))]
    found = rank(four, {"mine": mine})
    assert sorted(row.backbone for row in found.rows) == ["a", "c", "mine"]
    assert next(row for row in found.rows if row.highlighted).member == "b"


def test_two_backbones_with_one_name_are_both_shown(four: Pool) -> None:
    """Another network that is called b: the pool's b is told apart."""
    mine = [replace(make_score("b", CLS, 1.0), backbone_fingerprint="other")]
    assert {row.backbone for row in rank(four, {"b": mine}).rows} == {"a", "b", "b (pool)", "c"}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"protocol_hash": "p2"}, "protocol_hash"),
        ({"limit": 8}, "limit"),
        ({"datasets": {"test": "x"}}, "datasets"),
        ({"precision": "bfloat16"}, "precision"),
    ],
)
def test_unlike_things_are_never_compared(four: Pool, change: dict[str, object], field: str) -> None:
    """The score is left out, and the note names the field."""
    found = rank(four, {"mine": [replace(make_score("mine", CLS, 5.0), **change)]})
    mine = next(row for row in found.rows if row.highlighted)
    assert mine.rank is None
    assert mine.measured == 0
    assert any(f"{field} differs from that of pool four" in note for note in found.notes)


def test_another_scale_is_refused(four: Pool) -> None:
    """Mini against paper: one line that says what to do."""
    with pytest.raises(UsageError, match="mine was measured at paper scale, and pool four holds mini-scale scores"):
        rank(four, {"mine": [replace(make_score("mine", CLS, 5.0), scale="paper")]})


def test_coverage_says_what_is_missing(four: Pool) -> None:
    """Half of the measures: skipped, never zero."""
    found = rank(four, {"mine": [make_score("mine", CLS, 30.0)]})
    mine = next(row for row in found.rows if row.highlighted)
    assert mine.coverage == 0.5
    assert mine.z == {"All": pytest.approx(15 / 125**0.5), "Cls": pytest.approx(15 / 125**0.5), "Ret": None}


def test_a_session_is_ranked_over_what_it_measured(four: Pool) -> None:
    """With `only_measured` everybody is judged by the same measures."""
    found = rank(four, {"mine": [make_score("mine", CLS, 25.0)]}, only_measured=True)
    assert found.measures == (CLS,)
    assert [row.backbone for row in found.rows] == ["c", "mine", "b", "a"]


def test_too_few_members_give_a_note(tmp_path: Path) -> None:
    """Two members have no z."""
    found = rank(make_pool(tmp_path / "p", [make_score("a", CLS, 1.0), make_score("b", CLS, 2.0)]))
    assert any("2 members have a value" in note for note in found.notes)
    assert all(row.rank is None for row in found.rows)


def test_intervals_are_joint_over_stored_examples(tmp_path: Path) -> None:
    """b is a little worse than a on every example: their ranks never overlap, though their spread is wide."""
    rng = np.random.default_rng(0)
    easy = 100 * rng.random(300)
    values = {"a": easy, "b": easy - 0.5, "c": easy - 30}
    folder = tmp_path / "p"
    made = make_pool(folder, [make_score(n, CLS, float(v.mean())) for n, v in values.items()])
    write_examples(folder, *CLS, PerExampleValues(tuple(map(str, range(300))), tuple(map(str, range(300))), values))
    assert [(row.backbone, row.interval, row.group) for row in rank(made, task="Cls").rows] == [
        ("a", (1, 1), 1),
        ("b", (2, 2), 2),
        ("c", (3, 3), 3),
    ]


def test_without_examples_intervals_come_from_standard_errors(tmp_path: Path) -> None:
    """Two scores whose errors overlap share their places and their group."""
    scores = [
        make_score(n, CLS, v, provenance={"stderr": 1.0})
        for n, v in (("a", 50.0), ("b", 49.5), ("c", 10.0), ("d", 0.0))
    ]
    found = rank(make_pool(tmp_path / "p", scores), task="Cls")
    assert [row.interval for row in found.rows] == [(1, 2), (1, 2), (3, 3), (4, 4)]
    assert [row.group for row in found.rows] == [1, 1, 2, 3]


def test_the_choice_of_settings_is_said_to_be_open(four: Pool) -> None:
    """Mini has two sources of images."""
    assert any("no intervals over the choice of datasets" in note for note in rank(four).notes)


def test_an_unknown_task_names_the_tasks(four: Pool) -> None:
    """One line."""
    with pytest.raises(UsageError, match="unknown task 'Clss'; tasks are Cls, Det"):
        rank(four, task="Clss")


def test_the_same_scores_give_the_same_ranking(four: Pool) -> None:
    """The bootstrap has a seed."""
    assert rank(four) == rank(four)
