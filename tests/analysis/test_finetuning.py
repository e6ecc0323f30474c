"""The gains of fine-tuning over a frozen backbone: Figure 2."""

import numpy as np
import pytest

from bob_gauntlet.analysis.registry import analyse
from bob_gauntlet.pools.folder import BackboneRow
from bob_gauntlet.ranking.score_table import ScoreTable
from tests.helpers.analysis_tables import BuildTable, column

WHOLE, FROZEN = (("detection-finetune@coco-2017", "ap_box"), ("detection-frozen@coco-2017", "ap_box"))


def test_the_axes_of_figure_2(paper: ScoreTable) -> None:
    """The printed ticks are -2.5, 0, 2.5 twice, and 0, 1, 2, and the ranges of our values fit them."""
    published = analyse("fine-tuning", paper).published
    assert [(p.paper, p.ours, p.why) for p in published] == [
        ("axis ticks -2.5 to 2.5", "values -3.39 to 2.98", ""),
        ("axis ticks -2.5 to 2.5", "values -3.38 to 3.01", ""),
        ("axis ticks 0 to 2", "values -0.35 to 2.01", ""),
    ]


def test_transformers_gain_more(paper: ScoreTable) -> None:
    """Transformers gain more in every panel of Figure 2, as its caption says."""
    means = analyse("fine-tuning", paper).tables[0]
    assert all(float(str(gap)) > 0 for gap in column(means, "difference").values())
    assert set(means.records()[1]) >= {"n (transformers)", "n (CNNs)"}


def test_panels_show_each_backbone_once_and_no_random_ones(paper: ScoreTable) -> None:
    """The difference is that of the two columns before it, and the means are over the kinds."""
    means, *panels = analyse("fine-tuning", paper).tables
    for panel, mean in zip(panels, means.records(), strict=True):
        rows = panel.records()
        assert not [r for r in rows if "random" in str(r["backbone"])]
        assert len({r["backbone"] for r in rows}) == len(rows)
        for r in rows:
            assert r["difference"] == pytest.approx(float(str(r["fine-tuned"])) - float(str(r["frozen"])))
        gains = [float(str(r["difference"])) for r in rows if r["kind"] == "CNN"]
        assert (mean["CNNs"], mean["n (CNNs)"]) == (pytest.approx(np.mean(gains)), len(gains))


def test_by_hand(build_table: BuildTable) -> None:
    """Fine-tuned values of 1, 2, 3 and frozen ones of 3, 2, 1 differ by -2, 0 and 2 times 1.5 ** .5."""
    rows = [BackboneRow(n, "candidate", n, family=f) for n, f in (("a", "ViT"), ("b", ""), ("c", "ResNet"))]
    analysis = analyse(
        "fine-tuning", build_table({n: {WHOLE: i, FROZEN: 4 - i} for i, n in enumerate("abc", 1)}, *rows)
    )
    assert column(analysis.tables[1], "difference") == pytest.approx({"a": -2 * 1.5**0.5, "b": 0, "c": 2 * 1.5**0.5})
    assert analysis.tables[0].rows[0][1:] == pytest.approx((-2 * 1.5**0.5, 1, 2 * 1.5**0.5, 1, -4 * 1.5**0.5))


def test_one_kind_alone_and_no_random_ones(build_table: BuildTable) -> None:
    """Without a CNN the mean of CNNs is missing, and a random initialisation is in no panel."""
    rows = [BackboneRow(n, "candidate", n, family="ViT") for n in "abc"]
    rows.append(BackboneRow("r", "reference", "r", family="ViT", method="random initialisation"))
    analysis = analyse("fine-tuning", build_table({n: {WHOLE: i, FROZEN: -i} for i, n in enumerate("abcr", 1)}, *rows))
    assert set(column(analysis.tables[1], "kind")) == {"a", "b", "c"}
    assert analysis.tables[0].records()[0]["CNNs"] is None
    assert analysis.tables[0].records()[0]["n (transformers)"] == 3


def test_a_pool_without_pairs_says_so(build_table: BuildTable) -> None:
    """A pool without pairs gets one note."""
    analysis = analyse("fine-tuning", build_table({name: {("knn@photos", "top1"): 1.0} for name in "abc"}))
    assert (analysis.tables, analysis.notes) == (
        (),
        ("pool made has no dataset that is scored both fine-tuned and frozen",),
    )


def test_the_mini_pool_has_six_pairs(mini: ScoreTable) -> None:
    """In pool mini, the linear probe is the frozen counterpart of fine-tuning, and detectors have both modes."""
    panels = [row[0] for row in analyse("fine-tuning", mini).tables[0].rows]
    assert panels == [
        "Cls, photos", "Cls, digits", "Cls, digit-scenes", "Det, photo-scenes", "Seg, photo-scenes",
        "OOD-Det, fonts-scenes",
    ]  # fmt: skip
