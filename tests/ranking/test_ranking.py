"""The ranking: which backbones are shown, over which measures, and what is never compared."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bob_gauntlet.datasets.catalog import CATALOG
from bob_gauntlet.errors import UsageError
from bob_gauntlet.pools.folder import PerExampleValues, read_examples, write_examples
from bob_gauntlet.pools.pool import Pool, load_pool
from bob_gauntlet.ranking.ranking import Ranking, RankingRow, RankingStatistics, rank
from bob_gauntlet.ranking.score_table import ScoreTable
from bob_gauntlet.runtime.artifacts import ArtifactRef, Artifacts, ExampleValues
from bob_gauntlet.runtime.schema import Array, Schema
from bob_gauntlet.scores.settings import ranked_measures
from tests.helpers.small_pools import CLS, DIGITS, KNN, LATENCY, RET, make_pool, make_pool_of_four, make_score


@pytest.fixture
def four(tmp_path: Path) -> Pool:
    """A pool of a, b, c and the reference r: Cls 10, 20, 30 and 0; Ret 30, 20, 10 and 0."""
    return make_pool_of_four(tmp_path / "four")


def row_of(ranking: Ranking, name: str) -> RankingRow:
    """Return the row of a backbone."""
    [row] = [row for row in ranking.rows if row.backbone == name]
    return row


def test_z_is_over_members_and_ranks_are_over_candidates(four: Pool) -> None:
    """The mean of 0, 10, 20, 30 is 15 and their population std 125 ** 0.5 = 11.18, worked out by hand."""
    ranking = rank(four, task="Cls")
    assert [row.backbone for row in ranking.rows] == ["c", "b", "a"]
    assert [row.rank for row in ranking.rows] == [1, 2, 3]
    assert ranking.rows[0].z["Cls"] == pytest.approx((30 - 15) / 125**0.5)


def test_members_lists_references_too(four: Pool) -> None:
    """With `members` the ranking shows random initialisations, too."""
    assert {row.backbone for row in rank(four, members=True).rows} == {"a", "b", "c", "r"}


def test_all_is_the_flat_mean_over_measures(tmp_path: Path) -> None:
    """Two classification measures and one retrieval measure have a weight of a third each, and kNN has none."""
    scores = [make_score(n, m, v) for n, v in (("a", 1.0), ("b", 2.0), ("c", 4.0)) for m in (CLS, DIGITS, RET, KNN)]
    ranking = rank(make_pool(tmp_path / "p", [*scores[:-2], make_score("c", RET, 0.0), scores[-1]]))
    c = row_of(ranking, "c")
    assert c.measures == 3
    assert c.z["All"] == pytest.approx((2 * c.z["Cls"] + c.z["Ret"]) / 3)  # type: ignore[operator]


def test_efficiency_has_a_column_and_is_not_in_all(tmp_path: Path) -> None:
    """Lower latency is better, so its z is negated."""
    scores = [make_score(n, m, v) for n, v in (("a", 1.0), ("b", 2.0), ("c", 4.0)) for m in (CLS, LATENCY)]
    a = row_of(rank(make_pool(tmp_path / "p", scores)), "a")
    assert a.z["Eff"] > 0 > a.z["Cls"]  # type: ignore[operator]
    assert a.z["All"] == a.z["Cls"]


def test_adding_a_backbone_does_not_change_existing_z_scores(four: Pool) -> None:
    """The z-scores of the pool are frozen; only ranks change."""
    before = {row.backbone: row.z for row in rank(four).rows}
    ranking = rank(four, {"mine": [make_score("mine", CLS, 1e6), make_score("mine", RET, 1e6)]})
    assert ranking.rows[0].backbone == "mine"
    assert ranking.rows[0].highlighted
    assert {row.backbone: row.z for row in ranking.rows if not row.highlighted} == before


def test_a_member_is_shown_once_and_marked(four: Pool) -> None:
    """A backbone with the fingerprint of member b replaces b in the ranking."""
    scores = [replace(make_score("mine", m, v), backbone_fingerprint="fp-b") for m, v in ((CLS, 20.0), (RET, 20.0))]
    ranking = rank(four, {"mine": scores})
    assert sorted(row.backbone for row in ranking.rows) == ["a", "c", "mine"]
    assert next(row for row in ranking.rows if row.highlighted).member == "b"


def test_two_backbones_with_one_name_are_both_shown(four: Pool) -> None:
    """Where the user's backbone is called b but has other weights, the pool's b is shown as "b (pool)"."""
    scores = [replace(make_score("b", CLS, 1.0), backbone_fingerprint="other")]
    assert {row.backbone for row in rank(four, {"b": scores}).rows} == {"a", "b", "b (pool)", "c"}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"protocol_hash": "p2"}, "protocol_hash"),
        ({"limit": 8}, "limit"),
        ({"datasets": {"test": "x"}}, "datasets"),
        ({"precision": "bfloat16"}, "precision"),
    ],
)
def test_different_measurements_are_never_compared(four: Pool, change: dict[str, object], field: str) -> None:
    """A score that differs in one field from the pool's is left out, and a note names the field."""
    ranking = rank(four, {"mine": [replace(make_score("mine", CLS, 5.0), **change)]})
    row = row_of(ranking, "mine")
    assert row.rank is None
    assert row.measured == 0
    assert any(f"{field} differs from that of pool four" in note for note in ranking.notes)


