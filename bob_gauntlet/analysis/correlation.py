"""Does a backbone that is good at one task do well at another? Spearman's matrix of the tasks, and Figure 1."""

from collections.abc import Iterator, Sequence
from itertools import combinations

from bob_gauntlet.analysis import figures
from bob_gauntlet.analysis.association import Association, spearman
from bob_gauntlet.analysis.members import keep_backbones, pretrained
from bob_gauntlet.analysis.result import (
    AnalysisOptions,
    Finding,
    PublishedFigure,
    Table,
    compare,
    compare_axis,
    table,
)
from bob_gauntlet.errors import UsageError, nearest
from bob_gauntlet.ranking.score_table import ALL, ScoredBackbone, ScoreTable
from bob_gauntlet.scores.settings import IN_ALL

PAPER_WITHOUT = ("MiDaS", "MAE")
"""Pretraining methods without which the paper computes the correlation of retrieval again (section 5)."""

PANELS = (("Cls", "Det"), ("Cls", "OOD-Cls"))
"""The two panels of Figure 1."""

Matrix = dict[tuple[str, str], Association]
"""(task, task) -> correlation."""


def correlation(score_table: ScoreTable, options: AnalysisOptions) -> Finding:
    """Tabulate Spearman's rho of every two tasks with n and p, for all backbones and without some of them."""
    members = pretrained(score_table)
    tasks = [name for name in members.columns if name != ALL]
    left_out = options.without if options.without is not None else _default_without(members)
    matrices = {"": correlation_matrix(members, tasks)}
    if left_out:
        matrices[f", without {', '.join(left_out)}"] = correlation_matrix(without(members, left_out), tasks)
    squares = [_square(f"Spearman's rho of tasks{suffix}", tasks, matrix) for suffix, matrix in matrices.items()]
    columns = {"task": "", "and": ""}
    for suffix in matrices:
        short = "" if not suffix else " w/o"
        columns |= {f"rho{short}": ".2f", f"n{short}": "", f"p{short}": ".2g"}
    rows = [
        (*pair, *(x for matrix in matrices.values() for x in (matrix[pair].r, matrix[pair].n, matrix[pair].p)))
        for pair in combinations(tasks, 2)
    ]
    notes = ["each p-value is for one pair alone, not corrected for multiple comparisons"] if rows else []
    return Finding((*squares, table("Pairs of tasks", columns, rows, keys=2)), tuple(notes))


def correlation_matrix(score_table: ScoreTable, tasks: Sequence[str]) -> Matrix:
    """Return Spearman's correlation of the mean z of every two tasks, over the backbones that have both."""
    z = {task: score_table.mean_z(task) for task in tasks}
    return {(a, b): spearman(z[a], z[b]) for a, b in combinations(tasks, 2)}


def without(score_table: ScoreTable, names: Sequence[str]) -> ScoreTable:
    """Return the score table without the backbones that have one of these names or pretraining methods.

    Raises UsageError for a name that matches no backbone.
    """
    known = {name for backbone in score_table.backbones for name in _names(backbone)}
    wanted = {name.casefold() for name in names}
    for name in names:
        if name.casefold() not in known:
            hint = nearest(name.casefold(), known) or f"; `bob pool show {score_table.pool.name}` lists the backbones"
            raise UsageError(f"--without {name}: no backbone and no pretraining method has this name{hint}")
    return keep_backbones(score_table, (not wanted & _names(backbone) for backbone in score_table.backbones))


def published_correlation(score_table: ScoreTable) -> Iterator[PublishedFigure]:
    """Compare the three figures of section 5."""
    members = pretrained(score_table)
    matrix = correlation_matrix(members, [name for name in members.columns if name in IN_ALL])
    not_stated = "the paper does not state which backbones are included"
    yield compare(
        "rho of Cls and Ret", "section 5", "0.49", matrix["Cls", "Ret"].r,
        f"{not_stated}; without the errata, which correct a copied row of Table 16 (E3), rho is .45",
    )  # fmt: skip
    reduced = correlation_matrix(without(members, PAPER_WITHOUT), ["Cls", "Ret"])
    yield compare("rho of Cls and Ret, without MiDaS and MAE", "section 5", "0.8", reduced["Cls", "Ret"].r, not_stated)
    high = sum(pair.r > 0.8 for pair in matrix.values())
    frozen, finetuned = (_cls_and_box_ap(members, f"detection-{mode}@coco-2017") for mode in ("frozen", "finetune"))
    yield PublishedFigure(
        "rho of two tasks",
        "section 5",
        "typically > 0.8",
        f"> 0.8 in {high} of {len(matrix)} pairs",
        "the frozen detectors of Table 11 do not correlate with classification: rho of Cls and box AP is "
        f"{frozen.r:.2f} frozen and {finetuned.r:.2f} fine-tuned",
    )


