"""Artefacts are computed once and read by others; damage, full disks and races cost at most a recomputation."""

import errno
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bob_gauntlet.errors import BobError
from bob_gauntlet.runtime.artifacts import Artifacts, digest, write_atomically
from bob_gauntlet.runtime.schema import Array, Arrays, Schema, json_schema

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.dictionaries(st.text(), PLAIN, max_size=4)

SCHEMA = Schema({"x": Array("float64", (3,))})
"""The schema of the arrays that `Counted` computes."""


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    """Draw an array of any type and shape that features, heads and curves have, also scalar, empty or transposed."""
    dtype = draw(st.sampled_from(["float32", "float64", "float16", "int64", "int8", "uint8", "bool"]))
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    return rng.integers(0, 100, shape).astype(dtype).T if shape else np.asarray(rng.integers(0, 100), dtype)


class Counted:
    """A computation that counts its calls."""

    def __init__(self, value: float = 1.0) -> None:
        self.calls = 0
        self.value = value

    def __call__(self) -> Arrays:
        self.calls += 1
        return {"x": np.full(3, float(self.value))}


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the warnings that were logged."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def leftovers(folder: Path) -> list[str]:
    """Return the names of the files in a folder that are neither artefacts nor locks."""
    return [p.name for p in folder.rglob("*") if p.is_file() and p.suffix not in (".safetensors", ".lock")]


@settings(deadline=None, max_examples=60)
@given(key=KEYS, made=st.dictionaries(st.text(min_size=1), arrays(), min_size=1, max_size=3))
def test_what_was_computed_is_what_is_read(key: dict[str, Any], made: dict[str, np.ndarray]) -> None:
    """The call that computes and a later one that reads return equal names, types, shapes and values."""
    with tempfile.TemporaryDirectory() as folder:
        schema = Schema({name: Array(str(array.dtype), array.shape) for name, array in made.items()})
        first = Artifacts(Path(folder)).get("features", key, lambda: made, schema)
        again = Artifacts(Path(folder)).get("features", key, lambda: pytest.fail("computed twice"), schema)
    for result in (first, again):
        assert result.keys() == made.keys()
        for name, array in made.items():
            assert (result[name].dtype, result[name].shape) == (array.dtype, array.shape)
            np.testing.assert_array_equal(result[name], array)


@settings(deadline=None, max_examples=40)
@given(value=st.dictionaries(st.text(), PLAIN, max_size=4))
def test_a_memo_is_its_json(value: dict[str, Any]) -> None:
    """A memo returns the plain values that were computed, at the first call and at the second."""
    with tempfile.TemporaryDirectory() as folder:
        schema = json_schema(dict[str, Any])
        assert Artifacts(Path(folder)).memo("tickets", {}, lambda: value, schema) == value
        assert Artifacts(Path(folder)).memo("tickets", {}, lambda: pytest.fail("computed twice"), schema) == value


@settings(deadline=None)
@given(key=KEYS)
def test_a_digest_forgets_order_alone(key: dict[str, Any]) -> None:
    """A digest does not depend on the order of a key's fields, and another field changes it."""
    assert digest(dict(reversed(key.items()))) == digest(key)
    assert digest({**key, "one more": 1} if "one more" not in key else {}) != digest(key)
    assert len(digest(key)) == 32


def test_kinds_and_keys_are_kept_apart(tmp_path: Path) -> None:
    """Features and a head with equal keys are two artefacts."""
    artifacts = Artifacts(tmp_path)
    for number, (kind, key) in enumerate([("features", {"a": 1}), ("features", {"a": 2}), ("heads", {"a": 1})]):
        result = artifacts.get(kind, key, Counted(number), SCHEMA)
        assert result["x"].tolist() == [number] * 3
    assert artifacts.peek("heads", {"a": 2}, SCHEMA) is None


