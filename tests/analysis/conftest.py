"""Score tables for the tests of analyses: of the pools paper and mini, and small ones made by hand."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from bob_gauntlet.pools.folder import BackboneRow, write_folder
from bob_gauntlet.pools.pool import MeasureKey, freeze_pool, load_pool
from bob_gauntlet.ranking.score_table import ScoreTable
from tests.helpers.analysis_tables import BuildTable, bundled_table, create_score


@pytest.fixture(scope="session")
def paper() -> ScoreTable:
    """Every member of the paper's pool, with confirmed errata applied."""
    return bundled_table("paper")


@pytest.fixture(scope="session")
def mini() -> ScoreTable:
    """Every member of the pool mini."""
    return bundled_table("mini")


@pytest.fixture
def build_table(tmp_path: Path) -> BuildTable:
    """A function that builds a score table from backbone -> measure -> value.

    Rows of backbones.csv are given for those backbones that need more than a name.
    """

    def build(values: Mapping[str, Mapping[MeasureKey, float]], *rows: BackboneRow, name: str = "made") -> ScoreTable:
        known_rows = {row.name: row for row in rows}
        all_rows = [known_rows.get(backbone, BackboneRow(backbone, "candidate", backbone)) for backbone in values]
        scores = [
            create_score(backbone, measure, value)
            for backbone, of_backbone in values.items()
            for measure, value in of_backbone.items()
        ]
        write_folder(tmp_path / name, scores, all_rows)
        freeze_pool(tmp_path / name / "pool.json")
        return ScoreTable.from_pool(load_pool(str(tmp_path / name), tmp_path), members=True)

    return build
