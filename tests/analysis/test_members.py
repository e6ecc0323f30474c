"""Who is in, and what kind of backbone each one is."""

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
from tests.analysis.conftest import Made, score

PHOTOS, DIGITS = ("linear-probe@photos", "top1"), ("linear-probe@digits", "top1")
KNN, THROUGHPUT = ("knn@photos", "top1"), ("efficiency@noise", "throughput")


def row(name: str, **other: str) -> BackboneRow:
    """A line of backbones.csv."""
    return BackboneRow(name, **({"role": "candidate", "specs": name} | other))  # type: ignore[arg-type]


def test_candidates_and_pretrained_of_the_paper(paper: ScoreTable) -> None:
    """No random initialisation in either; MiDaS and Large give mean and std only."""
    assert {e.member for e in candidates(paper).backbones} == set(paper.pool.candidates)
    left = {e.member for e in paper.backbones} - {e.member for e in pretrained(paper).backbones}
    assert left == {n for n in paper.pool.members if n.startswith("random:")}


def test_a_member_that_the_user_names_is_in() -> None:
    """A random initialisation is asked for by its name."""
    pool = load_pool("paper", Path("nowhere"))
    score_table = ScoreTable.from_pool(pool, members=True, highlighted_members=["random:resnet50"])
    for found in (candidates(score_table), pretrained(score_table)):
        assert "random:resnet50" in {e.member for e in found.backbones}


def test_best_leaves_out_what_covers_too_little(made: Made) -> None:
    """b has one of four measures: less than a third."""
    more = (("retrieval@photos-instances", "map"), ("retrieval@copydays-mini", "map"))
    full = dict.fromkeys((PHOTOS, DIGITS, *more), 1.0)
    score_table = made({"a": full, "b": {PHOTOS: 9.0}, "c": dict.fromkeys(full, 2.0), "d": dict.fromkeys(full, 3.0)})
    assert [e.name for e, _ in sort_by_mean_z(score_table, ALL)] == ["d", "c", "a"]
    assert sort_by_mean_z(score_table, "Cls")[0][0].name == "b"  # half of Cls
    index = [e.name for e in score_table.backbones].index("b")
    assert np.isnan(overall_mean_z(score_table)[index])
    assert np.isfinite(overall_mean_z(score_table, covered=False)[index])