@pytest.mark.parametrize("folder", ["with space", "ключ/模型 🦆", "#?%20&;'"])
def test_any_folder_will_do(tmp_path: Path, folder: str) -> None:
    """A folder's path may have spaces, characters beyond ASCII, and several levels."""
    compute = Counted()
    for _ in range(2):
        Artifacts(tmp_path / folder).get("features", {"of": "ü"}, compute, SCHEMA)
    assert compute.calls == 1
    assert Artifacts(tmp_path / folder).path("features", {"of": "ü"}).is_file()


def cut(content: bytes) -> bytes:
    """Return the first half, which a full disk or an interrupted copy leaves."""
    return content[: len(content) // 2]


def flip(content: bytes) -> bytes:
    """Return the content with one bit of the last value flipped."""
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize("damage", [cut, flip, lambda content: b"", lambda content: b"\0" * len(content)])
def test_a_damaged_file_is_computed_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[bytes], bytes]
) -> None:
    """A damaged file is computed again and replaced, and one warning names it."""
    artifacts, compute = Artifacts(tmp_path), Counted()
    artifacts.get("features", {}, compute, SCHEMA)
    path = artifacts.path("features", {})
    path.write_bytes(damage(path.read_bytes()))
    assert artifacts.get("features", {}, compute, SCHEMA)["x"].tolist() == [1.0] * 3
    assert compute.calls == 2
    [warning] = warned(caplog)
    assert warning.startswith(f"{path} is damaged (")
    artifacts.get("features", {}, compute, SCHEMA)
    assert compute.calls == 2


def test_stored_values_that_are_refused_are_computed_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A whole file whose values are refused is computed again and replaced, and one warning says what is wrong."""

    def refuse_nan(arrays: Arrays) -> None:
        if np.isnan(arrays["x"]).any():
            raise BobError("x holds NaN")

    artifacts, compute = Artifacts(tmp_path), Counted()
    artifacts.get("features", {}, Counted(np.nan), SCHEMA)
    for _ in range(2):
        schema = Schema(SCHEMA.arrays, refuse_nan)
        assert artifacts.get("features", {}, compute, schema)["x"].tolist() == [1.0] * 3
    assert compute.calls == 1
    [warning] = warned(caplog)
    assert warning == f"{artifacts.path('features', {})} is damaged (x holds NaN) and is computed again"


def test_a_peek_at_a_damaged_file_finds_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """`peek` returns None for a damaged file, and logs one warning."""
    artifacts = Artifacts(tmp_path)
    artifacts.get("features", {}, Counted(), SCHEMA)
    artifacts.path("features", {}).write_bytes(b"no artefact")
    assert artifacts.peek("features", {}, SCHEMA) is None
    assert len(warned(caplog)) == 1


def test_a_folder_that_cannot_be_written_still_gives_the_result(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """If the folder cannot be written, all results are returned and there is one warning."""
    # a path under a file, which root cannot create either
    (tmp_path / "file").touch()
    artifacts = Artifacts(tmp_path / "file" / "artifacts")
    for number in range(3):
        assert artifacts.get("features", {"n": number}, Counted(number), SCHEMA)["x"].tolist() == [number] * 3
    [warning] = warned(caplog)
    assert "cannot be kept" in warning
    assert "pass --bob-cache DIR" in warning


def no_space(*args: object) -> NoReturn:
    """Raise the error of a full disk."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_costs_the_keeping_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk the result is returned, one warning says why it is not kept, and no partial file stays."""
    artifacts, compute = Artifacts(tmp_path), Counted()
    monkeypatch.setattr(os, "fsync", no_space)
    for _ in range(2):
        assert artifacts.get("features", {}, compute, SCHEMA)["x"].tolist() == [1.0] * 3
    assert compute.calls == 2
    [warning] = warned(caplog)
    assert "No space left on device" in warning
    assert leftovers(tmp_path) == []
    assert not artifacts.path("features", {}).exists()


