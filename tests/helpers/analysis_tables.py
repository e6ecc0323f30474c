"""Score tables, scores and table columns for the tests of analyses."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

from bob_gauntlet.analysis.result import Table
from bob_gauntlet.pools.pool import MeasureKey, load_pool
from bob_gauntlet.ranking.score_table import ScoreTable
from bob_gauntlet.scores.score import Score
from bob_gauntlet.scores.settings import find_setting

BuildTable = Callable[..., ScoreTable]
"""The type of the fixture `build_table`."""


@cache
def bundled_table(pool: str, errata: str = "applied") -> ScoreTable:
    """Return the score table of every member of a bundled pool; each one is read once."""
    return ScoreTable.from_pool(load_pool(pool, Path("nowhere"), errata), members=True)  # type: ignore[arg-type]


def create_score(backbone: str, measure: MeasureKey, value: float, **fields: object) -> Score:
    """Return a score of a measure, at the first scale of its setting."""
    scale = find_setting(measure[0]).scales[0]
    all_fields = {"scale": scale, "protocol_hash": "p", "backbone_fingerprint": f"fp-{backbone}"} | fields
    task = find_setting(measure[0]).measure(measure[1]).task
    return Score(setting=measure[0], metric=measure[1], task=task, value=value, backbone=backbone, **all_fields)  # type: ignore[arg-type]


def column(table: Table, name: str) -> dict[str, object]:
    """Return label of a row -> its cell in a column."""
    return {table.label(row): record[name] for row, record in zip(table.rows, table.records(), strict=True)}
