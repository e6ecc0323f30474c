"""Every analysis over every pool, the comparison with the paper, and `bob analyse`."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from bob_gauntlet.analysis.registry import ANALYSES, analyse, header_lines, resolve_names
from bob_gauntlet.analysis.rendering import render
from bob_gauntlet.analysis.result import UNEXPLAINED, AnalysisOptions
from bob_gauntlet.errors import UsageError
from bob_gauntlet.pools.pool import load_pool
from bob_gauntlet.ranking.score_table import ScoreTable
from bob_gauntlet.scores.store import Store
from tests.helpers.analysis_tables import BuildTable, create_score
from tests.helpers.bob_command import run_bob

PHOTOS, KNN = ("linear-probe@photos", "top1"), ("knn@photos", "top1")
RET = ("retrieval@cub-200", "map")


@pytest.mark.parametrize("name", ANALYSES)
def test_every_analysis_of_mini(mini: ScoreTable, name: str) -> None:
    """For pool mini, every analysis gives tables of plain cells or a note, and no comparison with the paper."""
    analysis = analyse(name, mini)
    assert analysis.tables or analysis.notes
    assert analysis.published == ()
    for table in analysis.tables:
        assert len(table.columns) == len(table.formats)
        assert {len(row) for row in table.rows} == {len(table.columns)}
        labels = [table.label(row) for row in table.rows]
        assert len(set(labels)) == len(labels)
        assert {type(cell) for row in table.rows for cell in row} <= {str, int, float, bool, type(None)}
        assert not [cell for row in table.rows for cell in row if isinstance(cell, float) and np.isnan(cell)]


@pytest.mark.parametrize("measure", [PHOTOS, KNN, ("finetune@imagenet-1k", "top1")])
@pytest.mark.parametrize("name", ANALYSES)
def test_a_pool_of_one_measure(build_table: BuildTable, name: str, measure: tuple[str, str]) -> None:
    """No analysis fails or is silent on a pool with one measure: ranked, not ranked, or of another scale."""
    analysis = analyse(name, build_table({n: {measure: v} for n, v in (("a", 1.0), ("b", 2.0), ("c", 4.0))}))
    assert analysis.tables or analysis.notes
    render([analysis], "table")


@pytest.mark.parametrize("name", ANALYSES)
def test_no_difference_from_the_paper_is_unexplained(paper: ScoreTable, name: str) -> None:
    """Every analysis but budget is compared with the paper, and every difference has a reason."""
    published = analyse(name, paper).published
    assert bool(published) is (name != "budget")
    assert not [p for p in published if UNEXPLAINED in p.why or "\n" in p.why]


@pytest.mark.parametrize("name", ANALYSES)
def test_units_do_not_matter(build_table: BuildTable, name: str) -> None:
    """Z-scores, and everything computed from them, are invariant under x -> 3x + 7."""
    measures = (PHOTOS, ("linear-probe@digits", "top1"), ("retrieval@photos-instances", "map"))
    rng = np.random.default_rng(0)
    values = {n: {m: float(v) for m, v in zip(measures, rng.normal(size=3), strict=True)} for n in "abcdef"}
    changed = {n: {m: 3 * v + 7 for m, v in of_backbone.items()} for n, of_backbone in values.items()}
    first, second = (analyse(name, build_table(v, name=which)) for v, which in ((values, "one"), (changed, "two")))
    assert [t.columns for t in first.tables] == [t.columns for t in second.tables]
    for a, b in zip(first.tables, second.tables, strict=True):
        for left, right in zip(a.rows, b.rows, strict=True):
            assert [c for c in left if not isinstance(c, float)] == [c for c in right if not isinstance(c, float)]
            assert [c for c in left if isinstance(c, float)] == pytest.approx(
                [c for c in right if isinstance(c, float)]
            )


@pytest.mark.parametrize("name", ANALYSES)
def test_own_backbones_change_no_published_figure(paper: ScoreTable, name: str) -> None:
    """A perfect own backbone is in the tables and marked, and does not change the comparison with the paper."""
    measures = dict.fromkeys(paper.measures, 100.0)
    own_scores = {"mine": [create_score("mine", m, v, fidelity="paper", source="test") for m, v in measures.items()]}
    score_table = ScoreTable.from_pool(paper.pool, own_scores, members=True)
    analysis = analyse(name, score_table, AnalysisOptions(own_scores=own_scores))
    assert analysis.highlighted_titles == ("mine",)
    assert analysis.published == analyse(name, paper).published
    if name in ("winners", "correlation", "fine-tuning", "robustness"):
        assert analysis.tables != analyse(name, paper).tables


def test_published_figures_are_for_the_papers_pool_alone(tmp_path: Path, build_table: BuildTable) -> None:
    """The paper's figures are not compared with another pool named paper, other errata, or the pool's small part."""
    other = build_table({n: {RET: v} for n, v in (("a", 1.0), ("b", 2.0), ("c", 4.0))}, name="paper")
    assert analyse("winners", other).published == ()
    printed = ScoreTable.from_pool(load_pool("paper", tmp_path, "printed"), members=True)
    assert analyse("calibration", printed, AnalysisOptions(errata="printed")).published == ()
    small = ScoreTable.from_pool(load_pool("paper-small", tmp_path), members=True)
    assert analyse("small", small).published
    assert analyse("winners", small).published == ()


def test_wrong_names() -> None:
    """A wrong name gets the nearest names, or all of them."""
    with pytest.raises(UsageError, match="unknown analysis 'winers'; did you mean winners"):
        resolve_names("winers")
    with pytest.raises(UsageError, match=r"'xyz'; choose from winners, small, .*, all"):
        resolve_names("xyz")
    with pytest.raises(UsageError, match="--without works with `bob analyse correlation` only, not with winners"):
        resolve_names("winners", ("MAE",))
    assert resolve_names("all", ("MAE",)) == list(ANALYSES)


def test_the_header_says_what_a_reader_has_to_know(paper: ScoreTable, mini: ScoreTable) -> None:
    """The header names the pool, the errata, the limits of pool mini, and own scores that are left out."""
    first_line = header_lines(paper, AnalysisOptions())[0]
    assert first_line == f"pool paper ({paper.pool.hash[:8]}), paper scale, 32 ranked measures"
    assert any(line.startswith("confirmed errata") for line in header_lines(paper, AnalysisOptions()))
    assert any("as printed" in line for line in header_lines(paper, AnalysisOptions(errata="printed")))
    assert any(line.startswith("mini scale:") for line in header_lines(mini, AnalysisOptions()))
    own_scores = {"mine": [create_score("mine", RET, 50.0, source="test")]}
    score_table = ScoreTable.from_pool(paper.pool, own_scores, members=True)
    lines = header_lines(score_table, AnalysisOptions(own_scores=own_scores))
    assert any(line.startswith("published: the paper's figures are compared with the pool alone") for line in lines)
    assert any(line.startswith("mine: 1 setting is left out") for line in lines)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def bob(*arguments: str) -> Result:
    """Run `bob analyse` with these arguments."""
    return run_bob("analyse", *arguments)


def test_without_a_name_the_analyses_are_listed(folder: Path) -> None:
    """Without a name, there is one line for each analysis."""
    lines = bob().output.splitlines()
    assert [line.split()[0] for line in lines[2:]] == [*ANALYSES, "all"]


def test_the_papers_pool_is_the_default(folder: Path) -> None:
    """The paper's pool is the default, and `--pool` selects another."""
    assert bob("winners").output.startswith("pool paper (")
    assert bob("winners", "--pool", "mini").output.startswith("pool mini (")
    assert json.loads(bob("all", "--pool", "mini", "--format", "json").output)[0]["name"] == "winners"