def test_another_scale_is_refused(four: Pool) -> None:
    """A paper-scale score in a mini-scale pool is an error that says what to do."""
    with pytest.raises(UsageError, match="mine was measured at paper scale, and pool four holds mini-scale scores"):
        rank(four, {"mine": [replace(make_score("mine", CLS, 5.0), scale="paper")]})


def test_coverage_says_what_is_missing(four: Pool) -> None:
    """A backbone with half of the measures has a coverage of 0.5; missing values are skipped, not counted as zero."""
    row = row_of(rank(four, {"mine": [make_score("mine", CLS, 30.0)]}), "mine")
    assert row.coverage == 0.5
    assert row.z == {"All": pytest.approx(15 / 125**0.5), "Cls": pytest.approx(15 / 125**0.5), "Ret": None}


def test_a_session_is_ranked_over_what_it_measured(four: Pool) -> None:
    """With `only_measured` all backbones are ranked over the measures that the user's backbone has."""
    ranking = rank(four, {"mine": [make_score("mine", CLS, 25.0)]}, only_measured=True)
    assert ranking.measures == (CLS,)
    assert [row.backbone for row in ranking.rows] == ["c", "mine", "b", "a"]


def test_too_few_members_give_a_note(tmp_path: Path) -> None:
    """A pool of two members has no z-scores and no ranks, and a note gives the reason."""
    ranking = rank(make_pool(tmp_path / "p", [make_score("a", CLS, 1.0), make_score("b", CLS, 2.0)]))
    assert any("2 members have a value" in note for note in ranking.notes)
    assert all(row.rank is None for row in ranking.rows)


def test_intervals_are_joint_over_stored_examples(tmp_path: Path) -> None:
    """Where b is a little worse than a on every example, their ranks never overlap, however wide the spread is."""
    rng = np.random.default_rng(0)
    easy = 100 * rng.random(300)
    values = {"a": easy, "b": easy - 0.5, "c": easy - 30}
    folder = tmp_path / "p"
    pool = make_pool(folder, [make_score(n, CLS, float(v.mean())) for n, v in values.items()])
    ids = tuple(map(str, range(300)))
    write_examples(folder, *CLS, PerExampleValues(ids, clusters=ids, values=values))
    assert [(row.backbone, row.interval, row.group) for row in rank(pool, task="Cls").rows] == [
        ("a", (1, 1), 1),
        ("b", (2, 2), 2),
        ("c", (3, 3), 3),
    ]


