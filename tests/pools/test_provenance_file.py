"""provenance.json: what is written is read back, and a long value that several settings share is written once."""

import json
import logging
from pathlib import Path

import pytest

from bob_gauntlet.pools import provenance_file
from bob_gauntlet.scores.score import Score

COMMAND = "pytest suites/ " + " ".join(f"--backbone=network-{i}" for i in range(12))


def score(backbone: str, setting: str, metric: str = "top1", **facts: object) -> Score:
    """Return a score with such a provenance."""
    return Score(setting=setting, metric=metric, task="Cls", value=1.0, backbone=backbone, provenance=facts)


SCORES = [
    score("a", "knn@photos", command=COMMAND, seeds=[0], n=3),
    score("a", "knn@photos", "top5", command=COMMAND, seeds=[0], k=5),
    score("a", "knn@digits", command=COMMAND, seeds=[0], recipe={"method": "m" * 200}),
    score("b", "knn@photos", command=COMMAND + " alone", seeds=[0]),
]


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    """All fields but the excluded ones are read back."""
    provenance_file.write(tmp_path, SCORES, excluded=("n",))
    table = provenance_file.read(tmp_path)
    for written in SCORES:
        of_setting = table[written.backbone][written.setting]
        facts = {**of_setting["shared"], **of_setting["metrics"][written.metric]}
        assert facts == {key: value for key, value in written.provenance.items() if key != "n"}


def test_a_long_value_is_written_once_where_it_is_repeated(tmp_path: Path) -> None:
    """The command of two settings is written once; a long value that is not repeated and short ones stay in place."""
    provenance_file.write(tmp_path, SCORES, excluded=("n",))
    text = (tmp_path / "provenance.json").read_text()
    assert text.count(COMMAND) == 2, "the shared command, and the longer one that begins with it"
    [(name, value)] = json.loads(text)["$repeated"].items()
    assert value == COMMAND
    assert text.count(name) == 3
    assert json.loads(text)["a"]["knn@digits"]["shared"]["recipe"] == {"method": "m" * 200}


def test_without_repetition_there_is_no_repeated_part(tmp_path: Path) -> None:
    """The file has no "$repeated", as in folders that were written by earlier versions, and is read back."""
    provenance_file.write(tmp_path, SCORES[3:], excluded=())
    assert set(json.loads((tmp_path / "provenance.json").read_text())) == {"b"}
    assert provenance_file.read(tmp_path)["b"]["knn@photos"]["shared"]["command"] == COMMAND + " alone"


@pytest.mark.parametrize(
    "text", ["{", '{"a": {"s": {"shared": {"command": {"$": "gone"}}, "metrics": {}}}}', '{"a": {"s": {}}}']
)
def test_a_damaged_file_gives_no_provenance(text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A warning names the damaged file, also where a repeated value is missing."""
    (tmp_path / "provenance.json").write_text(text)
    with caplog.at_level(logging.WARNING):
        assert provenance_file.read(tmp_path) == {}
    assert "provenance.json cannot be read" in caplog.text


def test_no_baseline_file_is_larger_than_a_megabyte() -> None:
    """Baselines stay small, since every clone of the repository contains them."""
    root = Path(__file__).parents[2] / "baselines"
    assert not [path for path in root.rglob("*") if path.is_file() and path.stat().st_size > 1_000_000]
