"""The score table: which scores are in it, what is left out and why, and laws that hold for any pool."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bob_gauntlet.errors import UsageError
from bob_gauntlet.pools.folder import BackboneRow, row_from_zoo
from bob_gauntlet.pools.pool import Pool, load_pool
from bob_gauntlet.ranking.ranking import rank
from bob_gauntlet.ranking.score_table import ScoreTable
from bob_gauntlet.scores.score import Score
from bob_gauntlet.stats.zscores import reference
from tests.helpers.small_pools import CLS, LATENCY, make_pool, make_score

PAPER = load_pool("paper", Path("nowhere"))
MEASURES = (("linear-probe@photos", "top1"), ("linear-probe@digits", "top1"), ("retrieval@photos-instances", "map"))
TASKS = ("Cls", "Cls", "Ret")

values = st.one_of(st.none(), st.sampled_from([10.0, 20.0, 20.0, 35.0, 90.0]))
tables = st.lists(st.tuples(values, values, values), min_size=1, max_size=7)


def scores_of(name: str, row: tuple[float | None, ...]) -> dict[tuple[str, str], Score]:
    """Return the scores of a backbone from its values of MEASURES, None for a missing one."""
    return {
        m: Score(
            setting=m[0], metric=m[1], task=t, value=v, backbone=name, protocol_hash="p", backbone_fingerprint=name
        )
        for m, t, v in zip(MEASURES, TASKS, row, strict=True)
        if v is not None
    }


def pool_of(rows: list[tuple[float | None, ...]]) -> Pool:
    """Return a pool with a member for each row; all members are candidates."""
    names = tuple(f"b{i}" for i in range(len(rows)))
    scores = {name: scores_of(name, row) for name, row in zip(names, rows, strict=True)}
    values_by_measure = {m: [s[m].value for s in scores.values() if m in s] for m in MEASURES}
    return Pool(
        name="made",
        scale="mini",
        folder=Path("nowhere"),
        hash="",
        members=names,
        candidates=names,
        references={m: reference(v) for m, v in values_by_measure.items() if v},
        protocol_hashes={m: "p" for m, v in values_by_measure.items() if v},
        scores=scores,
        backbones={name: BackboneRow(name, "candidate", name) for name in names},
    )


@given(tables, st.tuples(values, values, values))
def test_adding_a_backbone_does_not_change_existing_z_scores(
    rows: list[tuple[float | None, ...]], new_row: tuple[float | None, ...]
) -> None:
    """The z-scores of the members are the same with and without another backbone, whatever its scores are."""
    pool = pool_of(rows)
    before = {row.backbone: row.z for row in rank(pool).rows}
    after = {row.backbone: row.z for row in rank(pool, {"mine": list(scores_of("mine", new_row).values())}).rows}
    after.pop("mine")
    assert after == before


@given(tables)
def test_ranks_follow_the_mean_z(rows: list[tuple[float | None, ...]]) -> None:
    """The best comes first, equal values share a rank, the next ranks stay free; without a value there is no rank."""
    ranked_rows = [row for row in rank(pool_of(rows), min_coverage=0).rows if row.rank]
    z_of_all = [row.z["All"] or 0 for row in ranked_rows]
    assert z_of_all == sorted(z_of_all, reverse=True)
    assert [row.rank for row in ranked_rows] == [1 + sum(other > z for other in z_of_all) for z in z_of_all]


@given(tables)
def test_a_measure_without_z_has_a_note(rows: list[tuple[float | None, ...]]) -> None:
    """A note gives the reason why a measure has no z-score, and no number of a row is NaN."""
    pool = pool_of(rows)
    ranking = rank(pool)
    for measure, frozen in pool.references.items():
        has_note = any(note.startswith(f"{measure[0]} {measure[1]} has no z-score: ") for note in ranking.notes)
        assert has_note == bool(frozen.reason)
    for row in ranking.rows:
        numbers = [*row.z.values(), row.mean_rank, row.median_z, row.iqm_z, row.win_rate, row.coverage]
        assert not [n for n in numbers if n is not None and not np.isfinite(n)]


def test_coverage_of_all_is_the_mean_over_tasks() -> None:
    """One of two classification measures and the only retrieval measure give (1/2 + 1) / 2."""
    score_table = ScoreTable.from_pool(pool_of([(10.0, None, 20.0), (20.0, 20.0, 35.0), (35.0, 90.0, 90.0)]))
    assert score_table.coverage("All").tolist() == [0.75, 1.0, 1.0]
    assert score_table.coverage("Cls").tolist() == [0.5, 1.0, 1.0]


def imagenet_score(name: str = "mine", **fields: Any) -> Score:
    """Return a score on ImageNet that was measured as in the paper."""
    score = Score(
        setting="finetune@imagenet-1k", metric="top1", task="Cls", value=84.0, backbone=name, backbone_fingerprint="f",
        protocol_hash="h", datasets={"test": "d"}, scale="paper", fidelity="paper",
    )  # fmt: skip
    return replace(score, **fields)


def test_a_run_at_the_papers_fidelity_is_compared_with_its_figures() -> None:
    """Printed figures have no protocol hash and no dataset fingerprint, so these are not compared."""
    score_table = ScoreTable.from_pool(PAPER, {"mine": [imagenet_score()]})
    [backbone] = [b for b in score_table.backbones if b.highlighted]
    assert ("finetune@imagenet-1k", "top1") in backbone.scores
    assert score_table.indicative == ()


def test_a_sound_run_is_indicative() -> None:
    """A score of another fidelity has a z and a text that says what differs, but no rank."""
    ranking = rank(PAPER, {"mine": [imagenet_score(fidelity="sound")]})
    [indicative] = ranking.indicative
    assert (indicative.backbone, indicative.score.value) == ("mine", 84.0)
    assert "chosen on a validation part" in indicative.why
    assert indicative.z == pytest.approx(PAPER.references["finetune@imagenet-1k", "top1"].z(np.array(84.0), 1))
    assert next(row for row in ranking.rows if row.highlighted).rank is None


def test_a_limited_run_is_not_even_indicative() -> None:
    """A score of the first eight images is another measurement, and a note says so."""
    ranking = rank(PAPER, {"mine": [imagenet_score(limit=8)]})
    assert any("limit differs" in note for note in ranking.notes)
    assert not ranking.indicative


@pytest.mark.parametrize("fidelity", ["paper", "sound"])
def test_a_part_of_a_backbone_is_shown_and_never_ranked(fidelity: Any) -> None:
    """The scores of a partly loaded checkpoint have no rank and no z; title and note say how much was loaded."""
    text = "partial: 51% of the parameters were in the file"
    score = imagenet_score(fidelity=fidelity, provenance={"backbone": {"partial": text}})
    ranking = rank(PAPER, {"mine": [score]})
    [row] = [row for row in ranking.rows if row.highlighted]
    assert (row.title, row.rank, row.measured) == (f"mine ({text})", None, 0)
    assert f"finetune@imagenet-1k of mine: not ranked, because {text}" in ranking.notes
    assert not ranking.indicative


def test_scores_of_another_scale_are_refused_or_left_out() -> None:
    """Mini scores alone are an error in the paper's pool; beside paper-scale scores they are left out silently."""
    mini = imagenet_score(setting="linear-probe@photos", scale="mini")
    with pytest.raises(UsageError, match="mine was measured at mini scale, and pool paper holds paper-scale scores"):
        ScoreTable.from_pool(PAPER, {"mine": [mini]})
    assert not ScoreTable.from_pool(PAPER, {"mine": [mini, imagenet_score()]}).notes


