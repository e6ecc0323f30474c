"""Tests of the four text formats of a ranking."""

import csv
import io
import json
from pathlib import Path

import pytest

from bob_gauntlet.ranking.ranking import Ranking, rank
from bob_gauntlet.report.layout import render
from tests.helpers.small_pools import CLS, RET, make_pool, make_score


@pytest.fixture
def ranking(tmp_path: Path) -> Ranking:
    """A ranking of three candidates and a backbone of the user that lacks a measure."""
    scores = [make_score(n, m, v) for n, v in (("a", 1.0), ("b", 2.0), ("c", 4.0)) for m in (CLS, RET)]
    return rank(make_pool(tmp_path / "p", scores), {"mine": [make_score("mine", CLS, 3.0)]})


def test_json_has_one_record_per_backbone(ranking: Ranking) -> None:
    """The records hold the keys that scripts rely on."""
    records = json.loads(render(ranking, "json"))
    assert [r["backbone"] for r in records] == [row.backbone for row in ranking.rows]
    record = next(r for r in records if r["backbone"] == "mine")
    assert {"backbone", "rank", "z", "interval", "coverage"} <= set(record)
    assert record["z"]["Ret"] is None
    assert record["coverage"] == 0.5
    assert isinstance(record["rank"], int)


def test_csv_can_be_read(ranking: Ranking) -> None:
    """CSV holds values in full precision and a column per task."""
    rows = list(csv.DictReader(io.StringIO(render(ranking, "csv"))))
    assert float(rows[0]["z_All"]) == ranking.rows[0].z["All"]
    assert rows[0].keys() >= {"rank", "rank_low", "rank_high", "backbone", "z_Cls", "z_Ret", "coverage"}


def test_the_table_marks_the_users_backbone_and_explains_mini_scale(ranking: Ranking) -> None:
    """The table says that mini scale does not judge backbones."""
    text = render(ranking, "table")
    [line] = [line for line in text.splitlines() if " mine " in line]
    assert line.startswith("►")
    assert "1/2" in line
    assert "–" in line, "a missing task is shown as a dash"
    assert "it does not judge backbones" in text


def test_markdown_is_a_table(ranking: Ranking) -> None:
    """The notes follow the table as a list."""
    text = render(ranking, "markdown")
    assert text.splitlines()[1].startswith("|--")
    assert "\n- mini scale" in text
