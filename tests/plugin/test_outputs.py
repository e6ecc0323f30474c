"""The files that a session writes at its end."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bob_gauntlet.plugin import outputs, terminal
from bob_gauntlet.plugin.outcome import ItemOutcome
from bob_gauntlet.plugin.session import open_session
from bob_gauntlet.plugin.session_options import SessionOptions
from bob_gauntlet.pools.pool import load_pool
from bob_gauntlet.ranking.example_errors import ExampleErrors
from bob_gauntlet.ranking.ranking import rank
from bob_gauntlet.report.layout import render
from bob_gauntlet.runtime.run_config import RunConfig


def test_the_report_and_the_terminal_share_one_computation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --bob-report the errors of each measure are read once, and both show the ranking that `rank` returns."""
    path = tmp_path / "report.json"
    options = SessionOptions(
        backbones=("resnet50",), run=RunConfig(), device="cpu", home=tmp_path, store=tmp_path / "store",
        cache=tmp_path / "artifacts", pool="mini", report=path,
    )  # fmt: skip
    session = open_session(options, tmp_path, {}, hands_out=False)
    session.pool = load_pool("mini", tmp_path)
    for score in session.pool.scores["resnet-supervised"].values():
        copy = replace(score, backbone="mine", backbone_fingerprint="fp-mine")
        session.record(f"{score.setting} {score.metric}", ItemOutcome(score.setting, "mine", "store", scores=(copy,)))
    read_measures: list[int] = []
    read = ExampleErrors._read

    def count(errors: ExampleErrors, index: int) -> Any:
        read_measures.append(index)
        return read(errors, index)

    monkeypatch.setattr(ExampleErrors, "_read", count)
    assert outputs.write_all(session) == []
    lines = terminal.ranking_lines(session)
    assert len(read_measures) == len(set(read_measures)) > 1
    expected = rank(session.pool, session.scores_by_backbone, only_measured=True)
    assert lines == render(expected, "table").splitlines()
    assert json.loads(path.read_text())["ranking"] == json.loads(render(expected, "json"))
