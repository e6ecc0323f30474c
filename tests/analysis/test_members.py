"""Tests of the backbones that take part in an analysis, and of their classes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bob_gauntlet.analysis.members import (
    architecture_kind,
    candidates,
    comparable_score,
    comparable_value,
    note_missing,
    overall_mean_z,
    pretrained,
    pretraining_group,
    pretraining_style,
    sort_by_mean_z,
)
from bob_gauntlet.analysis.pairing import difference_tables, pairs
from bob_gauntlet.analysis.result import AnalysisOptions
from bob_gauntlet.pools.folder import BackboneRow
from bob_gauntlet.pools.pool import load_pool
from bob_gauntlet.ranking.score_table import ALL, ScoredBackbone, ScoreTable
from tests.helpers.analysis_tables import BuildTable, create_score

PHOTOS, DIGITS = ("linear-probe@photos", "top1"), ("linear-probe@digits", "top1")
KNN, RATIO = ("knn@photos", "top1"), ("efficiency@noise", "batch_ratio")


def row(name: str, **other: str) -> BackboneRow:
    """Return a row of backbones.csv."""
    return BackboneRow(name, **({"role": "candidate", "specs": name} | other))  # type: ignore[arg-type]


def test_candidates_and_pretrained_of_the_paper(paper: ScoreTable) -> None:
    """Random initialisations are in neither; MiDaS and Large backbones count in mean and std only."""
    assert {backbone.member for backbone in candidates(paper).backbones} == set(paper.pool.candidates)
    all_members, kept_members = ({b.member for b in table.backbones} for table in (paper, pretrained(paper)))
    assert all_members - kept_members == {n for n in paper.pool.members if n.startswith("random:")}


def test_a_member_that_the_user_names_is_in() -> None:
    """A random initialisation that the user names is included."""
    pool = load_pool("paper", Path("nowhere"))
    score_table = ScoreTable.from_pool(pool, members=True, highlighted_members=["random:resnet50"])
    for restricted in (candidates(score_table), pretrained(score_table)):
        assert "random:resnet50" in {backbone.member for backbone in restricted.backbones}


def test_sorting_leaves_out_low_coverage(build_table: BuildTable) -> None:
    """A backbone with one of four measures covers less than a third and is left out."""
    more = (("retrieval@photos-instances", "map"), ("retrieval@copydays-mini", "map"))
    full = dict.fromkeys((PHOTOS, DIGITS, *more), 1.0)
    score_table = build_table(
        {"a": full, "b": {PHOTOS: 9.0}, "c": dict.fromkeys(full, 2.0), "d": dict.fromkeys(full, 3.0)}
    )
    assert [backbone.name for backbone, _ in sort_by_mean_z(score_table, ALL)] == ["d", "c", "a"]
    assert sort_by_mean_z(score_table, "Cls")[0][0].name == "b"  # half of Cls
    index = [backbone.name for backbone in score_table.backbones].index("b")
    assert np.isnan(overall_mean_z(score_table)[index])
    assert np.isfinite(overall_mean_z(score_table, covered=False)[index])


@pytest.mark.parametrize(
    ("about", "style", "group"),
    [
        (
            row("a", style="supervised", method="supervised", data="ImageNet-1k"),
            "supervised",
            "supervised (ImageNet-1k)",
        ),
        (row("a", method="supervised", data="ImageNet-21k, then 1k"), "supervised", "supervised (ImageNet-21k)"),
        (row("a", style="vision-language", method="CLIP", data="LAION-2B"), "self-supervised", "self-supervised"),
        (row("a", method="simclr", data="photos"), "self-supervised", "self-supervised"),
        (row("a", style="supervised", method="MiDaS", data="12 depth datasets"), "", ""),
        (row("a", style="none", method="random initialisation", data="none"), "", ""),
        (row("a"), "", ""),
    ],
)
def test_styles_and_groups(about: BackboneRow, style: str, group: str) -> None:
    """CLIP counts as self-supervised, as in Table 20; rows without a style are classified by their method."""
    assert (pretraining_style(about), pretraining_group(about)) == (style, group)


def test_kinds() -> None:
    """Families are transformers or CNNs, and the encoder of Stable Diffusion is neither."""
    assert [architecture_kind(row("a", family=f)) for f in ("SwinV2", "ConvNeXt", "Stable Diffusion", "")] == [
        "transformer", "CNN", "", "",
    ]  # fmt: skip


def test_pairs_share_an_architecture_and_differ_in_supervision(paper: ScoreTable) -> None:
    """The paper's pairs are of ResNet-50, ViT-Small and ViT-Base, those of equal data first."""
    paper_pairs = list(pairs(candidates(paper).backbones))
    assert {p.architecture for p in paper_pairs} == {"ResNet-50", "ViT-Small", "ViT-Base"}
    # 2 of ResNet-50, 2 of ViT-Small, 3 of ViT-Base learned on the ImageNet-1k of the supervised row
    assert [p.data == "equal" for p in paper_pairs] == [True] * 7 + [False] * (len(paper_pairs) - 7)
    assert all(p.self_supervised.about.data == p.supervised.about.data for p in paper_pairs[:7])
    assert all(
        pretraining_style(p.supervised.about) == "supervised" != pretraining_style(p.self_supervised.about)
        for p in paper_pairs
    )