def test_options_reach_the_analysis(folder: Path) -> None:
    """`--errata`, `--without`, `--backbone` (of pool and store) and `--format` reach the analysis."""
    assert "published, " in bob("calibration").output
    assert "published, " not in bob("calibration", "--errata", "printed").output
    assert "MiDaS" in bob("calibration").output  # a member, no candidate
    # Cls and Ret with figures as printed, as in an independent script (test_correlation.py)
    assert " 0.45 " in bob("correlation", "--errata", "printed").output.partition("Pairs of tasks")[2].splitlines()[6]
    assert "without resnet50.dino:" in bob("correlation", "--without", "resnet50.dino").output
    assert "► ResNet-50 DINO (IN-1k)" in bob("robustness", "--backbone", "resnet50.dino").output
    Store(folder / ".bob/store").append([create_score("mine", PHOTOS, 99.0, protocol_hash="other")])
    assert "mine" in bob("winners", "--pool", "mini", "--backbone", "mine").output
    assert bob("small", "--format", "csv").output.startswith("analysis,table,row,column,value\nsmall,")


def test_unranked_scores_of_the_store_count(folder: Path) -> None:
    """The paper's pool has no throughput, so that of the user for three of its backbones is compared."""
    names = ("resnet50.a1_in1k", "convnext_base.fb_in1k", "vit_base_patch16_224.dino")
    scores = [create_score(n, ("efficiency@noise", "batch_ratio"), v, scale="paper") for v, n in enumerate(names, 1)]
    Store(folder / ".bob/store").append(scores)
    output = bob("speed", *(text for name in names for text in ("--backbone", name))).output
    assert "Mean z against throughput, in times a ResNet-18's:" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("winers",), "bob: unknown analysis 'winers'; did you mean winners?"),
        (("winners", "--pool", "papr"), "bob: no pool is called 'papr'; did you mean paper"),
        (("winners", "--backbone", "nobody"), "bob: no scores of 'nobody'"),
        (("correlation", "--without", "MEA"), "bob: --without MEA: no backbone"),
        (("scale", "--without", "MAE"), "bob: --without works with `bob analyse correlation` only"),
    ],
)
def test_a_wrong_name_is_one_line_and_exit_code_4(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    """A wrong name gives one line that says what to type, and exit code 4."""
    result = bob(*arguments)
    assert result.exit_code == 4
    assert message in result.output
    assert len(result.output.splitlines()) == 1
