"""From the paper's tables to baselines/paper: every printed figure as a Score of the setting that measures it.

The folder holds files that a person typed and checked: `tables/` (Tables 8 to 20 as printed), `printed.csv` (which
backbone each printed row is, and why) and `errata.csv` (which printed figures are wrong). `build` derives `scores.csv`
and `backbones.csv` from them; nothing else writes these two.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bob_gauntlet.backbones.zoo import ZOO
from bob_gauntlet.pools import errata
from bob_gauntlet.pools.folder import RANDOM_INIT, BackboneRow, write_folder
from bob_gauntlet.scores.score import Score
from bob_gauntlet.scores.settings import SETTINGS, Measure, Setting

NO_RESULTS = ("backbone", "method", "pretrain_data", "params_m", "input_size", "zscore")
"""Columns of the tables that hold no measurement; z-scores are derived."""

RETRIEVAL_TABLES = frozenset({"table16", "table17", "table18"})

LARGER_THAN_BASE = ("x64", "Large", "XLarge")
"""Parts of the names of architectures that the paper does not rank (section 2)."""


@dataclass(frozen=True)
class PrintedRow:
    """A row of printed.csv: one row of one printed table, and the zoo's backbone that it is."""

    table: str
    row: int
    backbone: str
    method: str
    pretrain_data: str
    id: str
    # the checkpoint that gave the printed figures, if it is not the one of `id`; else ""
    checkpoint: str
    reason: str


@dataclass(frozen=True)
class Erratum:
    """A row of errata.csv: what is wrong in some columns of one printed row."""

    erratum: str
    table: str
    row: int
    columns: str
    becomes: str
    why: str

    def covers(self, table: str, row: int, column: str) -> bool:
        """Return whether the erratum is about that cell."""
        return (self.table, self.row) == (table, row) and (self.columns == "*" or column in self.columns.split())


def build(folder: Path) -> tuple[list[Score], list[BackboneRow]]:
    """Write scores.csv and backbones.csv of a folder with tables/, printed.csv and errata.csv; return their rows."""
    printed_rows = read_printed_rows(folder)
    rows = _backbone_rows(printed_rows)
    return write_folder(folder, _scores(folder, printed_rows), rows), rows


def read_printed_rows(folder: Path) -> dict[tuple[str, int], PrintedRow]:
    """Return (table, row number from 1) -> the row of printed.csv."""
    with (folder / "printed.csv").open(newline="", encoding="utf-8") as file:
        rows = [PrintedRow(**{**row, "row": int(row["row"])}) for row in csv.DictReader(file)]  # type: ignore[arg-type]
    return {(row.table, row.row): row for row in rows}


def read_errata(folder: Path) -> list[Erratum]:
    """Return every row of errata.csv."""
    with (folder / "errata.csv").open(newline="", encoding="utf-8") as file:
        return [Erratum(**{**row, "row": int(row["row"])}) for row in csv.DictReader(file)]  # type: ignore[arg-type]


def read_cells(folder: Path) -> Iterator[tuple[str, int, str, str]]:
    """Yield (table, row, column, text) of every printed result of Tables 8 to 19."""
    for path in sorted((folder / "tables").glob("table*.csv")):
        if path.stem == "table20":  # it holds means of z-scores
            continue
        with path.open(newline="", encoding="utf-8") as file:
            for number, row in enumerate(csv.DictReader(file), 1):
                yield from (
                    (path.stem, number, column, text)
                    for column, text in row.items()
                    if column not in NO_RESULTS and text
                )


def measures_by_column() -> dict[str, tuple[Setting, Measure]]:
    """Return a printed column, such as "table08:imagenet_lp_top1", -> the setting and measure that it prints."""
    return {c: (s, m) for s in SETTINGS.values() for m in s.measures for c in m.paper}


def _scores(folder: Path, printed_rows: Mapping[tuple[str, int], PrintedRow]) -> list[Score]:
    """Return a Score for each printed figure; a figure that several tables print is one Score."""
    measures, all_errata = measures_by_column(), read_errata(folder)
    scores = []
    for table, number, column, text in read_cells(folder):
        setting, measure = measures[f"{table}:{column}"]
        errata_of_cell = [e for e in all_errata if e.covers(table, number, column)]
        becomes = next((e.becomes for e in errata_of_cell if e.becomes), "")
        row = printed_rows[table, number]
        erratum = errata.join([f"{e.erratum}: {e.why}" for e in errata_of_cell])
        scores.append(
            Score(
                setting=setting.id,
                metric=measure.metric,
                task=measure.task,
                value=float(text),
                backbone=row.id,
                scale="paper",
                fidelity="paper",
                source=f"{table}:{number}:{column}",
                provenance={
                    **({"checkpoint": row.checkpoint} if row.checkpoint else {}),
                    **({"erratum": erratum} if erratum else {}),
                    **({"becomes": becomes} if becomes else {}),
                },
            )
        )
    return errata.apply(scores, "printed")


def _backbone_rows(printed_rows: Mapping[tuple[str, int], PrintedRow]) -> list[BackboneRow]:
    """Return a row per backbone, in the order of the tables."""
    tables_by_id: dict[str, set[str]] = {}
    for row in printed_rows.values():
        tables_by_id.setdefault(row.id, set()).add(row.table)
    return [_backbone_row(name, tables) for name, tables in tables_by_id.items()]


def _backbone_row(name: str, tables: set[str]) -> BackboneRow:
    scheme, _, architecture = name.rpartition(":")
    is_random = scheme == "random"
    entry = ZOO[name] if not is_random else next(e for e in ZOO.values() if e.name.split(".")[0] == architecture)
    reason = _why_reference(entry.model, entry.method, tables, is_random=is_random)
    row = BackboneRow.from_zoo(name, entry, role="reference" if reason else "candidate", why=reason)
    return replace(row, label=f"{entry.model} random", **RANDOM_INIT) if is_random else row


def _why_reference(model: str, method: str, tables: set[str], *, is_random: bool) -> str:
    """Return why a backbone gives mean and std only and is not ranked; "" for a candidate."""
    if is_random:
        return "random initialisation"
    if method == "MiDaS":
        return "starts from ImageNet classification weights (paper, footnote 2)"
    if any(part in model for part in LARGER_THAN_BASE):
        return "larger than Base (paper, section 2)"
    return "printed in the retrieval tables alone" if tables <= RETRIEVAL_TABLES else ""


def printed_sources(score: Score) -> Sequence[tuple[str, int, str]]:
    """Return (table, row, column) of every place that prints this score; () for one that was measured.

    >>> printed_sources(Score(setting="knn@photos", metric="top1", task="Cls", value=1.0, backbone="a",
    ...                       source="table08:1:imagenet_ft_top1; table19:1:clean"))
    [('table08', 1, 'imagenet_ft_top1'), ('table19', 1, 'clean')]
    """
    if score.source == "run":
        return ()
    parts = [text.split(":") for text in score.source.split("; ")]
    return [(table, int(row), column) for table, row, column in parts]