def test_what_the_zoo_knows_of_a_backbone_is_shown() -> None:
    """The zoo is asked by name, or by the name that it was resolved to; a measured size replaces that of the zoo."""
    resolved = imagenet_score("resnet50", provenance={"backbone": {"resolved": "resnet50.a1_in1k"}})
    row = row_from_zoo("resnet50", [resolved])
    assert row is not None
    assert (row.model, row.style, row.params) == ("ResNet-50", "supervised", "23.51")
    size = replace(
        imagenet_score("resnet50.dino"), setting="efficiency@noise", metric="params", task="Eff", value=23.508
    )
    row = row_from_zoo("resnet50.dino", [size])
    assert row is not None
    assert row.params == "23.508"
    assert row_from_zoo("mine", [imagenet_score()]) is None


def test_a_backbone_of_one_size_is_ranked_apart_with_the_reason() -> None:
    """At 224 px it stands beside members at 96 px: it has no rank, and a note gives both sizes."""
    rows = [(10.0, 20.0, 20.0), (20.0, 20.0, 35.0), (35.0, 90.0, 90.0)]
    pool = pool_of(rows)
    at_96 = {
        name: {m: replace(s, transform="96px crop 0.9") for m, s in scores.items()}
        for name, scores in pool.scores.items()
    }
    pool = replace(pool, scores=at_96)
    large = [replace(s, transform="224px crop 0.9") for s in scores_of("large", rows[0]).values()]
    equal = [replace(s, transform="98px crop 1") for s in scores_of("equal", rows[0]).values()]
    ranking = rank(pool, {"large": large, "equal": equal})
    ranks = {row.backbone: row.rank for row in ranking.rows}
    assert ranks["large"] is None
    assert ranks["equal"] is not None
    assert [note for note in ranking.notes if "large" in note] == [
        "linear-probe@photos, linear-probe@digits, retrieval@photos-instances of large: not ranked, because its input "
        "is 224 px, the pool's 96 px"
    ]


