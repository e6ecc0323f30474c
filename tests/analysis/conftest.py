"""The pools that analyses are tried on: the paper's, mini, and small ones made by hand."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from bob_gauntlet.analysis.result import Table
from bob_gauntlet.pools.folder import BackboneRow, write_folder
from bob_gauntlet.pools.pool import MeasureKey, freeze_pool, load_pool
from bob_gauntlet.ranking.score_table import ScoreTable
from bob_gauntlet.scores.score import Score
from bob_gauntlet.scores.settings import find_setting

Made = Callable[..., ScoreTable]


@pytest.fixture(scope="session")
def paper() -> ScoreTable:
    """Every member of the paper's pool, certain errata applied."""
    return ScoreTable.from_pool(load_pool("paper", Path("nowhere")), members=True)


@pytest.fixture(scope="session")
def mini() -> ScoreTable:
    """Every member of the pool mini."""
    return ScoreTable.from_pool(load_pool("mini", Path("nowhere")), members=True)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """A standing of backbone -> measure -> value, with lines of backbones.csv for those that need more than a name."""

    def make(values: Mapping[str, Mapping[MeasureKey, float]], *rows: BackboneRow, name: str = "made") -> ScoreTable:
        known = {row.name: row for row in rows}
        lines = [known.get(n, BackboneRow(n, "candidate", n)) for n in values]
        scores = [score(n, m, v) for n, found in values.items() for m, v in found.items()]
        write_folder(tmp_path / name, scores, lines)
        freeze_pool(tmp_path / name / "pool.json")
        return ScoreTable.from_pool(load_pool(str(tmp_path / name), tmp_path), members=True)

    return make


def score(backbone: str, measure: MeasureKey, value: float, **other: object) -> Score:
    """One score of a measure; paper scale where the setting runs at no other."""
    scale = find_setting(measure[0]).scales[0]
    fields = {"scale": scale, "protocol_hash": "p", "backbone_fingerprint": f"fp-{backbone}"} | other
    task = find_setting(measure[0]).measure(measure[1]).task
    return Score(setting=measure[0], metric=measure[1], task=task, value=value, backbone=backbone, **fields)  # type: ignore[arg-type]


def column(table: Table, name: str) -> dict[str, object]:
    """Label of a row -> its cell in a column."""
    return {table.label(row): record[name] for row, record in zip(table.rows, table.records(), strict=True)}
