"""The timetable of a session: what is stored, what is expected of the rest, and the line that says so."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bob_gauntlet.plugin.session import open_session
from bob_gauntlet.plugin.session_options import SessionOptions
from bob_gauntlet.plugin.timetable import STORED, Timetable
from bob_gauntlet.runtime.run_config import RunConfig
from bob_gauntlet.scores.score import Score

FINETUNE, RETRIEVAL, DETECTION, MINE = (
    f"suite.py::test[resnet50@{setting}]"
    for setting in ("finetune@photos", "retrieval@copydays-mini", "detection-frozen@photo-scenes", "of-a-user@photos")
)


def timed(setting: str, seconds: float, backbone: str = "member") -> Score:
    """Return a score that took some seconds on a CPU."""
    return Score(
        setting=setting, metric="top1", task="Cls", value=1.0, backbone=backbone, device="cpu",
        provenance={"seconds": seconds},
    )  # fmt: skip


def timetable(folder: Path, *pool: Score, **run: Any) -> Timetable:
    """Return the timetable of `--backbone=resnet50` with a pool of some scores and an empty store."""
    options = SessionOptions(
        backbones=("resnet50",), run=RunConfig(**run), device="cpu", home=folder, store=folder / "store",
        cache=folder / "artifacts", pool="mini",
    )  # fmt: skip
    session = open_session(options, folder, {}, hands_out=False)
    frozen: Any = SimpleNamespace(name="mini", scores={"member": {score.measure: score for score in pool}})
    session.pool = frozen if pool else None
    return Timetable(session, on_cpu=True)


def test_the_line_names_time_workers_and_origin(tmp_path: Path) -> None:
    """Workers share the time, as far as units can be shared; the line says where the durations come from."""
    table = timetable(tmp_path, timed("finetune@photos", 300.0), timed("retrieval@copydays-mini", 100.0))
    [line] = table.lines([FINETUNE, RETRIEVAL])
    assert line == "expected time: about 7 min, from durations of pool mini"
    table.workers = 2
    [line] = table.lines([FINETUNE, RETRIEVAL])
    assert line == "expected time on 2 workers: about 5 min, from durations of pool mini"


def test_what_is_guessed_is_said(tmp_path: Path) -> None:
    """Settings without a duration are counted, and nothing is promised where none has one."""
    table = timetable(tmp_path, timed("finetune@photos", 300.0))
    [line] = table.lines([FINETUNE, DETECTION])
    assert line.endswith("from durations of pool mini; 1 of 2 settings are guessed")
    table = timetable(tmp_path)
    table.workers = 2
    [line] = table.lines([FINETUNE, DETECTION])
    assert line == "expected time on 2 workers: not known, since no durations of these settings are stored"


def test_a_shortened_run_promises_nothing_from_whole_ones(tmp_path: Path) -> None:
    """With a limit the pool gives the order only."""
    table = timetable(tmp_path, timed("finetune@photos", 300.0), timed("retrieval@copydays-mini", 1.0), limit=8)
    assert [line.startswith("expected time: not known") for line in table.lines([FINETUNE, RETRIEVAL])] == [True]
    assert table.rank_cheap_first([FINETUNE, RETRIEVAL]) == {RETRIEVAL: 0, FINETUNE: 1}


def test_a_measured_setting_changes_what_is_expected_of_the_others(tmp_path: Path) -> None:
    """Three settings that took twice as long as in the pool double what is expected of the fourth."""
    settings = ["low-shot-10pct@photos", "low-shot-10pct@digits", "low-shot-1pct@photos"]
    table = timetable(tmp_path, *(timed(setting, 10.0) for setting in [*settings, "finetune@photos"]))
    assert table.seconds(FINETUNE) == 10
    table.learn(timed(setting, 20.0, "resnet50") for setting in settings)
    assert table.seconds(FINETUNE) == 20


def test_seeds_multiply_what_is_seeded(tmp_path: Path) -> None:
    """Three seeds take three times as long where the protocol has a seed."""
    table = timetable(tmp_path, timed("finetune@photos", 10.0), timed("retrieval@copydays-mini", 10.0), seeds=(0, 1, 2))
    assert [table.seconds(FINETUNE), table.seconds(RETRIEVAL)] == [30, 10]


def test_what_measures_no_setting_costs_nothing(tmp_path: Path) -> None:
    """Tests beside the suites are neither expected to last nor counted; an unknown protocol is guessed."""
    table = timetable(tmp_path, timed("finetune@photos", 10.0))
    assert table.seconds("tests/test_x.py::test_y[a-1]") == STORED
    assert list(table.lines(["tests/test_x.py::test_y[a-1]"])) == []
    assert table.seconds(MINE) == 10


@pytest.mark.parametrize("stored", [True, False])
def test_a_stored_setting_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: bool) -> None:
    """A setting whose scores will be read takes next to nothing and is in no line."""
    table = timetable(tmp_path, timed("finetune@photos", 10.0))
    monkeypatch.setattr(Timetable, "_look_up", lambda self, node_id: stored)
    assert table.seconds(FINETUNE) == (STORED if stored else 10)
    assert len(list(table.lines([FINETUNE]))) == (not stored)


@pytest.mark.parametrize(("in_store", "asked"), [("finetune@photos", ["finetune@photos"]), ("finetune@digits", [])])
def test_the_store_is_asked_about_the_settings_that_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_store: str, asked: list[str]
) -> None:
    """A setting that has no score of any backbone is measured, without a look at the backbone's identity."""
    session = timetable(tmp_path).session
    session.workspace.stored = {(("setting", in_store),): timed(in_store, 1.0)}
    questions: list[str] = []

    class FakeGauntlet:
        """Says that every setting is stored, and notes the settings that it is asked about."""

        def __init__(self, spec: Any, workspace: Any) -> None:
            """Take what Gauntlet takes."""

        def is_stored(self, recipe: Any, dataset: str) -> bool:
            """See Gauntlet."""
            questions.append(f"{recipe.id}@{dataset}")
            return True

    monkeypatch.setattr("bob_gauntlet.plugin.timetable.Gauntlet", FakeGauntlet)
    assert Timetable(session, on_cpu=True).is_stored(FINETUNE) is bool(asked)
    assert questions == asked
