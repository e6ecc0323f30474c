"""Analyses rendered as text, JSON and CSV."""

import csv
import io
import json

from bob_gauntlet.analysis.registry import ANALYSES, analyse
from bob_gauntlet.analysis.rendering import render
from bob_gauntlet.analysis.result import Analysis, PublishedFigure, table
from bob_gauntlet.ranking.score_table import ScoreTable

SAMPLE = Analysis(
    name="sample",
    title="A question?",
    about="what it rests on",
    tables=(
        table(
            "First",
            {"task": "", "place": "", "z": "+.2f"},
            [("Cls", 1, 0.125), ("Cls", 2, None), ("Det", 1, 2)],
            keys=2,
        ),
        table("Second", {"backbone": "", "share": ".0%"}, [("mine", 0.5)]),
    ),
    published=(
        PublishedFigure("a", "Table 1", "0.5", "0.5", ""),
        PublishedFigure("b", "Table 1", "0.5", "0.7", "a reason"),
        PublishedFigure("c", "Table 1", "0.6", "0.8", "a reason"),
    ),
    notes=("a note",),
    pool="p",
    highlighted_titles=("mine",),
)

TEXT = """\
head

sample: A question?
===================
what it rests on

First:

task      place      z
------  -------  -----
Cls           1  +0.12
              2      –
Det           1  +2.00

Second:

backbone      share
----------  -------
► mine          50%

published, Table 1: a: paper 0.5, ours the same
published, Table 1: b: paper 0.5, ours 0.7 [a reason]
published, Table 1: c: paper 0.6, ours 0.8 [as above]

a note"""


def test_text() -> None:
    """A repeated first key and a repeated reason are shown once, and highlighted backbones are marked."""
    assert render([SAMPLE], "table", ["head"]) == TEXT


def test_json_is_a_list_of_dicts() -> None:
    """JSON has full precision and one object for each row."""
    (record,) = json.loads(render([SAMPLE], "json"))
    assert record["tables"][0] == {
        "title": "First",
        "columns": ["task", "place", "z"],
        "rows": [
            {"task": "Cls", "place": 1, "z": 0.125},
            {"task": "Cls", "place": 2, "z": None},
            {"task": "Det", "place": 1, "z": 2},
        ],
    }
    assert record["published"][1] == {"what": "b", "where": "Table 1", "paper": "0.5", "ours": "0.7", "why": "a reason"}
    assert (record["name"], record["pool"], record["own"], record["notes"]) == ("sample", "p", ["mine"], ["a note"])


def test_csv_is_one_long_table() -> None:
    """CSV has one line for each cell that is not a key."""
    rows = list(csv.reader(io.StringIO(render([SAMPLE, SAMPLE], "csv"))))
    assert rows[0] == ["analysis", "table", "row", "column", "value"]
    assert rows[1] == ["sample", "First", "Cls / 1", "z", "0.125"]
    assert rows[2] == ["sample", "First", "Cls / 2", "z", ""]
    assert ["sample", "Second", "mine", "share", "0.5"] in rows
    assert ["sample", "published", "b", "why", "a reason"] in rows
    assert ["sample", "notes", "1", "note", "a note"] in rows
    assert len(rows) == 1 + 2 * (3 + 1 + 3 * 4 + 1)


def test_all_of_the_paper_in_every_form(paper: ScoreTable) -> None:
    """No form of any analysis of the paper shows a NaN."""
    analyses = [analyse(name, paper) for name in ANALYSES]
    texts = [render(analyses, form) for form in ("table", "json", "csv")]  # type: ignore[arg-type]
    assert not [text for text in texts if "nan" in text.lower().replace("finance", "")]
    assert len(json.loads(texts[1])) == len(ANALYSES)
    keys = [tuple(row[:4]) for row in csv.reader(io.StringIO(texts[2]))]
    assert len(set(keys)) == len(keys)
