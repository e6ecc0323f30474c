"""The analysis of supervision: Table 20, and pairs of one architecture."""

import pytest

from bob_gauntlet.analysis.registry import analyse
from bob_gauntlet.pools.folder import BackboneRow
from bob_gauntlet.ranking.score_table import ScoreTable
from tests.helpers.analysis_tables import BuildTable, column

PHOTOS, DIGITS = ("linear-probe@photos", "top1"), ("linear-probe@digits", "top1")
COPIES, RET = ("retrieval@copydays-mini", "map"), ("retrieval@photos-instances", "map")

# Table 20: self-supervised, supervised IN-1k, supervised IN-21k; ours where it differs
TABLE_20 = {
    "Cls": (("0.573", "0.5602"), ("0.527", "0.4850"), ("0.936", "0.7808")),
    "Det": (("0.298", "0.2035"), ("0.743", "0.8231"), ("1.076", "1.2351")),
    "Seg": (("0.314", "0.2177"), ("0.717", "0.7889"), ("1.071", "1.2012")),
    "Ret": (("0.489", "0.2963"), ("-0.079", "-0.2635"), ("0.708", "0.7900")),
    "OOD-Cls": (("0.419", "0.4189"), ("0.287", "0.2865"), ("1.271", "1.2711")),
    "OOD-Det": (("0.414", "0.4194"), ("0.923", "0.9456"), ("0.853", "0.9143")),
}


@pytest.mark.parametrize("task", TABLE_20)
def test_table_20(paper: ScoreTable, task: str) -> None:
    """The row of OOD classification matches to .001; the others are close and the difference is explained."""
    lines = [p for p in analyse("supervision", paper).published if p.what.startswith(f"{task}, ")]
    assert tuple((p.paper, p.ours) for p in lines) == TABLE_20[task]
    assert [p.why == "" for p in lines] == [task == "OOD-Cls"] * 3
    if task in ("Det", "Seg", "OOD-Det"):
        assert lines[2].why.startswith("only 2 such backbones")


def test_the_table_shows_what_is_compared(paper: ScoreTable) -> None:
    """The table of means shows the values that are compared with the paper."""
    analysis = analyse("supervision", paper)
    assert len(analysis.published) == 18
    first = analysis.tables[0]
    shown = [column(first, c)["OOD-Cls"] for c in first.columns[1:]]
    assert shown == pytest.approx([0.419, 0.287, 1.271], abs=1e-3)  # Table 20
    for line in analysis.published:
        task, _, which = line.what.partition(", best 3 ")
        assert f"{column(first, which)[task]:.4f}" == line.ours


def row(name: str, method: str, data: str = "photos", model: str = "m") -> BackboneRow:
    """Return a row of backbones.csv."""
    return BackboneRow(name, "candidate", name, model=model, method=method, data=data)


def test_the_best_three_of_a_kind(build_table: BuildTable) -> None:
    """Of four self-supervised backbones the best three count; a mean of one supervised backbone is noted."""
    values = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0, "s": 10.0}
    rows = [row(n, "supervised" if n == "s" else "simclr", model=n) for n in values]
    analysis = analyse("supervision", build_table({n: {PHOTOS: v} for n, v in values.items()}, *rows))
    # mean 4 and population std 10 ** .5 of the five
    first = analysis.tables[0].records()[0]
    assert first["self-supervised"] == pytest.approx((3 - 4) / 10**0.5)
    assert first["supervised (photos)"] == pytest.approx((10 - 4) / 10**0.5)
    assert analysis.notes[0] == "fewer than 3 backbones: All supervised (photos): 1; Cls supervised (photos): 1"
    assert analysis.notes[1].startswith("no architecture was pretrained both")


def test_a_pair_is_compared_on_what_both_have(build_table: BuildTable) -> None:
    """x minus s is +1, -2 and, in retrieval, -1; a measure that s does not have is left out. The std is (2/3) ** .5."""
    values = {
        "x": {PHOTOS: 2.0, DIGITS: 1.0, COPIES: 1.0, RET: 9.0},
        "s": {PHOTOS: 1.0, DIGITS: 3.0, COPIES: 2.0},
        "o": {PHOTOS: 3.0, DIGITS: 2.0, COPIES: 3.0, RET: 1.0},
    }
    rows = [row("x", "simclr"), row("s", "supervised"), row("o", "supervised", data="other")]
    analysis = analyse("supervision", build_table(values, *rows))
    equal, by_task, other = analysis.tables[1:]
    std = (2 / 3) ** 0.5
    assert equal.rows == (("x", "s", pytest.approx((1 - 2 - 1) / 3 / std), pytest.approx(1 / 3), 3),)
    assert by_task.records()[1] == {
        "task": "Cls", "z difference": pytest.approx(-0.5 / std), "self-supervised ahead": 0.0, "pairs": 1,
    }  # fmt: skip
    assert [r["task"] for r in by_task.records()] == ["All", "Cls", "Ret"]
    assert [r[:2] for r in other.rows] == [("x", "o")]
