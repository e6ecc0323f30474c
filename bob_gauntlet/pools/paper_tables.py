"""From the paper's tables to baselines/paper: every printed figure as a Score under the setting that measures it.

The folder holds what a person typed and checked: `tables/` (Tables 8 to 20 as printed), `printed.csv` (which backbone
each printed row is, and why) and `errata.csv` (what is believed of the rows that are wrong). `build` derives
`scores.csv` and `backbones.csv` from them; nothing else writes these two.
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
"""Columns of the tables that are no measurement; z is derived."""

RETRIEVAL_TABLES = frozenset({"table16", "table17", "table18"})

LARGER_THAN_BASE = ("x64", "Large", "XLarge")
"""Parts of the names of architectures that the paper leaves out of its rankings (section 2)."""


@dataclass(frozen=True)
class PrintedRow:
    """One row of one printed table: what it says, and which backbone of the zoo it is."""

    table: str
    row: int
    backbone: str
    method: str
    pretrain_data: str
    id: str
    # of another checkpoint than the id's, which these figures were got with; "" for the same
    checkpoint: str
    reason: str


@dataclass(frozen=True)
class Erratum:
    """What is believed of some columns of one row."""

    erratum: str
    table: str
    row: int
    columns: str
    becomes: str
    why: str

    def covers(self, table: str, row: int, column: str) -> bool:
        """Whether it is about that cell."""
        return (self.table, self.row) == (table, row) and (self.columns == "*" or column in self.columns.split())


def build(folder: Path) -> None:
    """Write scores.csv and backbones.csv of a folder with tables/, printed.csv and errata.csv."""
    printed = read_printed_rows(folder)
    scores = list(_scores(folder, printed))
    write_folder(folder, scores, _backbones(printed))


def read_printed_rows(folder: Path) -> dict[tuple[str, int], PrintedRow]:
    """(table, row number from 1) -> the printed row."""
    with (folder / "printed.csv").open(newline="", encoding="utf-8") as file:
        rows = [PrintedRow(**{**row, "row": int(row["row"])}) for row in csv.DictReader(file)]  # type: ignore[arg-type]
    return {(row.table, row.row): row for row in rows}


def read_errata(folder: Path) -> list[Erratum]:
    """Every line of errata.csv."""
    with (folder / "errata.csv").open(newline="", encoding="utf-8") as file:
        return [Erratum(**{**row, "row": int(row["row"])}) for row in csv.DictReader(file)]  # type: ignore[arg-type]


def cells(folder: Path) -> Iterator[tuple[str, int, str, str]]:
    """(table, row, column, text) of every printed result of Tables 8 to 19."""
    for path in sorted((folder / "tables").glob("table*.csv")):
        if path.stem == "table20":  # means of z-scores
            continue
        with path.open(newline="", encoding="utf-8") as file:
            for number, row in enumerate(csv.DictReader(file), 1):
                yield from (
                    (path.stem, number, column, text)
                    for column, text in row.items()
                    if column not in NO_RESULTS and text
                )


def measures_by_column() -> dict[str, tuple[Setting, Measure]]:
    """ "table08:imagenet_lp_top1" -> the setting and measure that it prints."""
    return {c: (s, m) for s in SETTINGS.values() for m in s.measures for c in m.paper}


def _scores(folder: Path, printed: Mapping[tuple[str, int], PrintedRow]) -> Iterator[Score]:
    """A Score a printed figure, those that several tables print joined into one."""
    known, believed = measures_by_column(), read_errata(folder)
    found = []
    for table, number, column, text in cells(folder):
        setting, measure = known[f"{table}:{column}"]
        about = [e for e in believed if e.covers(table, number, column)]
        becomes = next((e.becomes for e in about if e.becomes), "")
        row = printed[table, number]
        found.append(
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
                    **({"erratum": errata.join([f"{e.erratum}: {e.why}" for e in about])} if about else {}),
                    **({"becomes": becomes} if becomes else {}),
                },
            )
        )
    yield from errata.apply(found, "printed")


def _backbones(printed: Mapping[tuple[str, int], PrintedRow]) -> list[BackboneRow]:
    """A line a backbone, in the order of the tables."""
    tables: dict[str, set[str]] = {}
    for row in printed.values():
        tables.setdefault(row.id, set()).add(row.table)
    return [_backbone(name, found) for name, found in tables.items()]


def _backbone(name: str, tables: set[str]) -> BackboneRow:
    scheme, _, architecture = name.rpartition(":")
    random = scheme == "random"
    known = ZOO[name] if not random else next(e for e in ZOO.values() if e.name.split(".")[0] == architecture)
    reason = _why_reference(known.model, known.method, tables, random=random)
    found = BackboneRow.of_zoo(name, known, role="reference" if reason else "candidate", why=reason)
    return replace(found, label=f"{known.model} random", **RANDOM_INIT) if random else found


def _why_reference(model: str, method: str, tables: set[str], *, random: bool) -> str:
    """Why a backbone gives mean and std only and is not ranked; "" for a candidate."""
    if random:
        return "random initialisation"
    if method == "MiDaS":
        return "starts from ImageNet classification weights (paper, footnote 2)"
    if any(part in model for part in LARGER_THAN_BASE):
        return "larger than Base (paper, section 2)"
    return "printed in the retrieval tables alone" if tables <= RETRIEVAL_TABLES else ""


def sources(score: Score) -> Sequence[tuple[str, int, str]]:
    """(table, row, column) of every place that prints this score; () for one that was measured.

    >>> sources(Score(setting="knn@photos", metric="top1", task="Cls", value=1.0, backbone="a",
    ...               source="table08:1:imagenet_ft_top1; table19:1:clean"))
    [('table08', 1, 'imagenet_ft_top1'), ('table19', 1, 'clean')]
    """
    if score.source == "run":
        return ()
    parts = [text.split(":") for text in score.source.split("; ")]
    return [(table, int(row), column) for table, row, column in parts]
