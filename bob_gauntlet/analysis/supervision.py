"""Supervised or not: the best three of each pretraining (Table 20), and one architecture pretrained both ways."""

import csv
from collections.abc import Iterator, Sequence

import numpy as np

from bob_gauntlet.analysis.members import SELF_SUPERVISED, best, candidates, group
from bob_gauntlet.analysis.pairing import Pair, pairs
from bob_gauntlet.analysis.result import AnalysisOptions, Finding, Published, Table, compare, table
from bob_gauntlet.ranking.score_table import ALL, ScoreTable
from bob_gauntlet.stats import pairwise, zscores

TOP = 3

COLUMNS = {
    "ssl": SELF_SUPERVISED,
    "sup_1k": "supervised (ImageNet-1k)",
    "sup_21k": "supervised (ImageNet-21k)",
}
"""Columns of tables/table20.csv."""


def supervision(score_table: ScoreTable, options: AnalysisOptions) -> Finding:
    """Mean of the top three per task and group, and z differences of pairs of one architecture."""
    ranked = candidates(score_table)
    groups = sorted({group(e.about) for e in ranked.backbones} - {""}, key=lambda g: (g != SELF_SUPERVISED, g))
    found = {c: {g: top_mean(ranked, c, g) for g in groups} for c in ranked.columns}
    rows = [(c, *(found[c][g][0] for g in groups)) for c in found]
    tables = [table(f"Mean z of the best {TOP} of each kind", {"task": ""} | dict.fromkeys(groups, "+.3f"), rows)]
    few = [f"{c} {g}: {n}" for c in found for g, (_, n) in found[c].items() if 0 < n < TOP]
    notes = [f"fewer than {TOP} backbones: {'; '.join(few)}"] if few else []
    everyone = list(pairs(ranked.backbones))
    equal = [pair for pair in everyone if pair.data == "equal"]
    if equal:
        tables += [_pairs(ranked, "Same architecture, same data", equal), _by_task(ranked, equal)]
    else:
        notes.append("no architecture is there self-supervised and supervised on the same data")
    if others := [pair for pair in everyone if pair.data != "equal"]:
        tables.append(_pairs(ranked, "Same architecture, other data", others))
    return Finding(tuple(tables), tuple(notes))


def top_mean(score_table: ScoreTable, column: str, which: str) -> tuple[float, int]:
    """Mean z of the best three of a group in a task, and over how many that is."""
    z = [z for backbone, z in best(score_table, column) if group(backbone.about) == which][:TOP]
    return (float(np.mean(z)) if z else float("nan")), len(z)


def published_supervision(score_table: ScoreTable) -> Iterator[Published]:
    """The 18 figures of Table 20."""
    ranked = candidates(score_table)
    with (score_table.pool.folder / "tables" / "table20.csv").open(newline="", encoding="utf-8") as file:
        printed = list(csv.DictReader(file))
    for row in printed:
        task = row["task"].replace("(OOD) ", "OOD-")
        for column, which in COLUMNS.items():
            ours, count = top_mean(ranked, task, which)
            yield compare(f"{task}, best {TOP} {which}", "Table 20", row[column], ours, _why(task, count))


def _why(task: str, count: int) -> str:
    if count < TOP:
        return f"only {count} such backbones have printed figures of this task, the paper averages {TOP}"
    if task == "Ret":
        return "Table 16 holds two rows twice (E3, E6), and Table 20 may be older than its figures"
    return (
        "some 9,000 definitions over the printed rows were tried and none gives this task's row; most likely the "
        "authors' set of backbones is another"
    )


def _pairs(score_table: ScoreTable, title: str, found: Sequence[Pair]) -> Table:
    """A row a pair: mean difference of z over the measures of All that both have, wins, and their number."""
    whole = score_table.columns.get(ALL, [])
    z = {e.name: score_table.z[i, whole] for i, e in enumerate(score_table.backbones)}
    rows = []
    for pair in found:
        a, b = z[pair.learner.name], z[pair.supervised.name]
        gap = zscores.mean_z((a - b)[None])[0]
        names = (pair.learner.title, pair.supervised.title)
        rows.append((*names, gap, pairwise.wins(a, b), int(np.isfinite(a - b).sum())))
    columns = {SELF_SUPERVISED: "", "less supervised": "", "z difference": "+.2f", "wins": ".0%", "measures": ""}
    return table(title, columns, rows, keys=2)


def _by_task(score_table: ScoreTable, found: Sequence[Pair]) -> Table:
    """A row a task: mean over the pairs of the difference in the measures that both have."""
    index = {e.name: i for i, e in enumerate(score_table.backbones)}
    rows = []
    for column, measures in score_table.columns.items():
        z = score_table.z[:, measures]
        gaps = np.array([zscores.mean_z(z[index[p.learner.name]] - z[index[p.supervised.name]]) for p in found])
        gaps = gaps[np.isfinite(gaps)]
        if len(gaps):
            rows.append((column, gaps.mean(), float(np.mean(gaps > 0)), len(gaps)))
    columns = {"task": "", "z difference": "+.2f", "self-supervised ahead": ".0%", "pairs": ""}
    return table("The same pairs, by task", columns, rows)
