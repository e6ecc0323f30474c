"""Comparison of one backbone with each other one, and changes since an earlier run."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_rel

from bob_gauntlet.pools.folder import PerExampleValues, write_examples
from bob_gauntlet.pools.pool import load_pool
from bob_gauntlet.ranking.changes import list_changes
from bob_gauntlet.ranking.comparison import compare_with_others
from bob_gauntlet.ranking.ranking import RankingStatistics
from bob_gauntlet.ranking.score_table import ScoreTable
from bob_gauntlet.report.content import gather
from bob_gauntlet.scores.score import Score
from tests.helpers.small_pools import CLS, LATENCY, make_pool, make_score

CLIP = "vit_base_patch16_clip_224.laion2b"
MAE = "vit_base_patch16_224.mae"


def test_every_other_backbone_is_compared_on_common_measures() -> None:
    """Gap, wins and counts of the paper's CLIP ViT-Base against MAE ViT-Base equal those computed directly."""
    paper = load_pool("paper", Path("nowhere"))
    score_table = ScoreTable.from_pool(paper, highlighted_members=[CLIP])
    comparisons = compare_with_others(RankingStatistics(score_table, None), CLIP)
    assert len(comparisons) == len(score_table.backbones) - 1
    [with_mae] = [comparison for comparison in comparisons if comparison.other == "ViT-Base MAE (IN-1k)"]
    names = [backbone.name for backbone in score_table.backbones]
    z_of_clip, z_of_mae = (score_table.z[names.index(name), score_table.columns["All"]] for name in (CLIP, MAE))
    assert with_mae.measures == 28
    assert with_mae.gap == pytest.approx(np.mean(z_of_clip - z_of_mae))
    assert with_mae.wins == pytest.approx(np.mean(z_of_clip > z_of_mae))
    assert with_mae.p_examples is None, "published figures have no test examples"
    assert with_mae.p_datasets is not None
    assert 0 < with_mae.p_datasets <= 1


def test_holm_makes_a_p_value_larger_with_more_opponents(tmp_path: Path) -> None:
    """b is a little worse than a on every example: the difference is significant, also after Holm's correction."""
    rng = np.random.default_rng(0)
    easy = 100 * rng.random(300)
    values = {"a": easy, "b": easy - rng.random(300), "c": easy - 30 * rng.random(300), "d": 100 * rng.random(300)}
    folder = tmp_path / "p"
    pool = make_pool(folder, [make_score(n, CLS, float(v.mean())) for n, v in values.items()])
    ids = tuple(map(str, range(300)))
    write_examples(folder, *CLS, PerExampleValues(ids, clusters=ids, values=values))
    statistics = RankingStatistics(ScoreTable.from_pool(pool, task="Cls"), None)
    by_opponent = {comparison.other: comparison for comparison in compare_with_others(statistics, "a")}
    p = {n: ttest_rel(values["a"], values[n]).pvalue for n in "bcd"}
    # Holm multiplies the smallest p-value by 3, the next one by 2
    smallest, middle = sorted(("b", "c"), key=lambda n: p[n])
    assert by_opponent[smallest].p_examples == pytest.approx(3 * p[smallest], rel=1e-3)
    assert by_opponent[middle].p_examples == pytest.approx(2 * p[middle], rel=1e-3)
    assert by_opponent["d"].p_examples == pytest.approx(p["d"], rel=1e-3)
    assert p["d"] > 0.05
    assert by_opponent["b"].p_datasets == 1.0, "one dataset is no evidence"


def changed(**fields: object) -> Score:
    """Return a score with some fields changed."""
    return replace(make_score("mine", CLS, 70.0), **fields)  # type: ignore[arg-type]


def test_changes_have_a_delta_only_where_scores_are_comparable() -> None:
    """A new checkpoint is compared; another protocol, a new setting and a setting that is gone are not."""
    [new_weights] = list_changes([changed()], [changed(value=72.5, backbone_fingerprint="new")])
    assert (new_weights.delta, new_weights.better) == (2.5, True)
    [other_protocol] = list_changes([changed()], [changed(value=72.5, protocol_hash="other")])
    assert (other_protocol.delta, other_protocol.better, other_protocol.why_not) == (
        None,
        None,
        "protocol_hash differs",
    )
    new, gone = list_changes([changed(setting="knn@photos")], [changed()])
    assert (new.before, new.after) == (None, 70.0)
    assert (gone.before, gone.after) == (70.0, None)
    [same] = list_changes([changed()], [changed()])
    assert (same.delta, same.better) == (0.0, None)


def test_lower_may_be_better() -> None:
    """A lower ratio is a change for the better."""
    before = make_score("mine", LATENCY, 2.0, device="cpu: a")
    [change] = list_changes([before], [replace(before, value=1.5, device="cpu: b")])
    assert (change.delta, change.better) == (-0.5, True)


def test_times_of_a_busy_machine_are_not_compared() -> None:
    """A time that was measured beside other work is no change for the worse, on whichever side it stands."""
    quiet = make_score("mine", LATENCY, 2.0, device="cpu: a")
    busy = replace(quiet, value=5.0, provenance={"timing": {"spread": 0.4}})
    for pair in ((quiet, busy), (busy, quiet)):
        [change] = list_changes([pair[0]], [pair[1]])
        assert (change.delta, change.better, change.why_not) == (None, None, "the machine was not quiet")


def test_a_report_gathers_everything(tmp_path: Path) -> None:
    """A report holds the ranking, comparisons and changes, and the names of the backbones in the order given."""
    pool = make_pool(tmp_path / "p", [make_score(n, CLS, v) for n, v in (("a", 1.0), ("b", 2.0), ("c", 4.0))])
    before = [changed(value=2.0)]
    report = gather(pool, {"mine": [changed(value=3.0)]}, highlight=["b"], before=before, since="yesterday")
    assert report.backbones == ("mine", "b")
    assert report.ranking is not None
    assert [row.highlighted for row in report.ranking.rows] == [False, True, True, False]
    assert {comparison.other for comparison in report.versus["mine"]} == {"a", "b", "c"}
    assert [change.delta for change in report.changes if change.backbone == "mine"] == [1.0]
    assert gather(None, {"mine": [changed()]}).ranking is None
