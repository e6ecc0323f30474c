"""Backbones by measures: who stands in the table, what is left out and why, and laws that hold for any pool."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bob_gauntlet.errors import UsageError
from bob_gauntlet.pools.folder import BackboneRow
from bob_gauntlet.pools.pool import Pool, load_pool
from bob_gauntlet.ranking.ranking import rank
from bob_gauntlet.ranking.score_table import ScoreTable, row_from_zoo
from bob_gauntlet.scores.score import Score
from bob_gauntlet.stats.zscores import reference

PAPER = load_pool("paper", Path("nowhere"))
MEASURES = (("linear-probe@photos", "top1"), ("linear-probe@digits", "top1"), ("retrieval@photos-instances", "map"))
TASKS = ("Cls", "Cls", "Ret")

values = st.one_of(st.none(), st.sampled_from([10.0, 20.0, 20.0, 35.0, 90.0]))
tables = st.lists(st.tuples(values, values, values), min_size=1, max_size=7)


def scored(name: str, row: tuple[float | None, ...]) -> dict[tuple[str, str], Score]:
    """The scores of a backbone, None for one that is missing."""
    return {
        m: Score(
            setting=m[0], metric=m[1], task=t, value=v, backbone=name, protocol_hash="p", backbone_fingerprint=name
        )
        for m, t, v in zip(MEASURES, TASKS, row, strict=True)
        if v is not None
    }


def pool(rows: list[tuple[float | None, ...]]) -> Pool:
    """A pool with a member a row, all of them candidates."""
    names = tuple(f"b{i}" for i in range(len(rows)))
    scores = {name: scored(name, row) for name, row in zip(names, rows, strict=True)}
    found = {m: [s[m].value for s in scores.values() if m in s] for m in MEASURES}
    return Pool(
        name="made",
        scale="mini",
        folder=Path("nowhere"),
        hash="",
        members=names,
        candidates=names,
        references={m: reference(v) for m, v in found.items() if v},
        protocol_hashes={m: "p" for m, v in found.items() if v},
        scores=scores,
        backbones={name: BackboneRow(name, "candidate", name) for name in names},
    )


@given(tables, st.tuples(values, values, values))
def test_a_new_backbone_moves_nobody(rows: list[tuple[float | None, ...]], mine: tuple[float | None, ...]) -> None:
    """The z-scores of the others are the same with it as without it, whatever it scored."""
    made = pool(rows)
    before = {row.backbone: row.z for row in rank(made).rows}
    after = {row.backbone: row.z for row in rank(made, {"mine": list(scored("mine", mine).values())}).rows}
    after.pop("mine")
    assert after == before


@given(tables)
def test_ranks_are_places(rows: list[tuple[float | None, ...]]) -> None:
    """Best first; equal scores share a place and the next ones are left free; who has no value has no rank."""
    found = [row for row in rank(pool(rows), min_coverage=0).rows if row.rank]
    overall = [row.z["All"] or 0 for row in found]
    assert overall == sorted(overall, reverse=True)
    assert [row.rank for row in found] == [1 + sum(other > z for other in overall) for z in overall]


@given(tables)
def test_missing_cells_pools_of_one_and_equal_values_are_said(rows: list[tuple[float | None, ...]]) -> None:
    """A measure without z has its reason in a note; nothing is NaN in a row."""
    made = pool(rows)
    found = rank(made)
    for measure, known in made.references.items():
        noted = any(note.startswith(f"{measure[0]} {measure[1]} has no z-score: ") for note in found.notes)
        assert noted == bool(known.reason)
    for row in found.rows:
        numbers = [*row.z.values(), row.mean_rank, row.median_z, row.iqm_z, row.win_rate, row.coverage]
        assert not [n for n in numbers if n is not None and not np.isfinite(n)]


def test_coverage_of_all_is_the_mean_over_tasks() -> None:
    """One of two classification measures and the one of retrieval: (1/2 + 1) / 2."""
    made = pool([(10.0, None, 20.0), (20.0, 20.0, 35.0), (35.0, 90.0, 90.0)])
    score_table = ScoreTable.from_pool(made)
    assert score_table.coverage("All").tolist() == [0.75, 1.0, 1.0]
    assert score_table.coverage("Cls").tolist() == [0.5, 1.0, 1.0]


def published(name: str = "mine", **fields: Any) -> Score:
    """A score of mine on ImageNet, measured as the paper did."""
    made = Score(
        setting="finetune@imagenet-1k", metric="top1", task="Cls", value=84.0, backbone=name, backbone_fingerprint="f",
        protocol_hash="h", datasets={"test": "d"}, scale="paper", fidelity="paper",
    )  # fmt: skip
    return replace(made, **fields)


def test_a_run_at_the_papers_fidelity_stands_beside_its_figures() -> None:
    """Printed figures have neither protocol hash nor dataset fingerprint to differ in."""
    score_table = ScoreTable.from_pool(PAPER, {"mine": [published()]})
    [mine] = [e for e in score_table.backbones if e.highlighted]
    assert ("finetune@imagenet-1k", "top1") in mine.scores
    assert score_table.indicative == ()


def test_a_sound_run_is_indicative() -> None:
    """Its z is told with what differs, and it is not ranked."""
    found = rank(PAPER, {"mine": [published(fidelity="sound")]})
    [one] = found.indicative
    assert (one.backbone, one.score.value) == ("mine", 84.0)
    assert "chosen on a validation part" in one.why
    assert one.z == pytest.approx(PAPER.references["finetune@imagenet-1k", "top1"].z(np.array(84.0), 1))
    assert next(row for row in found.rows if row.highlighted).rank is None


def test_a_limited_run_stands_beside_nothing() -> None:
    """The first eight images are another measurement."""
    found = rank(PAPER, {"mine": [published(limit=8)]})
    assert any("limit differs" in note for note in found.notes)
    assert not found.indicative


def test_scores_of_another_scale_are_refused_or_left_out() -> None:
    """Mini scores alone cannot stand in the paper's pool; beside paper-scale ones they are simply not of it."""
    mini = published(setting="linear-probe@photos", scale="mini")
    with pytest.raises(UsageError, match="mine was measured at mini scale, and pool paper holds paper-scale scores"):
        ScoreTable.from_pool(PAPER, {"mine": [mini]})
    found = ScoreTable.from_pool(PAPER, {"mine": [mini, published()]})
    assert not found.notes


def test_what_the_zoo_knows_of_a_backbone_is_shown() -> None:
    """By its own name, or by what an untagged name resolved to; measured counts go before the zoo's."""
    row = row_from_zoo("resnet50", [published("resnet50", provenance={"backbone": {"resolved": "resnet50.a1_in1k"}})])
    assert row is not None
    assert (row.model, row.style, row.params) == ("ResNet-50", "supervised", "23.51")
    counted = replace(published("resnet50.dino"), setting="efficiency@noise", metric="params", task="Eff", value=23.508)
    row = row_from_zoo("resnet50.dino", [counted])
    assert row is not None
    assert row.params == "23.508"
    assert row_from_zoo("mine", [published()]) is None
