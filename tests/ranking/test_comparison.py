"""One backbone against each other one, and what changed since a compared run."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bob_gauntlet.pools.folder import PerExampleValues, write_examples
from bob_gauntlet.pools.pool import load_pool
from bob_gauntlet.ranking.changes import list_changes
from bob_gauntlet.ranking.comparison import compare_with_others
from bob_gauntlet.ranking.ranking import RankingStatistics
from bob_gauntlet.ranking.score_table import ScoreTable
from bob_gauntlet.report.content import gather
from bob_gauntlet.scores.score import Score
from tests.helpers.small_pools import CLS, make_pool, make_score

CLIP = "vit_base_patch16_clip_224.laion2b"


def test_every_other_backbone_is_met_on_common_measures() -> None:
    """Gap, wins and counts of the paper's CLIP ViT-Base against MAE ViT-Base, worked out plainly."""
    paper = load_pool("paper", Path("nowhere"))
    score_table = ScoreTable.from_pool(paper, highlighted_members=[CLIP])
    found = compare_with_others(RankingStatistics(score_table, None), CLIP)
    assert len(found) == len(score_table.backbones) - 1
    [mae] = [v for v in found if v.other == "ViT-Base MAE (IN-1k)"]
    names = [e.name for e in score_table.backbones]
    mine, other = (
        score_table.z[names.index(n), score_table.columns["All"]] for n in (CLIP, "vit_base_patch16_224.mae")
    )
    assert mae.measures == 28
    assert mae.gap == pytest.approx(np.mean(mine - other))
    assert mae.wins == pytest.approx(np.mean(mine > other))
    assert mae.p_examples is None, "published figures have no test examples"
    assert mae.p_datasets is not None
    assert 0 < mae.p_datasets <= 1


def test_holm_makes_a_p_value_larger_with_more_opponents(tmp_path: Path) -> None:
    """b is a little worse than a on every example: told apart, also after correction; c and d are far away."""
    rng = np.random.default_rng(0)
    easy = 100 * rng.random(300)
    values = {"a": easy, "b": easy - rng.random(300), "c": easy - 30 * rng.random(300), "d": 100 * rng.random(300)}
    folder = tmp_path / "p"
    made = make_pool(folder, [make_score(n, CLS, float(v.mean())) for n, v in values.items()])
    write_examples(folder, *CLS, PerExampleValues(tuple(map(str, range(300))), tuple(map(str, range(300))), values))
    found = {
        v.other: v for v in compare_with_others(RankingStatistics(ScoreTable.from_pool(made, task="Cls"), None), "a")
    }
    # 2 / 1,001 is the least that 1,000 draws can say, times the opponents that are still in
    assert found["b"].p_examples == pytest.approx(3 * 2 / 1001)
    assert found["c"].p_examples == pytest.approx(3 * 2 / 1001)
    assert (found["d"].p_examples or 0) > 0.05
    assert found["b"].p_datasets == 1.0, "one dataset tells nothing"


def changed(**fields: object) -> Score:
    """A score of mine."""
    return replace(make_score("mine", CLS, 70.0), **fields)  # type: ignore[arg-type]


def test_changes_are_measured_only_where_they_may_be_compared() -> None:
    """A new checkpoint, a new protocol, a setting that is gone, one that is new."""
    [one] = list_changes([changed()], [changed(value=72.5, backbone_fingerprint="new")])
    assert (one.delta, one.better) == (2.5, True)
    [two] = list_changes([changed()], [changed(value=72.5, protocol_hash="other")])
    assert (two.delta, two.better, two.why_not) == (None, None, "protocol_hash differs")
    gone, new = list_changes([changed(setting="knn@photos")], [changed()])
    assert (gone.before, gone.after) == (None, 70.0)
    assert (new.before, new.after) == (70.0, None)
    [same] = list_changes([changed()], [changed()])
    assert (same.delta, same.better) == (0.0, None)


def test_lower_may_be_better() -> None:
    """Latency that falls is a change for the better."""
    before = Score(setting="efficiency@noise", metric="latency", task="Eff", value=2.0, backbone="mine", device="d")
    [found] = list_changes([before], [replace(before, value=1.5)])
    assert (found.delta, found.better) == (-0.5, True)


def test_a_report_gathers_everything(tmp_path: Path) -> None:
    """Ranking, the whole standing, the others, changes; own names in the order given."""
    made = make_pool(tmp_path / "p", [make_score(n, CLS, v) for n, v in (("a", 1.0), ("b", 2.0), ("c", 4.0))])
    before = [changed(value=2.0)]
    found = gather(made, {"mine": [changed(value=3.0)]}, highlight=["b"], before=before, since="yesterday")
    assert found.backbones == ("mine", "b")
    assert found.ranking is not None
    assert [row.highlighted for row in found.ranking.rows] == [False, True, True, False]
    assert {v.other for v in found.versus["mine"]} == {"a", "b", "c"}
    assert [c.delta for c in found.changes if c.backbone == "mine"] == [1.0]
    assert gather(None, {"mine": [changed()]}).ranking is None
