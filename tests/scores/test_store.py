"""The store: appended scores are read back, also after damage and full disks."""

import errno
import json
import logging
import math
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bob_gauntlet.errors import BobError, UsageError
from bob_gauntlet.scores.score import Score
from bob_gauntlet.scores.store import Store
from tests.helpers.nasty_json import RECORD, VALUES, damaged, paths
from tests.helpers.score_strategies import plain_values, scores


def score(value: float = 80.0, backbone: str = "x") -> Score:
    """Return one score of knn@photos."""
    return Score(setting="knn@photos", metric="top1", task="Cls", value=value, backbone=backbone)


@given(st.lists(scores, max_size=5))
def test_what_is_appended_is_read_back(appended: list[Score]) -> None:
    """Any scores are read back as they were appended, also with names in any script."""
    import tempfile

    with tempfile.TemporaryDirectory(suffix=" mit Lücke") as folder:
        store = Store(Path(folder) / "störe")
        store.append(appended)
        assert list(Store(store.folder)) == appended


def test_of_two_scores_with_one_identity_the_later_counts(tmp_path: Path) -> None:
    """Of two scores with one identity the later counts, also across runs, whose files sort by time."""
    Store(tmp_path).append([score(1.0)])
    Store(tmp_path).append([score(2.0)])
    assert [s.value for s in Store(tmp_path).latest().values()] == [2.0]


def test_two_sessions_write_files_of_their_own(tmp_path: Path) -> None:
    """Two sessions write files of their own, so that neither waits for the other."""
    one, other = Store(tmp_path), Store(tmp_path)
    one.append([score(backbone="a")])
    other.append([score(backbone="b")])
    one.append([score(backbone="c")])
    assert len(list(tmp_path.glob("*.jsonl"))) == 2
    assert {s.backbone for s in Store(tmp_path)} == {"a", "b", "c"}


@pytest.mark.parametrize(
    "damage", ['{"setting": "kn', "[]", "null", "nonsense", '{"setting": 3}', "\x00\x00", '{"value": 1e999}']
)
def test_a_damaged_line_is_reported_and_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str) -> None:
    """The lines around a damaged one are read, and the warning names the file and the line."""
    store = Store(tmp_path)
    store.append([score(1.0, "a")])
    [path] = tmp_path.glob("*.jsonl")
    path.write_text(path.read_text() + damage + "\n" + json.dumps(score(2.0, "b").to_dict()) + "\n")
    with caplog.at_level(logging.WARNING):
        assert [s.backbone for s in Store(tmp_path)] == ["a", "b"]
    assert f"line 2 of {path} is damaged and skipped: " in caplog.text


def test_a_torn_last_line_costs_only_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """If a process died while it wrote, only the last line is lost."""
    store = Store(tmp_path)
    store.append([score(1.0, "a"), score(2.0, "b")])
    [path] = tmp_path.glob("*.jsonl")
    os.truncate(path, path.stat().st_size - 10)
    assert [s.backbone for s in Store(tmp_path)] == ["a"]
    assert f"line 2 of {path} is damaged and skipped: " in caplog.text