@pytest.mark.parametrize(
    ("about", "style_", "group_"),
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
def test_styles_and_groups(about: BackboneRow, style_: str, group_: str) -> None:
    """Table 20 counts CLIP as self-supervised; lines without a style are judged by their method."""
    assert (pretraining_style(about), pretraining_group(about)) == (style_, group_)


def test_kinds() -> None:
    """Stable Diffusion's encoder is neither."""
    assert [architecture_kind(row("a", family=f)) for f in ("SwinV2", "ConvNeXt", "Stable Diffusion", "")] == [
        "transformer", "CNN", "", "",
    ]  # fmt: skip


def test_pairs_share_an_architecture_and_differ_in_supervision(paper: ScoreTable) -> None:
    """Of the printed ones: ResNet-50, ViT-Small, ViT-Base; equal data first."""
    found = list(pairs(candidates(paper).backbones))
    assert {p.architecture for p in found} == {"ResNet-50", "ViT-Small", "ViT-Base"}
    # 2 of ResNet-50, 2 of ViT-Small, 3 of ViT-Base learned on the ImageNet-1k of the supervised row
    assert [p.data == "equal" for p in found] == [True] * 7 + [False] * (len(found) - 7)
    assert all(p.self_supervised.about.data == p.supervised.about.data for p in found[:7])
    assert all(
        pretraining_style(p.supervised.about) == "supervised" != pretraining_style(p.self_supervised.about)
        for p in found
    )


def test_pairs_of_mini(mini: ScoreTable) -> None:
    """Its four small networks, each with labels and without."""
    found = {(p.self_supervised.name, p.supervised.name) for p in pairs(candidates(mini).backbones)}
    assert ("resnet-simclr", "resnet-supervised") in found
    assert len(found) == 4


def test_pairs_without_a_model_go_by_family_and_size() -> None:
    """Own lines of backbones.csv may name no model."""
    known = {
        "a": {"params": "5", "method": "simclr"},
        "b": {"params": "5", "method": "supervised"},
        "c": {"params": "6", "method": "supervised"},
    }
    backbones = [ScoredBackbone(n, {}, False, n, row(n, family="ViT", **about)) for n, about in known.items()]
    assert [(p.self_supervised.name, p.supervised.name) for p in pairs(backbones)] == [("a", "b")]


def test_what_nobody_knows_makes_no_pair() -> None:
    """Two backbones without model and family are not of one architecture."""
    unknown = [
        ScoredBackbone(n, {}, False, n, row(n, style=s, method="x"))
        for n, s in (("a", "supervised"), ("b", "self-supervised"))
    ]
    assert list(pairs(unknown)) == []


def test_differences_are_learner_less_supervised(mini: ScoreTable) -> None:
    """Pairs without a value on either side are left out."""
    backbones = candidates(mini).backbones
    values = {e.name: np.array([np.nan]) for e in backbones}
    values |= {"vit-simclr": np.array([1.0]), "vit-supervised": np.array([3.0])}
    (found,) = difference_tables(backbones, values, {"gap": "+.1f"})
    assert found.rows == (("vit-simclr", "vit-supervised", "equal", -2.0),)
    assert difference_tables(backbones[:1], values, {"gap": ""}) == []


def test_secondary_scores_of_own_backbones(made: Made) -> None:
    """kNN is not ranked, so a standing drops it: it is taken from the own scores where it compares with the pool's."""
    score_table = made({n: {PHOTOS: v, KNN: v} for n, v in (("a", 1.0), ("b", 2.0), ("c", 4.0))})
    mine = {"mine": [score("mine", PHOTOS, 3.0), score("mine", KNN, 5.0)]}
    found = ScoreTable.from_pool(score_table.pool, mine, members=True)
    backbone = next(e for e in found.backbones if e.highlighted)
    assert comparable_value(found, backbone, KNN, AnalysisOptions(own_scores=mine)) == 5.0
    assert np.isnan(comparable_value(found, backbone, KNN, AnalysisOptions()))
    other = {"mine": [replace(s, protocol_hash="another") for s in mine["mine"]]}
    assert comparable_score(found, backbone, KNN, AnalysisOptions(own_scores=other)) is None
    assert comparable_value(found, next(e for e in found.backbones if e.name == "a"), KNN, AnalysisOptions()) == 1.0


def test_own_scores_of_members_stand_in_where_the_pool_has_none(made: Made) -> None:
    """The pool has no throughput; one's own measurement of its member b is b's. Of another scale it is not."""
    score_table = made({n: {PHOTOS: v} for n, v in (("a", 1.0), ("b", 2.0), ("c", 4.0))})
    b = next(e for e in score_table.backbones if e.name == "b")
    mine = {"b": [score("b", THROUGHPUT, 7.0)]}
    assert comparable_value(score_table, b, THROUGHPUT, AnalysisOptions(own_scores=mine)) == 7.0
    assert np.isnan(
        comparable_value(
            score_table, b, THROUGHPUT, AnalysisOptions(own_scores={"b": [replace(mine["b"][0], scale="paper")]})
        )
    )


def test_what_is_missing_is_named(mini: ScoreTable) -> None:
    """Nothing where it is all there."""
    assert note_missing(mini, [PHOTOS, KNN]) == []
    assert note_missing(mini, [PHOTOS, ("finetune@imagenet-1k", "top1")]) == [
        "pool mini has no finetune@imagenet-1k top1"
    ]
    one = ScoreTable.from_pool(mini.pool, task="Ret", members=True)
    assert note_missing(one, [PHOTOS]) == ["pool mini has no linear-probe@photos top1"]