def test_without_examples_intervals_come_from_standard_errors(tmp_path: Path) -> None:
    """Two scores whose standard errors overlap have the same rank interval and the same tie group."""
    scores = [
        make_score(n, CLS, v, provenance={"stderr": 1.0})
        for n, v in (("a", 50.0), ("b", 49.5), ("c", 10.0), ("d", 0.0))
    ]
    ranking = rank(make_pool(tmp_path / "p", scores), task="Cls")
    assert [row.interval for row in ranking.rows] == [(1, 2), (1, 2), (3, 3), (4, 4)]
    assert [row.group for row in ranking.rows] == [1, 1, 2, 3]
    assert any(note.startswith("4 values have a standard error and no per-example values") for note in ranking.notes)


def test_a_note_says_that_there_are_too_few_datasets(four: Pool) -> None:
    """Two sources of images are too few for intervals over the choice of datasets."""
    assert any("no intervals over the choice of datasets" in note for note in rank(four).notes)


def test_an_unknown_task_names_the_tasks(four: Pool) -> None:
    """An unknown task is an error that lists the tasks."""
    with pytest.raises(UsageError, match="unknown task 'Clss'; tasks are Cls, Det"):
        rank(four, task="Clss")


def make_pool_with_examples(
    folder: Path, values: dict[tuple[str, str], dict[str, np.ndarray]], clusters: dict[tuple[str, str], list[str]]
) -> Pool:
    """Freeze a pool of measures whose values are the means of per-example values."""
    scores = [make_score(n, m, float(v.mean())) for m, by_name in values.items() for n, v in by_name.items()]
    pool = make_pool(folder, scores)
    for measure, by_name in values.items():
        ids = tuple(map(str, range(len(clusters[measure]))))
        write_examples(folder, *measure, PerExampleValues(ids, tuple(clusters[measure]), by_name))
    return pool


@pytest.mark.parametrize("prefix", ["", "other-"])
def test_measures_of_one_source_share_their_photos(tmp_path: Path, prefix: str) -> None:
    """The variance of the mean of two measures of the same 30 photos is that of the mean per photo.

    If the photos of the second measure had other names, it would be half as large. The photos of the second
    measure are in another order: a cluster is known by its name.
    """
    rng = np.random.default_rng(0)
    per_photo = {name: 100 * rng.random(30) for name in "abcd"}
    photos = [f"photo-{i}" for i in range(30)]
    values = {CLS: per_photo, RET: {name: v[::-1] for name, v in per_photo.items()}}
    pool = make_pool_with_examples(tmp_path / "p", values, {CLS: photos, RET: [prefix + name for name in photos[::-1]]})
    statistics = RankingStatistics(ScoreTable.from_pool(pool), None)
    one = RankingStatistics(ScoreTable.from_pool(pool, task="Cls"), None)
    ratio = statistics.example_differences.variance[0, 1] / one.example_differences.variance[0, 1]
    assert ratio == pytest.approx(0.5 * (60 / 59) / (30 / 29) if prefix else 1.0, rel=1e-4)


def test_values_of_the_user_are_paired_with_those_of_the_pool(tmp_path: Path) -> None:
    """With its per-example values a backbone that is 1 better than b on nearly every photo is told apart from it.

    Without them it only has a standard error, as wide as the photos differ, and is in the group of b. Values of other
    examples, here with other ids, count as missing.
    """
    rng = np.random.default_rng(0)
    easy = 100 * rng.random(200)
    values = {"a": easy - 40, "b": easy, "c": easy - 20}
    photos = [f"photo-{i}" for i in range(200)]
    pool = make_pool_with_examples(tmp_path / "p", {CLS: values}, {CLS: photos})
    artifacts = Artifacts(tmp_path / "artifacts")
    mine = easy + 1 + rng.normal(size=200)
    for first_id, expected in ((0, 2), (1, 1)):
        ids = tuple(str(i + first_id) for i in range(200))
        reference = ArtifactRef("examples", {"first": first_id})
        artifacts.get("examples", reference.key, ExampleValues(mine, ids, ids).to_arrays, ExampleValues.schema())
        provenance = {"examples": reference.to_dict(), "stderr": float(easy.std() / 200**0.5)}
        score = make_score("mine", CLS, float(mine.mean()), provenance=provenance)
        ranking = rank(pool, {"mine": [score]}, task="Cls", artifacts=artifacts)
        assert [row_of(ranking, name).group for name in ("mine", "b")] == [1, expected]