def test_a_failed_computation_keeps_nothing(tmp_path: Path) -> None:
    """An error of the computation reaches the caller, and the lock is free for the next call."""

    def fails() -> Arrays:
        raise ZeroDivisionError

    artifacts = Artifacts(tmp_path)
    with pytest.raises(ZeroDivisionError):
        artifacts.get("features", {}, fails, SCHEMA)
    assert artifacts.get("features", {}, Counted(), SCHEMA)["x"].tolist() == [1.0] * 3


@pytest.mark.parametrize("existed", [False, True])
def test_a_failed_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existed: bool) -> None:
    """A failed write leaves the old content or no file, and no temporary file."""
    path = tmp_path / "a file.json"
    if existed:
        write_atomically(path, b"old")
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert [p.name for p in tmp_path.iterdir()] == [path.name] * existed
    assert not existed or path.read_bytes() == b"old"


def test_an_interrupted_write_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C during a write, which is no OSError, leaves no temporary file."""

    def interrupt(*args: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "x", b"new")
    assert list(tmp_path.iterdir()) == []


def test_a_written_file_is_everybodys_to_read(tmp_path: Path) -> None:
    """A written file has mode 0644, unlike temporary files (0600); its folder is made, and its name may be long."""
    path = tmp_path / "made" / f"{'é' * 100}.json"
    write_atomically(path, b"x")
    assert path.read_bytes() == b"x"
    assert path.stat().st_mode & 0o777 == 0o644
    assert leftovers(tmp_path) == [path.name]


def test_of_two_threads_one_computes(tmp_path: Path) -> None:
    """Of two threads one computes, and the other waits and reads the result."""
    compute = Counted()
    inside = threading.Barrier(2)

    def slow() -> Arrays:
        time.sleep(0.2)
        return compute()

    def ask(results: list[Arrays]) -> None:
        inside.wait(10)
        results.append(Artifacts(tmp_path).get("features", {}, slow, SCHEMA))

    results: list[Arrays] = []
    threads = [threading.Thread(target=ask, args=(results,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert compute.calls == 1
    assert [one["x"].tolist() for one in results] == [[1.0] * 3] * 2


# prints "computes" when it computes, and continues when a file appears
ASKER = """
import sys, time
from pathlib import Path
import numpy as np
from bob_gauntlet.runtime.artifacts import Artifacts
from bob_gauntlet.runtime.schema import Array, Schema

def compute():
    print("computes", flush=True)
    end = time.monotonic() + 30
    while not Path(sys.argv[2]).exists() and time.monotonic() < end:
        time.sleep(0.01)
    return {"x": np.arange(3)}

schema = Schema({"x": Array("int64", (3,))})
print(Artifacts(Path(sys.argv[1])).get("features", {}, compute, schema)["x"].tolist(), flush=True)
"""


@pytest.fixture
def asker(tmp_path: Path) -> Iterator[Callable[[], "subprocess.Popen[str]"]]:
    """A function that starts a process which asks for one artefact; at the end all these processes are killed."""
    started: list[subprocess.Popen[str]] = []

    def start() -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", ASKER, str(tmp_path / "artifacts"), str(tmp_path / "go")]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_of_two_processes_one_computes(tmp_path: Path, asker: Callable[[], "subprocess.Popen[str]"]) -> None:
    """The second process waits for the lock of the first, which is held while it computes."""
    first = asker()
    assert first.stdout is not None
    assert first.stdout.readline() == "computes\n"
    second = asker()
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(0.7)
    (tmp_path / "go").touch()
    assert first.communicate(timeout=30)[0] == "[0, 1, 2]\n"
    assert second.communicate(timeout=30)[0] == "[0, 1, 2]\n"


def test_a_killed_process_frees_its_lock(tmp_path: Path, asker: Callable[[], "subprocess.Popen[str]"]) -> None:
    """After a process is killed the next one computes, and no partial file stays."""
    first = asker()
    assert first.stdout is not None
    assert first.stdout.readline() == "computes\n"
    first.kill()
    first.wait(10)
    assert Artifacts(tmp_path / "artifacts").get("features", {}, Counted(), SCHEMA)["x"].tolist() == [1.0] * 3
    assert leftovers(tmp_path / "artifacts") == []