# ---- times


def pool_of_times(folder: Path) -> Pool:
    """Freeze a pool of three members with ratios of 1, 2 and 4, measured on one CPU."""
    return make_pool(
        folder, [make_score(n, LATENCY, v, device="cpu: A") for n, v in (("a", 1.0), ("b", 2.0), ("c", 4.0))]
    )


def test_a_ratio_is_ranked_on_any_machine_of_its_kind(tmp_path: Path) -> None:
    """Another CPU is ranked among CPUs. A GPU is not, and the note names both kinds."""
    pool = pool_of_times(tmp_path / "p")
    scores = {
        "here": [make_score("here", LATENCY, 2.0, device="cpu: B")],
        "gpu": [make_score("gpu", LATENCY, 2.0, device="NVIDIA")],
    }
    table = ScoreTable.from_pool(pool, scores)
    z = dict(zip([backbone.name for backbone in table.backbones], table.z[:, 0], strict=True))
    assert z["here"] == z["b"]
    assert np.isnan(z["gpu"])
    assert table.notes == (
        "efficiency@noise of gpu: not ranked, because device differs from that of pool p (a GPU here, a CPU there)",
    )


@pytest.mark.parametrize(
    "record",
    [
        {"spread": 0.38},
        {"load": 3.2, "cores": 2},
        {"matrix_product": {"quickest_ms": 1.0, "median_ms": 2.1}},
        {"memory_pass": {"quickest_ms": 1.0, "median_ms": 2.1}},
        {"cpu_share": 0.5, "threads": 1},
    ],
    ids=lambda record: next(iter(record)),
)
def test_a_time_of_a_busy_machine_is_left_out(record: dict[str, Any], tmp_path: Path) -> None:
    """Each sign of noise forbids the ranking; the note has the reason and the command."""
    pool = pool_of_times(tmp_path / "p")
    score = make_score("mine", LATENCY, 9.0, device="cpu: A", provenance={"timing": record})
    table = ScoreTable.from_pool(pool, {"mine": [score]})
    assert np.isnan(table.values[0]).all()
    [note] = table.notes
    assert note.startswith("efficiency@noise of mine: not ranked, because the machine was not quiet: ")
    assert note.endswith("; run it again alone: pytest suites/ --backbone=mine -k efficiency --bob-rerun")


def test_a_pool_without_the_metric_is_said(tmp_path: Path) -> None:
    """A pool with the setting and without the metric ranks none of it, and a note says why."""
    latency = Score(setting="efficiency@noise", metric="latency", task="Eff", value=5.0, backbone="a", device="cpu: A")
    pool = make_pool(tmp_path / "p", [replace(latency, backbone=n, value=v) for n, v in (("a", 1.0), ("b", 2.0))])
    table = ScoreTable.from_pool(pool, {"mine": [make_score("mine", LATENCY, 2.0), make_score("mine", CLS, 2.0)]})
    assert "Eff" not in table.columns
    assert table.notes == (
        "efficiency@noise of mine: not ranked, because pool p has other metrics of it only; run: bob baseline "
        "refresh p",
    )