def test_names_of_clusters_match_in_all_measures_of_a_source() -> None:
    """The stored clusters of a source of the mini pool are those of its largest measure, or some of them."""
    pool = load_pool("mini", Path("nowhere"))
    names: dict[str, list[set[str]]] = {}
    for setting, metric in ranked_measures("mini"):
        stored = read_examples(pool.folder, setting, metric)
        if stored is not None:
            names.setdefault(CATALOG[setting.rpartition("@")[2]].cluster_source, []).append(set(stored.clusters))
    assert set(names) == {"photos", "digits"}
    for source, clusters in names.items():
        assert max(clusters, key=len) == set().union(*clusters), source
    assert {len(clusters) for clusters in names["photos"]} == {16, 21}


def test_notes_say_what_intervals_rest_on() -> None:
    """The notes of the mini pool count its clusters and name the measures whose values count as exact."""
    notes = "\n".join(rank(load_pool("mini", Path("nowhere"))).notes)
    assert "test images come in clusters (photos: 21, digits: 497)" in notes
    assert "Student's t with one degree of freedom less" in notes
    assert "values without a standard error count as exact (linear-probe@digit-scenes mean_auc" in notes


def test_the_same_scores_give_the_same_ranking(four: Pool) -> None:
    """Nothing is drawn, or from a fixed seed."""
    assert rank(four) == rank(four)


DAMAGE = {"ids": np.zeros(2, np.uint8), "values": np.zeros(3, np.float64), "clusters": np.zeros(3, np.float32)}


@pytest.mark.parametrize("name", [*DAMAGE, "lacks", "more"])
def test_wrong_examples_of_a_backbone_are_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str) -> None:
    """Examples whose arrays are not as they have to be are named in one warning, and the ranking is as without them."""
    folder, ids = tmp_path / "p", ("0", "1", "2")
    scores = [make_score(n, CLS, v) for n, v in (("a", 1.0), ("b", 2.0), ("c", 3.0))]
    pool = make_pool(folder, scores)
    values = {n: np.arange(3, dtype=np.float32) + i for i, n in enumerate("abc")}
    write_examples(folder, *CLS, PerExampleValues(ids, clusters=ids, values=values))
    artifacts, key = Artifacts(tmp_path / "artifacts"), {"of": "x"}
    right = ExampleValues(np.arange(3, dtype=np.float32) * 2, ids, ids).to_arrays()
    wrong = {n: array for n, array in right.items() if (n, name) != ("ids", "lacks")}
    wrong |= {"more": np.zeros(1)} if name == "more" else {name: DAMAGE[name]} if name in DAMAGE else {}
    anything = Schema({n: Array(str(array.dtype), array.shape) for n, array in wrong.items()})
    artifacts.get("examples", key, lambda: wrong, anything)
    own = make_score("x", CLS, 2.0, provenance={"stderr": 0.5})
    with_reference = replace(own, provenance={"stderr": 0.5, "examples": {"kind": "examples", "key": key}})
    ranking = rank(pool, {"x": [with_reference]}, artifacts=artifacts)
    assert ranking.rows == rank(pool, {"x": [own]}, artifacts=artifacts).rows
    [warning] = [record.getMessage() for record in caplog.records]
    assert warning.startswith(f"{artifacts.path('examples', key)} is damaged (")
    assert warning.endswith(") and is not used")
