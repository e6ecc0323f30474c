"""provenance.json: what is written comes back, and a long value that several settings share stands there once."""

import json
import logging
from pathlib import Path

import pytest

from bob_gauntlet.pools import provenance_file
from bob_gauntlet.scores.score import Score

COMMAND = "pytest suites/ " + " ".join(f"--backbone=network-{i}" for i in range(12))


def score(backbone: str, setting: str, metric: str = "top1", **facts: object) -> Score:
    """One score with such a provenance."""
    return Score(setting=setting, metric=metric, task="Cls", value=1.0, backbone=backbone, provenance=facts)


SCORES = [
    score("a", "knn@photos", command=COMMAND, seeds=[0], n=3),
    score("a", "knn@photos", "top5", command=COMMAND, seeds=[0], k=5),
    score("a", "knn@digits", command=COMMAND, seeds=[0], recipe={"method": "m" * 200}),
    score("b", "knn@photos", command=COMMAND + " alone", seeds=[0]),
]


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    """All but what stands elsewhere."""
    provenance_file.write(tmp_path, SCORES, excluded=("n",))
    found = provenance_file.read(tmp_path)
    for each in SCORES:
        origin = found[each.backbone][each.setting]
        told = {**origin["shared"], **origin["metrics"][each.metric]}
        assert told == {key: value for key, value in each.provenance.items() if key != "n"}


def test_a_long_value_is_written_once_where_it_is_repeated(tmp_path: Path) -> None:
    """A command of two settings; not what stands once, however long, nor what is short."""
    provenance_file.write(tmp_path, SCORES, excluded=("n",))
    text = (tmp_path / "provenance.json").read_text()
    assert text.count(COMMAND) == 2, "the shared one, and the one that goes on"
    [(name, value)] = json.loads(text)["$repeated"].items()
    assert value == COMMAND
    assert text.count(name) == 3
    assert json.loads(text)["a"]["knn@digits"]["shared"]["recipe"] == {"method": "m" * 200}


def test_without_repetition_nothing_stands_apart(tmp_path: Path) -> None:
    """As folders that were written before have it: these are read as well."""
    provenance_file.write(tmp_path, SCORES[3:], excluded=())
    assert set(json.loads((tmp_path / "provenance.json").read_text())) == {"b"}
    assert provenance_file.read(tmp_path)["b"]["knn@photos"]["shared"]["command"] == COMMAND + " alone"


@pytest.mark.parametrize(
    "text", ["{", '{"a": {"s": {"shared": {"command": {"$": "gone"}}, "metrics": {}}}}', '{"a": {"s": {}}}']
)
def test_a_damaged_file_costs_the_provenance_alone(text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With a warning that names it; also where a value is gone that others point at."""
    (tmp_path / "provenance.json").write_text(text)
    with caplog.at_level(logging.WARNING):
        assert provenance_file.read(tmp_path) == {}
    assert "provenance.json cannot be read" in caplog.text


def test_no_baseline_file_is_larger_than_a_megabyte() -> None:
    """They are cloned by everybody."""
    root = Path(__file__).parents[2] / "baselines"
    assert not [path for path in root.rglob("*") if path.is_file() and path.stat().st_size > 1_000_000]