def tasks(score_table: ScoreTable, options: AnalysisOptions) -> Finding:
    """Tabulate the points of Figure 1, the mean z in one task against another, with Spearman's rho."""
    tables: list[Table] = []
    rows, notes = [], []
    for x, y in PANELS:
        points = figures.task_points(score_table, x, y)
        if not points:
            missing = [task for task in (x, y) if task not in score_table.columns]
            notes.append(f"pool {score_table.pool.name} has no {' and '.join(missing)}")
            continue
        for label, group in (("pretrained", pretrained(score_table)), ("random initialisations too", score_table)):
            rho = spearman(group.mean_z(x), group.mean_z(y))
            rows.append((f"{x}, {y}", label, rho.r, rho.n, rho.p))
        cells = [(p.backbone.title, p.backbone.about.method, _params(p.backbone), p.x, p.y) for p in points]
        columns = {"backbone": "", "pretraining": "", "params (M)": ".1f", x: "+.2f", y: "+.2f"}
        tables.append(table(f"{x} against {y}, mean z", columns, sorted(cells, key=lambda cell: -cell[3])))
    if rows:
        columns = {"tasks": "", "backbones": "", "rho": ".2f", "n": "", "p": ".2g"}
        tables.insert(0, table("Spearman's rho", columns, rows, keys=2))
    return Finding(tuple(tables), tuple(dict.fromkeys(notes)))


def published_tasks(score_table: ScoreTable) -> Iterator[PublishedFigure]:
    """Compare the axes of Figure 1; the values of its points are not printed."""
    left = figures.task_points(score_table, "Cls", "Det")
    right = figures.task_points(pretrained(score_table), "Cls", "OOD-Cls")
    without_e1 = (
        "without erratum E1, which corrects seven Random Init rows that hold figures of supervised ImageNet "
        "backbones, our values are -2.28 to 1.22, which fit"
    )
    other_cls = "the authors' Cls differs from that of the printed tables, as Table 20 shows"
    where = "Figure 1"
    yield compare_axis("left, Cls", where, (-2, -1.5, -1, -0.5, 0, 0.5, 1), [p.x for p in left], without_e1)
    yield compare_axis("left, Det", where, (-1.5, -1, -0.5, 0, 0.5, 1), [p.y for p in left])
    yield compare_axis("right, Cls", where, (-0.4, -0.2, 0, 0.2, 0.4, 0.6, 0.8, 1), [p.x for p in right], other_cls)
    yield compare_axis("right, OOD-Cls", where, (-1, -0.5, 0, 0.5, 1, 1.5), [p.y for p in right])


def _default_without(score_table: ScoreTable) -> tuple[str, ...]:
    """Return what is left out by default: for the paper's pool, what the paper left out and the table contains."""
    known = {name for backbone in score_table.backbones for name in _names(backbone)}
    return tuple(name for name in PAPER_WITHOUT if name.casefold() in known) if score_table.pool.name == "paper" else ()


def _names(backbone: ScoredBackbone) -> set[str]:
    """Return the names by which a user can leave a backbone out, in lower case."""
    return {name.casefold() for name in (backbone.name, backbone.member, backbone.about.method)} - {""}


def _square(title: str, tasks: Sequence[str], matrix: Matrix) -> Table:
    """Return the symmetric table of rho, with ones on the diagonal."""
    rho = {pair: cell.r for (x, y), cell in matrix.items() for pair in ((x, y), (y, x))}
    rows = [(a, *(rho.get((a, b), 1.0) for b in tasks)) for a in tasks]
    return table(title, {"task": ""} | dict.fromkeys(tasks, ".2f"), rows)


def _cls_and_box_ap(score_table: ScoreTable, setting: str) -> Association:
    """Correlate the mean z in classification with the box AP of one setting."""
    return spearman(score_table.mean_z("Cls"), score_table.values[:, score_table.measures.index((setting, "ap_box"))])


def _params(backbone: ScoredBackbone) -> float:
    """Return a backbone's parameters in millions; NaN if unknown."""
    return float(backbone.about.params or "nan")
