"""The robustness analysis, compared with Table 19 and section 5 of the paper."""

import numpy as np
import pytest
from scipy.stats import zscore

from bob_gauntlet.analysis.registry import analyse
from bob_gauntlet.analysis.robustness import ATTACKED, CLEAN
from bob_gauntlet.pools.folder import BackboneRow
from bob_gauntlet.ranking.score_table import ScoreTable
from tests.helpers.analysis_tables import BuildTable, column


def test_all_20_z_scores_of_table_19(paper: ScoreTable) -> None:
    """All z-scores match Table 19 to .01, apart from ResNet-50 CLIP's 0.58, which lost its minus sign."""
    lines = [p for p in analyse("robustness", paper).published if p.where == "Table 19"]
    assert len(lines) == 20
    for line in lines:
        clip = line.what == "mean z of ResNet-50 CLIP (WIT-400M)"
        assert abs(float(line.ours) - float(line.paper) * (-1 if clip else 1)) < 0.01
        assert line.why.startswith("the paper lost the minus sign") if clip else line.why == ""
    assert next(p.paper for p in lines if "ResNet-50 CLIP" in p.what) == "0.58"


def test_z_is_the_mean_of_two_with_population_std(paper: ScoreTable) -> None:
    """The mean z equals SciPy's over the two attacked columns, best first, without the clean accuracy."""
    table = analyse("robustness", paper).tables[0]
    values = np.array([row[1:] for row in table.rows], np.float64)
    np.testing.assert_allclose(values[:, 3], zscore(values[:, 1:3], ddof=0).mean(axis=1))
    assert (np.diff(values[:, 3]) <= 0).all()
    row = next(r for r in table.records() if r["backbone"] == "ViT-Base MAE (IN-1k)")
    assert tuple(row.values())[1:4] == (83.41, 50.85, 31.69)  # Table 19, row 13


def test_the_two_conclusions(paper: ScoreTable) -> None:
    """Section 5's conclusions hold: supervised is always less robust, ViTs are more vulnerable than CNNs."""
    analysis = analyse("robustness", paper)
    always, kinds = analysis.published[-2:]
    assert (always.paper, always.ours, always.why) == ("always", "in 15 of 15 pairs", "")
    assert (kinds.ours, kinds.why) == ("+0.16 and -0.12", "")
    assert all(float(str(gap)) > 0 for gap in column(analysis.tables[2], "z difference").values())
    assert column(analysis.tables[1], "n") == {"CNN": 8, "transformer": 11}


def test_by_hand(build_table: BuildTable) -> None:
    """Accuracies of 1, 2, 3 twice give z of -1.5 ** .5, 0 and 1.5 ** .5, and the clean accuracy may be missing."""
    values = {n: dict.fromkeys(ATTACKED, float(i)) for i, n in enumerate("abc", 1)}
    values["a"][CLEAN] = 80.0
    rows = [
        BackboneRow("a", "candidate", "a", model="m", family="ViT", method="supervised", data="d"),
        BackboneRow("c", "candidate", "c", model="m", family="ResNet", method="DINO", data="e"),
    ]
    table, means, pairs = analyse("robustness", build_table(values, *rows)).tables
    assert [row[0] for row in table.rows] == ["c", "b", "a"]
    assert column(table, "mean z") == pytest.approx({"c": 1.5**0.5, "b": 0.0, "a": -(1.5**0.5)})
    assert column(table, "clean (%)") == {"c": None, "b": None, "a": 80.0}
    assert column(means, "mean z") == pytest.approx({"CNN": 1.5**0.5, "transformer": -(1.5**0.5)})
    assert pairs.rows == (("c", "a", "e against d", pytest.approx(2 * 1.5**0.5)),)


def test_a_pool_without_attacks_says_so(build_table: BuildTable) -> None:
    """A pool without attacks gets one note that names the missing measures."""
    photos = ("linear-probe@photos", "top1")
    analysis = analyse("robustness", build_table({n: {photos: v} for n, v in (("a", 1.0), ("b", 2.0), ("c", 3.0))}))
    assert analysis.tables == ()
    assert analysis.notes == (
        "pool made has no adversarial-finetune-eps1@imagenet-1k top1, adversarial-finetune-eps2@imagenet-1k top1",
    )


def test_a_pool_with_another_setting_is_analysed_on_that(mini: ScoreTable) -> None:
    """Pool mini is analysed on its own networks: clean accuracy of the attacked images, mean z of both attacks."""
    analysis = analyse("robustness", mini)
    clean = column(analysis.tables[0], "clean (%)")["vit-supervised"]
    attacked = mini.pool.scores["vit-supervised"]["adversarial-finetune-eps1@photos", "top1_clean"]
    assert float(str(clean)) == pytest.approx(attacked.value)
    places = [mini.measures.index((f"adversarial-finetune-eps{backbone}@photos", "top1")) for backbone in (1, 2)]
    vit = [backbone.name for backbone in mini.backbones].index("vit-supervised")
    z = float(str(column(analysis.tables[0], "mean z")["vit-supervised"]))
    assert z == pytest.approx(mini.z[vit, places].mean())
    assert z != pytest.approx(mini.mean_z("Adv")[vit])
    assert analysis.notes == (
        "measured on adversarial-finetune-eps1@photos and adversarial-finetune-eps2@photos; the paper uses "
        "adversarial-finetune-eps1@imagenet-1k and adversarial-finetune-eps2@imagenet-1k",
    )