def test_pairs_of_mini(mini: ScoreTable) -> None:
    """Each of the four small networks of pool mini is paired: with labels and without."""
    names = {(p.self_supervised.name, p.supervised.name) for p in pairs(candidates(mini).backbones)}
    assert ("resnet-simclr", "resnet-supervised") in names
    assert len(names) == 4


def test_pairs_without_a_model_go_by_family_and_size() -> None:
    """Rows of backbones.csv without a model are paired by family and size."""
    known = {
        "a": {"params": "5", "method": "simclr"},
        "b": {"params": "5", "method": "supervised"},
        "c": {"params": "6", "method": "supervised"},
    }
    backbones = [ScoredBackbone(n, {}, False, n, row(n, family="ViT", **about)) for n, about in known.items()]
    assert [(p.self_supervised.name, p.supervised.name) for p in pairs(backbones)] == [("a", "b")]


def test_unknown_architectures_make_no_pair() -> None:
    """Two backbones without model and family are not a pair."""
    unknown = [
        ScoredBackbone(n, {}, False, n, row(n, style=s, method="x"))
        for n, s in (("a", "supervised"), ("b", "self-supervised"))
    ]
    assert list(pairs(unknown)) == []


def test_differences_are_self_supervised_minus_supervised(mini: ScoreTable) -> None:
    """Differences are self-supervised minus supervised, and pairs without a value on either side are left out."""
    backbones = candidates(mini).backbones
    values = {backbone.name: np.array([np.nan]) for backbone in backbones}
    values |= {"vit-simclr": np.array([1.0]), "vit-supervised": np.array([3.0])}
    (table,) = difference_tables(backbones, values, {"gap": "+.1f"})
    assert table.rows == (("vit-simclr", "vit-supervised", "equal", -2.0),)
    assert difference_tables(backbones[:1], values, {"gap": ""}) == []


def test_secondary_scores_of_own_backbones(build_table: BuildTable) -> None:
    """A score of kNN, which is not ranked, is taken from the user's scores if it is comparable with the pool's."""
    score_table = build_table({n: {PHOTOS: v, KNN: v} for n, v in (("a", 1.0), ("b", 2.0), ("c", 4.0))})
    own_scores = {"mine": [create_score("mine", PHOTOS, 3.0), create_score("mine", KNN, 5.0)]}
    with_own = ScoreTable.from_pool(score_table.pool, own_scores, members=True)
    backbone = next(backbone for backbone in with_own.backbones if backbone.highlighted)
    assert comparable_value(with_own, backbone, KNN, AnalysisOptions(own_scores=own_scores)) == 5.0
    assert np.isnan(comparable_value(with_own, backbone, KNN, AnalysisOptions()))
    other = {"mine": [replace(s, protocol_hash="another") for s in own_scores["mine"]]}
    assert comparable_score(with_own, backbone, KNN, AnalysisOptions(own_scores=other)) is None
    member = next(backbone for backbone in with_own.backbones if backbone.name == "a")
    assert comparable_value(with_own, member, KNN, AnalysisOptions()) == 1.0


def test_own_scores_of_members_count_if_the_pool_has_none(build_table: BuildTable) -> None:
    """The user's ratio of pool member b counts, because the pool has none.

    One of another scale does not count, nor does one of a machine that was not quiet.
    """
    score_table = build_table({n: {PHOTOS: v} for n, v in (("a", 1.0), ("b", 2.0), ("c", 4.0))})
    b = next(backbone for backbone in score_table.backbones if backbone.name == "b")
    own_scores = {"b": [create_score("b", RATIO, 7.0)]}
    assert comparable_value(score_table, b, RATIO, AnalysisOptions(own_scores=own_scores)) == 7.0
    for change in ({"scale": "paper"}, {"provenance": {"timing": {"spread": 0.5}}}):
        other_scores = {"b": [replace(own_scores["b"][0], **change)]}  # type: ignore[arg-type]
        assert np.isnan(comparable_value(score_table, b, RATIO, AnalysisOptions(own_scores=other_scores)))


def test_missing_measures_are_named(mini: ScoreTable) -> None:
    """Missing measures are named in one note; there is no note if none is missing."""
    assert note_missing(mini, [PHOTOS, KNN]) == []
    assert note_missing(mini, [PHOTOS, ("finetune@imagenet-1k", "top1")]) == [
        "pool mini has no finetune@imagenet-1k top1"
    ]
    one = ScoreTable.from_pool(mini.pool, task="Ret", members=True)
    assert note_missing(one, [PHOTOS]) == ["pool mini has no linear-probe@photos top1"]
