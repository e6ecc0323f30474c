"""A store with any damage: its good scores are ranked, reported and exported, and each bad line is named once."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from bob_gauntlet.errors import BobError
from bob_gauntlet.scores.json_types import load_json
from bob_gauntlet.scores.score import Score
from bob_gauntlet.scores.store import Store
from tests.helpers.bob_command import run_bob
from tests.helpers.nasty_json import RECORD, VALUES, damaged, paths
from tests.helpers.small_pools import make_pool_of_four

REPORTS = ("report.html", "report.md", "report.csv", "report.json")


def chosen_records() -> list[dict[str, Any]]:
    """Return of each place in a record two that are damaged there and can be read, the first and last, and one not."""
    records = []
    for path in paths():
        readable, unreadable = [], []
        for value in VALUES:
            record = damaged(path, value)
            try:
                Score.from_dict(load_json(json.dumps(record).encode()))
                readable.append(record)
            except (ValueError, BobError):
                unreadable.append(record)
        records += [*readable[:1], *readable[-1:], *unreadable[:1]]
    # a report draws bins of this metric alone
    with_bins = {"setting": "calibration-linear-probe@photos", "metric": "ece", "task": "Cal"}
    return records + [{**record, **with_bins} for record in records if record["provenance"] != RECORD["provenance"]]


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> list[str]:
    """The backbones of a store of damaged records: each record that can be read has a backbone of its own."""
    monkeypatch.chdir(tmp_path)
    make_pool_of_four(tmp_path / "pool")
    store = tmp_path / ".bob/store"
    store.mkdir(parents=True)
    records = chosen_records()
    for number, record in enumerate(records):
        if record["backbone"] == RECORD["backbone"]:
            record["backbone"] = f"x{number}"
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (store / "20260131T120000.000000-abcdef.jsonl").write_text(lines)
    # a shortened run is not ranked, and a name of it alone is a usage error
    names = dict.fromkeys(score.backbone for score in Store(store) if not score.cut)
    caplog.clear()
    return [name for name in names if name and "\x00" not in name]


def test_a_store_with_any_damage_is_ranked_reported_and_exported(
    names: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Every command ends well with every score that is read, and names the first damaged lines on standard error."""
    assert len(names) > 100
    chosen = [f"--backbone={name}" for name in names]
    commands = [
        ["rank", "--pool=pool", *chosen],
        *(["report", "--pool=pool", f"--output={name}", *chosen] for name in REPORTS),
        ["export"],
        ["list"],
    ]
    for command in commands:
        result = run_bob(*command)
        errors = [line for line in result.stderr.splitlines() if not line.startswith("bob: warning: ")]
        assert (result.exception, errors) == (None, []), command[:3]
        assert "bob: warning: line " in result.stderr
        assert "more warnings" in result.stderr
        assert len(result.stderr.splitlines()) < 30
    assert all((tmp_path / name).stat().st_size for name in REPORTS)
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
