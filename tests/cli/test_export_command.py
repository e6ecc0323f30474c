"""`bob export`, as it is typed."""

import builtins
import csv
import io
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result

import bob_gauntlet
from bob_gauntlet.cli.main import main
from bob_gauntlet.scores.score import Score
from bob_gauntlet.scores.store import Store

VALUE = 100 / 3


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two stored scores."""
    monkeypatch.chdir(tmp_path)
    score = Score(setting="knn@photos", metric="top1", task="Cls", value=VALUE, backbone="a, b", limit=8)
    calibration = Score(setting="calibration-finetune@photos", metric="ece", task="Cal", value=1e-17, backbone="c")
    Store(tmp_path / ".bob/store").append([score, calibration])
    return tmp_path


def export(*arguments: str) -> Result:
    """Type `bob export ...`."""
    return CliRunner().invoke(main, ["export", *arguments])


def refusal(*arguments: str) -> str:
    """The one line with which it ends, with exit code 4."""
    result = export(*arguments)
    assert result.exit_code == 4
    [line] = result.output.splitlines()
    return line


def test_csv_goes_to_standard_output() -> None:
    """Every column of `scores`, in full precision."""
    rows = list(csv.DictReader(io.StringIO(export().output)))
    assert list(rows[0]) == list(bob_gauntlet.scores())
    assert [row["backbone"] for row in rows] == ["a, b", "c"]
    assert [float(row["value"]) for row in rows] == [VALUE, 1e-17]
    assert [row["limit"] for row in rows] == ["8", ""]


def test_csv_goes_to_a_file(folder: Path) -> None:
    """Of a store that is named, with the same content as on standard output."""
    expected = export().output
    (folder / ".bob").rename(folder / "other")
    assert export("-o", "scores.csv", "--bob-store", "other/store").output == "scores.csv is written: 2 scores\n"
    assert (folder / "scores.csv").read_bytes().decode() == expected
    assert refusal().startswith("bob: no scores are stored yet; run: pytest")


def test_a_file_that_cannot_be_written_is_one_line(folder: Path) -> None:
    """A folder, for example."""
    (folder / "out").mkdir()
    assert refusal("-o", "out") == "bob: out cannot be written (Is a directory); choose another -o FILE"


def test_parquet_without_its_package_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to install, and leaves no file."""
    real = builtins.__import__

    def without_parquet(name: str, *arguments: Any, **options: Any) -> Any:
        if name.partition(".")[0] in ("pyarrow", "fastparquet"):
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without_parquet)
    monkeypatch.setattr("importlib.import_module", without_parquet)
    for arguments in (("--format", "parquet", "-o", "scores"), ("-o", "scores.parquet")):
        assert refusal(*arguments) == "bob: --format parquet needs pyarrow: pip install pyarrow"
    assert not list(folder.glob("scores*"))
    assert refusal("--format", "parquet") == "bob: --format parquet needs a file; add -o scores.parquet"


def test_parquet_holds_the_same_table(folder: Path) -> None:
    """Where pyarrow is installed, the file gives the DataFrame of `scores` again."""
    pytest.importorskip("pyarrow")
    assert export("-o", "scores.parquet").output == "scores.parquet is written: 2 scores\n"
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "scores.parquet"), bob_gauntlet.scores())
