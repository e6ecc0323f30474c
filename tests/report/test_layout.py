"""Four forms of one ranking."""

import csv
import io
import json
from pathlib import Path

import pytest

from bob_gauntlet.ranking.ranking import Ranking, rank
from bob_gauntlet.report.layout import render
from tests.ranking.test_ranking import CLS, RET, pool, score


@pytest.fixture
def ranking(tmp_path: Path) -> Ranking:
    """Three candidates, and one of ours that lacks a measure."""
    scores = [score(n, m, v) for n, v in (("a", 1.0), ("b", 2.0), ("c", 4.0)) for m in (CLS, RET)]
    return rank(pool(tmp_path / "p", scores), {"mine": [score("mine", CLS, 3.0)]})


def test_json_has_a_record_a_backbone(ranking: Ranking) -> None:
    """The keys that a script may rely on."""
    records = json.loads(render(ranking, "json"))
    assert [r["backbone"] for r in records] == [row.backbone for row in ranking.rows]
    mine = next(r for r in records if r["backbone"] == "mine")
    assert {"backbone", "rank", "z", "interval", "coverage"} <= set(mine)
    assert mine["z"]["Ret"] is None
    assert mine["coverage"] == 0.5
    assert isinstance(mine["rank"], int)


def test_csv_is_read_by_any_csv_reader(ranking: Ranking) -> None:
    """Full precision, a column a task."""
    rows = list(csv.DictReader(io.StringIO(render(ranking, "csv"))))
    assert float(rows[0]["z_All"]) == ranking.rows[0].z["All"]
    assert rows[0].keys() >= {"rank", "rank_low", "rank_high", "backbone", "z_Cls", "z_Ret", "coverage"}


def test_the_table_marks_ones_own_and_says_what_it_is(ranking: Ranking) -> None:
    """Mini scale is no verdict, and the reader is told."""
    text = render(ranking, "table")
    [line] = [line for line in text.splitlines() if " mine " in line]
    assert line.startswith("►")
    assert "1/2" in line
    assert "–" in line, "a missing task is a dash"
    assert "no verdict on backbones" in text


def test_markdown_is_a_table(ranking: Ranking) -> None:
    """With its notes as a list."""
    text = render(ranking, "markdown")
    assert text.splitlines()[1].startswith("|--")
    assert "\n- mini scale" in text
