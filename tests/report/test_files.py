"""A report as Markdown, CSV and JSON: everything is in it, and nothing of a user's names gets out of its cell."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from bob_gauntlet.errors import UsageError
from bob_gauntlet.pools.pool import load_pool
from bob_gauntlet.report import data, markdown, writing
from bob_gauntlet.report.content import Report, SettingOutcome, gather
from tests.ranking.test_ranking import CLS, KNN, RET, pool, score

EVIL = "<script>alert(1)</script>|[x](y)"


@pytest.fixture
def report(tmp_path: Path) -> Report:
    """A backbone with a hostile name in a pool of three: one score ranked, one not, a change, a skip, a failure."""
    made = pool(tmp_path / "p", [score(n, m, v) for n, v in (("a", 1.0), ("b", 2.0), ("c", 4.0)) for m in (CLS, RET)])
    mine = [replace(score("m", m, 3.0, provenance={"stderr": 0.5, "n": 10}), backbone=EVIL) for m in (CLS, KNN)]
    return gather(
        made,
        {EVIL: mine},
        before=[replace(mine[0], value=3.5)],
        since="last week",
        outcomes=[
            SettingOutcome(EVIL, "retrieval@photos-instances", "skipped", "no <data>"),
            SettingOutcome(EVIL, "knn@digits", "failed", "NaN | infinity"),
            SettingOutcome(EVIL, CLS[0], "measured"),
        ],
    )


def test_markdown_says_what_changed_and_what_is_missing(report: Report) -> None:
    """Sections in the order in which a reviewer asks."""
    text = markdown.page(report)
    parts = [line for line in text.splitlines() if line.startswith("#")]
    assert parts == [
        "# bob-gauntlet report", "## Ranking", "## What changed since last week", "## Without a score", "## Scores",
        "## How they were got",
    ]  # fmt: skip
    assert "against each other one (p corrected by Holm's method)</summary>" in text
    [change] = [line for line in text.splitlines() if "worse" in line]
    assert "-0.5" in change
    assert "- skipped: retrieval@photos-instances of" in text
    assert "no &lt;data&gt;" in text


def test_markdown_holds_a_hostile_name(report: Report) -> None:
    """No tag, and as many cells in its row as in the head."""
    text = markdown.page(report)
    assert "<script>" not in text
    table = text.split("## Scores")[1].split("##")[0].strip().splitlines()
    cells = [len(line.replace("\\|", "").split("|")) for line in table]
    assert len(set(cells)) == 1


def test_json_has_everything_and_is_strict(report: Report) -> None:
    """No NaN, which JSON does not know; the keys that a program may rely on."""
    found = json.loads(data.as_json(report), parse_constant=lambda name: pytest.fail(name))
    assert found["backbones"] == [EVIL]
    assert found["pool"]["scale"] == "mini"
    assert {row["backbone"] for row in found["ranking"]} == {EVIL, "a", "b", "c"}
    assert [(c["delta"], c["better"]) for c in found["changes"] if c["delta"] is not None] == [(-0.5, False)]
    assert len(found["scores"]) == 2
    assert [o["outcome"] for o in found["outcomes"]] == ["skipped", "failed", "measured"]
    assert len(found["versus"][EVIL]) == 3


def test_csv_has_a_row_a_score(report: Report) -> None:
    """Members and own, with z where there is one, values in full precision."""
    rows = list(csv.DictReader(io.StringIO(data.as_csv(report))))
    assert tuple(rows[0]) == data.COLUMNS
    # three members with two measures each, and two scores of mine, of which kNN is not ranked
    assert len(rows) == 8
    mine = {row["setting"]: row for row in rows if row["own"] == "True"}
    assert float(mine[CLS[0]]["z"]) == pytest.approx((3 - 7 / 3) / (14 / 9) ** 0.5)
    assert mine[KNN[0]]["z"] == ""
    assert mine[CLS[0]]["stderr"] == "0.5"


@pytest.mark.parametrize("ending", writing.ENDINGS)
def test_the_ending_says_the_form(report: Report, tmp_path: Path, ending: str) -> None:
    """Each is written, and none holds a live tag."""
    path = tmp_path / f"report{ending}"
    writing.check(path, "--bob-report")
    writing.write(path, report)
    text = path.read_text()
    assert text.startswith({".html": "<!doctype html>", ".md": "# bob", ".csv": "backbone,", ".json": "{"}[ending])


def test_another_ending_is_refused() -> None:
    """One line that says what to type."""
    with pytest.raises(
        UsageError, match=r"--bob-report r\.pdf: has to end in \.html, \.md.*; type --bob-report r\.html"
    ):
        writing.check(Path("r.pdf"), "--bob-report")


def test_the_papers_report_has_every_member() -> None:
    """A row a figure of the ranked measures; of 44, SwinV2-Large-w24 has MRR and recall alone (Tables 17 and 18)."""
    found = gather(load_pool("paper", Path("nowhere")), {})
    rows = list(csv.DictReader(io.StringIO(data.as_csv(found))))
    assert len({row["backbone"] for row in rows}) == 43
    assert all(row["source"].startswith("table") for row in rows)
