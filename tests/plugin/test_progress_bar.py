"""The progress files of workers, and the status line that the terminal draws from them."""

import io
import json
import os
import time
from pathlib import Path

import pytest

from bob_gauntlet.plugin.progress_bar import ProgressDisplay, ProgressFile, duration, status_line


def test_a_step_is_written_and_taken_away(tmp_path: Path) -> None:
    """A step has a progress file while it lasts, and none afterwards."""
    progress = ProgressFile(tmp_path / "1.json")
    progress.setting = "knn@photos"
    with progress.step("features of train", total=10) as advance:
        advance(4)
        state = json.loads((tmp_path / "1.json").read_text())
        assert state["setting"] == "knn@photos"
        assert state["total"] == 10
    assert list(tmp_path.iterdir()) == []


def test_writing_costs_at_most_one_file_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand small advances write the file once, or a few times on a slow machine."""
    written = []
    monkeypatch.setattr(Path, "replace", lambda self, target: written.append(target))
    with ProgressFile(tmp_path / "1.json").step("x", total=1000) as advance:
        for _ in range(1000):
            advance(1)
    assert 1 <= len(written) <= 3


def test_a_folder_that_cannot_be_written_is_no_matter(tmp_path: Path) -> None:
    """A progress file that cannot be written raises no error."""
    (tmp_path / "file").write_text("")
    with ProgressFile(tmp_path / "file" / "1.json").step("x", total=1) as advance:
        advance(1)


def test_every_worker_is_on_the_line_and_the_dead_are_not(tmp_path: Path) -> None:
    """The status line shows every worker, except those whose file is old or damaged."""
    state = {"setting": "knn@photos", "step": "features", "done": 50, "total": 100, "started": time.time() - 10}
    for name in ("1", "2", "dead"):
        (tmp_path / f"{name}.json").write_text(json.dumps(state))
    (tmp_path / "torn.json").write_text("{")
    os.utime(tmp_path / "dead.json", (0, 0))
    line = status_line(tmp_path, time.time())
    assert line.count("knn@photos: features 50/100, 5.0/s, 10 s left") == 2
    assert line.count("|") == 1


def test_the_session_is_asked_for_what_runs_while_no_process_says_it(tmp_path: Path) -> None:
    """The progress of the session comes first; without a progress file it names what runs."""

    def of_session(with_running: bool) -> str:
        return "1 of 2 settings" + "  |  knn@photos" * with_running

    assert status_line(tmp_path, time.time(), of_session) == "1 of 2 settings  |  knn@photos"
    state = {"setting": "knn@photos", "step": "features", "done": 0, "total": 100, "started": time.time()}
    (tmp_path / "1.json").write_text(json.dumps(state))
    assert status_line(tmp_path, time.time(), of_session) == "1 of 2 settings  |  knn@photos: features 0/100"


def test_the_display_draws_wipes_and_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The display draws within the width, and wipes its line before anything else is printed."""
    monkeypatch.setattr("bob_gauntlet.plugin.progress_bar.EVERY", 0.01)
    state = {"setting": "s" * 100, "step": "features", "done": 5, "total": 10, "started": time.time() - 1}
    (tmp_path / "1.json").write_text(json.dumps(state))
    stream = io.StringIO()
    display = ProgressDisplay(tmp_path, stream, lambda: 60, lambda _: "12 of 37 settings, 3 min left")
    display.start()
    for _ in range(200):
        if "sss" in stream.getvalue():
            break
        time.sleep(0.02)
    display.stop()
    drawn = stream.getvalue().split("\r\x1b[2K")
    assert max(len(line) for line in drawn) == 59
    assert drawn[1].startswith("12 of 37 settings, 3 min left  |  sss")
    assert drawn[-1] == "", "the last act is to wipe"


def test_seconds_are_said_in_words() -> None:
    """A duration is written in seconds, minutes or hours, depending on its size."""
    assert [duration(s) for s in (0.4, 59.6, 61, 3600)] == ["0 s", "1 min 0 s", "1 min 1 s", "1 h 0 min"]
