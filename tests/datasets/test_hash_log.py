"""The file of content hashes: what is read after a kill or damage, and what an append replaces."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bob_gauntlet.datasets import hash_log
from bob_gauntlet.datasets.hash_log import HashLog, HashRecords, HashWriter


def records(paths: Sequence[str], value: int = 0) -> HashRecords:
    """Return records of these paths, whose numbers all come from `value`."""
    n = len(paths)
    return HashRecords(
        paths,
        np.arange(3 * n).reshape(n, 3) + value,
        np.full((n, 16), value % 256, np.uint8),
        np.full(n, value),
    )


def contents(log: HashLog) -> list[tuple[str, int]]:
    """Return the path and the time of every record of the file, read anew."""
    kept = HashLog(log.path).read()
    assert len(kept.paths) == len(kept.stamps) == len(kept.digests) == len(kept.times)
    return list(zip(kept.paths, kept.times.tolist(), strict=True))


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    """Paths may have line breaks, and bytes that are no UTF-8."""
    log = HashLog(tmp_path / "sub/x.hashes")
    assert len(log.read()) == 0
    names = ["a.jpg", "b\nc.jpg", "é/ü.png", b"\xff\xfe.bmp".decode("utf-8", "surrogateescape"), "../up.jpg"]
    log.append(records(names, 7))
    kept = HashLog(log.path).read()
    assert kept.paths == names
    for name in ("stamps", "digests", "times"):
        assert np.array_equal(getattr(kept, name), getattr(records(names, 7), name))


def test_a_torn_or_damaged_block_ends_the_file(tmp_path: Path) -> None:
    """Wherever the last block is cut, the first one is read; the next append overwrites the rest."""
    log = HashLog(tmp_path / "x.hashes")
    log.append(records(["a"], 1))
    first = len(log.path.read_bytes())
    log.append(records(["b", "c"], 2))
    whole = log.path.read_bytes()
    for length in (first, first + 1, first + 31, first + 39, first + 40, len(whole) - 1):
        log.path.write_bytes(whole[:length])
        assert contents(log) == [("a", 1)]
    for position in (first, first + 33, first + 60, len(whole) - 1):
        log.path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        assert contents(log) == [("a", 1)]
        again = HashLog(log.path)
        again.read()
        again.append(records(["d"], 3))
        assert contents(log) == [("a", 1), ("d", 3)]
    log.path.write_bytes(b"no hashes at all")
    assert contents(log) == []


@settings(max_examples=25)
@given(st.lists(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=6), min_size=1, max_size=5))
def test_the_last_record_of_a_path_counts(tmp_path_factory: pytest.TempPathFactory, blocks: list[list[str]]) -> None:
    """As in a dictionary; shrinking leaves these records, in fewer bytes where most are replaced."""
    log = HashLog(tmp_path_factory.mktemp("log") / "x.hashes")
    expected: dict[str, int] = {}
    for number, paths in enumerate(blocks):
        log.append(records(paths, number))
        expected |= dict.fromkeys(paths, number)
    kept = log.read()
    rows = kept.rows_of([*expected, "absent"])
    assert [int(kept.times[row]) for row in rows[:-1]] == list(expected.values())
    assert rows[-1] == -1
    before = log.path.stat().st_size
    log.shrink()
    assert dict(contents(log)) == expected
    if len(kept) > 2 * len(expected):
        assert len(contents(log)) == len(expected)
        assert log.path.stat().st_size < before


def test_a_writer_writes_blocks_and_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block has FILES_IN_BLOCK files at least; the rest is written at the end, also of an exception."""
    monkeypatch.setattr(hash_log, "FILES_IN_BLOCK", 3)
    monkeypatch.setattr(hash_log, "SECONDS_IN_BLOCK", 1e9)
    log = HashLog(tmp_path / "x.hashes")
    names = list("abcdefg")
    sizes: list[int] = []

    def write_until_stopped() -> None:
        with HashWriter(log, names, records(names).stamps, pytest.fail) as writer:
            for start in range(0, 6, 2):
                writer.add(np.arange(start, start + 2), np.zeros((2, 16), np.uint8), start)
                sizes.append(len(contents(log)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_until_stopped()
    assert sizes == [0, 4, 4]
    assert contents(log) == [("a", 0), ("b", 0), ("c", 2), ("d", 2), ("e", 4), ("f", 4)]
    assert np.array_equal(HashLog(log.path).read().stamps, records(names).stamps[:6])


def test_a_block_is_written_after_some_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow files are written too before there are many."""
    monkeypatch.setattr(hash_log, "SECONDS_IN_BLOCK", -1.0)
    log = HashLog(tmp_path / "x.hashes")
    with HashWriter(log, ["a", "b"], records(["a", "b"]).stamps, pytest.fail) as writer:
        writer.add(np.array([1]), np.zeros((1, 16), np.uint8), 5)
        assert contents(log) == [("b", 5)]


def test_a_log_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    """The error goes to `warn`, and the work goes on."""
    (tmp_path / "file").write_text("x")
    errors: list[OSError] = []
    with HashWriter(HashLog(tmp_path / "file/x.hashes"), ["a"], records(["a"]).stamps, errors.append) as writer:
        writer.add(np.array([0]), np.zeros((1, 16), np.uint8), 5)
    assert len(errors) == 1
