"""Tests of reports as Markdown, CSV and JSON: they are complete, and names of users are escaped."""

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
from tests.helpers.small_pools import CLS, KNN, RET, make_pool, make_score

EVIL = "<script>alert(1)</script>|[x](y)"


@pytest.fixture
def report(tmp_path: Path) -> Report:
    """A report on a hostile name in a pool of three: a ranked and an unranked score, a change, a skip, a failure."""
    three = make_pool(
        tmp_path / "p", [make_score(n, m, v) for n, v in (("a", 1.0), ("b", 2.0), ("c", 4.0)) for m in (CLS, RET)]
    )
    new_scores = [
        replace(make_score("m", m, 3.0, provenance={"stderr": 0.5, "n": 10}), backbone=EVIL) for m in (CLS, KNN)
    ]
    return gather(
        three,
        {EVIL: new_scores},
        before=[replace(new_scores[0], value=3.5)],
        since="last week",
        outcomes=[
            SettingOutcome(EVIL, "retrieval@photos-instances", "skipped", "no <data>"),
            SettingOutcome(EVIL, "knn@digits", "failed", "NaN | infinity"),
            SettingOutcome(EVIL, CLS[0], "measured"),
        ],
    )


def test_markdown_says_what_changed_and_what_is_missing(report: Report) -> None:
    """The sections are in the order in which a reviewer reads them."""
    text = markdown.render_markdown(report)
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings == [
        "# bob-gauntlet report", "## Ranking", "## What changed since last week", "## Settings without a score",
        "## Scores", "## How the scores were measured",
    ]  # fmt: skip
    assert "against every other backbone (p-values corrected by Holm's method)</summary>" in text
    [change] = [line for line in text.splitlines() if line.startswith("|") and "worse" in line]
    assert "-0.5" in change
    assert "- skipped: retrieval@photos-instances of" in text
    assert "no &lt;data&gt;" in text


def test_markdown_marks_a_part_of_a_backbone(report: Report) -> None:
    """Every score of a partly loaded checkpoint says how much of the backbone was in the file."""
    text = "partial: 51% of the parameters were in the file"
    score = make_score("m", CLS, 3.0, provenance={"backbone": {"partial": text}})
    lines = markdown.render_markdown(replace(report, scores=(score,))).splitlines()
    assert [line for line in lines if line.startswith(f"| m ({text}) ")]
    assert [line for line in lines if line.startswith(f"- m, {CLS[0]}: ") and text in line]


def test_markdown_escapes_a_hostile_name(report: Report) -> None:
    """The name adds neither a tag nor a cell."""
    text = markdown.render_markdown(report)
    assert "<script>" not in text
    table = text.split("## Scores")[1].split("##")[0].strip().splitlines()
    cells = [len(line.replace("\\|", "").split("|")) for line in table]
    assert len(set(cells)) == 1


def test_json_is_complete_and_strict(report: Report) -> None:
    """JSON holds the keys that programs rely on and no NaN, which JSON does not allow."""
    content = json.loads(data.as_json(report), parse_constant=lambda name: pytest.fail(name))
    assert content["backbones"] == [EVIL]
    assert content["pool"]["scale"] == "mini"
    assert {row["backbone"] for row in content["ranking"]} == {EVIL, "a", "b", "c"}
    assert [(c["delta"], c["better"]) for c in content["changes"] if c["delta"] is not None] == [(-0.5, False)]
    assert len(content["scores"]) == 2
    assert [o["outcome"] for o in content["outcomes"]] == ["skipped", "failed", "measured"]
    assert len(content["versus"][EVIL]) == 3


def test_csv_has_one_row_per_score(report: Report) -> None:
    """The rows cover members and the user's backbone, with z where it exists and values in full precision."""
    rows = list(csv.DictReader(io.StringIO(data.as_csv(report))))
    assert tuple(rows[0]) == data.COLUMNS
    # three members with two measures each, and two scores of the user's backbone, of which kNN is not ranked
    assert len(rows) == 8
    own_rows = {row["setting"]: row for row in rows if row["own"] == "True"}
    assert float(own_rows[CLS[0]]["z"]) == pytest.approx((3 - 7 / 3) / (14 / 9) ** 0.5)
    assert own_rows[KNN[0]]["z"] == ""
    assert own_rows[CLS[0]]["stderr"] == "0.5"


@pytest.mark.parametrize("ending", writing.ENDINGS)
def test_the_ending_chooses_the_format(report: Report, tmp_path: Path, ending: str) -> None:
    """Every format is written, and none contains the hostile tag."""
    path = tmp_path / f"report{ending}"
    writing.check(path, "--bob-report")
    writing.write(path, report)
    text = path.read_text()
    assert text.startswith({".html": "<!doctype html>", ".md": "# bob", ".csv": "backbone,", ".json": "{"}[ending])


def test_another_ending_is_refused() -> None:
    """The message is one line that says what to type."""
    with pytest.raises(
        UsageError, match=r"--bob-report r\.pdf: the file name must end in \.html, \.md.*; type --bob-report r\.html"
    ):
        writing.check(Path("r.pdf"), "--bob-report")


def test_the_papers_report_has_every_member() -> None:
    """Of 44 members 43 have a ranked measure; SwinV2-Large-w24 has only MRR and recall (Tables 17 and 18)."""
    report = gather(load_pool("paper", Path("nowhere")), {})
    rows = list(csv.DictReader(io.StringIO(data.as_csv(report))))
    assert len({row["backbone"] for row in rows}) == 43
    assert all(row["source"].startswith("table") for row in rows)