def test_a_folder_that_cannot_be_written_is_said_before_anything_runs(tmp_path: Path) -> None:
    """A folder that cannot be created is a usage error that names --bob-store."""
    # a file in the place of the folder, because permissions do not stop root
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"scores cannot be stored in .*; pass --bob-store DIR"):
        Store(tmp_path / "file" / "store").check()


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A score that could not be written is written with the next one, and the file never holds half a line."""
    store = Store(tmp_path)
    store.append([score(1.0, "a")])
    real, full = os.fsync, True

    def fsync(descriptor: int) -> None:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr("bob_gauntlet.scores.store.os.fsync", fsync)
    with pytest.raises(BobError, match=r"1 scores are not stored: .*No space left"):
        store.append([score(2.0, "b")])
    assert [s.backbone for s in Store(tmp_path)] == ["a"]
    full = False
    store.append([score(3.0, "c")])
    assert [s.backbone for s in Store(tmp_path)] == ["a", "b", "c"]


def test_a_store_that_is_not_there_is_empty(tmp_path: Path) -> None:
    """A store whose folder does not exist yet is empty."""
    assert list(Store(tmp_path / "nowhere")) == []


def test_reading_is_fast_enough_for_a_start(tmp_path: Path) -> None:
    """Ten thousand scores are read in order."""
    many = [score(float(i), f"b{i}") for i in range(10_000)]
    Store(tmp_path).append(many)
    read_scores: list[Any] = list(Store(tmp_path))
    assert [s.value for s in read_scores] == [s.value for s in many]


def lines_of(folder: Path, *lines: bytes) -> Path:
    """Write a file of a store and return its path."""
    path = folder / "20260131T120000.000000-abcdef.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


DAMAGE = {
    "a huge value": {"value": 10**400},
    "a huge count": {"provenance": {"n": 10**400}},
    "a huge limit": {"limit": 10**400},
    "no number": {"value": math.nan},
    "a list of a dataset": {"datasets": {"test": ["a"]}},
    "no provenance": {"provenance": None},
    "metrics": {"provenance": {"metrics": 5}},
    "unhashable metrics": {"provenance": {"metrics": [[]]}},
    "a backbone": {"backbone": [1]},
    "a metric": {"metric": {}},
    "a setting": {"setting": None},
    "seeds": {"seeds": [[0]]},
    "examples": {"provenance": {"examples": 5}},
    "half a reference": {"provenance": {"examples": {"kind": "examples"}}},
    "a standard error": {"provenance": {"stderr": "small"}},
    "a truth for a number": {"provenance": {"n": True}},
    "half a surrogate pair": {"backbone": "\ud800"},
    "a curve": {"provenance": {"curve": {"epoch": [1], "validation": [], "loss": []}}},
    "no bins": {"provenance": {"reliability": {"confidence": [], "accuracy": [], "count": []}}},
    "versions": {"provenance": {"versions": ["torch"]}},
}


@pytest.mark.parametrize("change", DAMAGE.values(), ids=DAMAGE)
def test_a_wrong_field_costs_only_its_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, change: dict[str, Any]
) -> None:
    """A record whose field no reader could use is skipped with one warning, however often the store is read."""
    good = json.dumps(RECORD).encode()
    path = lines_of(tmp_path, json.dumps({**RECORD, **change}).encode(), good)
    store = Store(tmp_path)
    for _ in range(2):
        assert [s.to_dict() for s in store] == [RECORD]
    [warning] = [record.getMessage() for record in caplog.records]
    assert warning.startswith(f"line 1 of {path} is damaged and skipped: ")
    assert len(warning) < 500


@pytest.mark.parametrize("line", [b"[" * 200_000, b'{"value": ' * 100_000, b"9" * 5000, b"\xff\xfe", b"\xef\xbb\xbf{"])
def test_a_line_that_is_no_json_costs_only_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, line: bytes
) -> None:
    """Endless brackets, numbers of thousands of digits and bytes that are no text are skipped with one warning."""
    path = lines_of(tmp_path, line, json.dumps(RECORD).encode())
    assert [s.backbone for s in Store(tmp_path)] == ["x"]
    [warning] = [record.getMessage() for record in caplog.records]
    assert warning.startswith(f"line 1 of {path} is damaged and skipped: ")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(line=st.binary(max_size=200))
def test_any_bytes_are_read_or_skipped(tmp_path: Path, line: bytes) -> None:
    """Nothing raises, whatever a file holds; the record after it is read."""
    lines_of(tmp_path, line, json.dumps(RECORD).encode())
    assert [s.backbone for s in Store(tmp_path)] == ["x"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(path=st.sampled_from(paths()), value=plain_values | st.sampled_from(VALUES))
def test_any_value_in_any_field_is_read_or_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, path: tuple[str, ...], value: Any
) -> None:
    """A record with any JSON value in one place gives a score of the same record, or one warning."""
    caplog.clear()
    record = damaged(path, value)
    lines_of(tmp_path, json.dumps(record).encode())
    read_scores = list(Store(tmp_path))
    assert len(read_scores) + len(caplog.records) == 1
    for read_score in read_scores:
        assert read_score.to_dict() == json.loads(json.dumps(record))
        assert hash(read_score.identity)
