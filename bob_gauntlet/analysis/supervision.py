"""Is supervised or self-supervised pretraining better? The best three of each (Table 20), and matched pairs."""

import csv
from collections.abc import Iterator, Sequence

import numpy as np

from bob_gauntlet.analysis.members import SELF_SUPERVISED, candidates, pretraining_group, sort_by_mean_z
from bob_gauntlet.analysis.pairing import Pair, pairs
from bob_gauntlet.analysis.result import AnalysisOptions, Finding, PublishedFigure, Table, compare, table
from bob_gauntlet.ranking.score_table import ALL, ScoreTable
from bob_gauntlet.stats import pairwise, zscores

TOP = 3
"""Number of backbones of each group that Table 20 averages."""

COLUMNS = {
    "ssl": SELF_SUPERVISED,
    "sup_1k": "supervised (ImageNet-1k)",
    "sup_21k": "supervised (ImageNet-21k)",
}
"""Column of tables/table20.csv -> group."""


def supervision(score_table: ScoreTable, options: AnalysisOptions) -> Finding:
    """Tabulate the mean of the top three for each task and group, and z differences of pairs of one architecture."""
    ranked = candidates(score_table)
    unsorted_groups = {pretraining_group(backbone.about) for backbone in ranked.backbones} - {""}
    groups = sorted(unsorted_groups, key=lambda group: (group != SELF_SUPERVISED, group))
    means = {column: {group: top_mean(ranked, column, group) for group in groups} for column in ranked.columns}
    rows = [(column, *(means[column][group][0] for group in groups)) for column in means]
    tables = [table(f"Mean z of the best {TOP} of each kind", {"task": ""} | dict.fromkeys(groups, "+.3f"), rows)]
    too_few = [f"{column} {group}: {n}" for column in means for group, (_, n) in means[column].items() if 0 < n < TOP]
    notes = [f"fewer than {TOP} backbones: {'; '.join(too_few)}"] if too_few else []
    all_pairs = list(pairs(ranked.backbones))
    equal = [pair for pair in all_pairs if pair.data == "equal"]
    if equal:
        tables += [_pair_table(ranked, "Same architecture, same data", equal), _task_table(ranked, equal)]
    else:
        notes.append("no architecture was pretrained both self-supervised and supervised on the same data")
    if others := [pair for pair in all_pairs if pair.data != "equal"]:
        tables.append(_pair_table(ranked, "Same architecture, different data", others))
    return Finding(tuple(tables), tuple(notes))


def top_mean(score_table: ScoreTable, column: str, group: str) -> tuple[float, int]:
    """Return the mean z of the best TOP backbones of a group in a task, and the number of backbones averaged."""
    z = [z for backbone, z in sort_by_mean_z(score_table, column) if pretraining_group(backbone.about) == group][:TOP]
    return (float(np.mean(z)) if z else float("nan")), len(z)


def published_supervision(score_table: ScoreTable) -> Iterator[PublishedFigure]:
    """Compare the 18 figures of Table 20."""
    ranked = candidates(score_table)
    with (score_table.pool.folder / "tables" / "table20.csv").open(newline="", encoding="utf-8") as file:
        printed = list(csv.DictReader(file))
    for row in printed:
        task = row["task"].replace("(OOD) ", "OOD-")
        for column, group in COLUMNS.items():
            mean, count = top_mean(ranked, task, group)
            yield compare(f"{task}, best {TOP} {group}", "Table 20", row[column], mean, _explain(task, count))


def _explain(task: str, count: int) -> str:
    """Return the reason why a figure of Table 20 may differ from ours."""
    if count < TOP:
        return f"only {count} such backbones have printed figures of this task; the paper averages {TOP}"
    if task == "Ret":
        return "Table 16 prints two rows twice (E3, E6), and Table 20 may have been made from older figures"
    return (
        "about 9,000 definitions over the printed rows were tried, and none gives the row of this task; most likely "
        "the authors used another set of backbones"
    )


def _pair_table(score_table: ScoreTable, title: str, shown_pairs: Sequence[Pair]) -> Table:
    """Return a row for each pair: mean z difference over the measures of All that both have, wins, and their number."""
    all_measures = score_table.columns.get(ALL, [])
    z = {backbone.name: score_table.z[i, all_measures] for i, backbone in enumerate(score_table.backbones)}
    rows = []
    for pair in shown_pairs:
        a, b = z[pair.self_supervised.name], z[pair.supervised.name]
        gap = zscores.mean_z((a - b)[None])[0]
        names = (pair.self_supervised.title, pair.supervised.title)
        rows.append((*names, gap, pairwise.wins(a, b), int(np.isfinite(a - b).sum())))
    columns = {SELF_SUPERVISED: "", "less supervised": "", "z difference": "+.2f", "wins": ".0%", "measures": ""}
    return table(title, columns, rows, keys=2)


def _task_table(score_table: ScoreTable, shown_pairs: Sequence[Pair]) -> Table:
    """Return a row for each task: the mean over pairs of the z difference in the measures that both have."""
    index = {backbone.name: i for i, backbone in enumerate(score_table.backbones)}
    rows = []
    for column, measures in score_table.columns.items():
        z = score_table.z[:, measures]
        gaps = np.array(
            [zscores.mean_z(z[index[p.self_supervised.name]] - z[index[p.supervised.name]]) for p in shown_pairs]
        )
        gaps = gaps[np.isfinite(gaps)]
        if len(gaps):
            rows.append((column, gaps.mean(), float(np.mean(gaps > 0)), len(gaps)))
    columns = {"task": "", "z difference": "+.2f", "self-supervised ahead": ".0%", "pairs": ""}
    return table("Same architecture, same data, by task", columns, rows)
