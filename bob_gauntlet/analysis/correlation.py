"""Does a backbone that is good at one task do well at another: Spearman's matrix of the tasks, and Figure 1."""

from collections.abc import Iterator, Sequence
from itertools import combinations

from bob_gauntlet.analysis import figures
from bob_gauntlet.analysis.association import Association, spearman
from bob_gauntlet.analysis.members import pretrained, restricted
from bob_gauntlet.analysis.result import AnalysisOptions, Finding, Published, Table, compare, compare_axis, table
from bob_gauntlet.errors import UsageError, nearest
from bob_gauntlet.ranking.score_table import ALL, ScoredBackbone, ScoreTable
from bob_gauntlet.scores.settings import IN_ALL

PAPER_WITHOUT = ("MiDaS", "MAE")
"""What the paper takes out to see retrieval agree (section 5)."""

PANELS = (("Cls", "Det"), ("Cls", "OOD-Cls"))
"""The two of Figure 1."""

Matrix = dict[tuple[str, str], Association]


def correlation(score_table: ScoreTable, options: AnalysisOptions) -> Finding:
    """Spearman's rho of every two tasks, with n and p, and once more without some backbones."""
    members = pretrained(score_table)
    names = [name for name in members.columns if name != ALL]
    left_out = options.without if options.without is not None else _usual(members)
    groups = {"": matrix(members, names)}
    if left_out:
        groups[f", without {', '.join(left_out)}"] = matrix(without(members, left_out), names)
    squares = [_square(f"Spearman's rho of tasks{which}", names, found) for which, found in groups.items()]
    columns = {"task": "", "and": ""}
    for which in groups:
        short = "" if not which else " w/o"
        columns |= {f"rho{short}": ".2f", f"n{short}": "", f"p{short}": ".2g"}
    rows = [
        (*pair, *(x for found in groups.values() for x in (found[pair].r, found[pair].n, found[pair].p)))
        for pair in combinations(names, 2)
    ]
    notes = ["p is of each pair alone, not corrected for their number"] if rows else []
    return Finding((*squares, table("Pairs of tasks", columns, rows, keys=2)), tuple(notes))


def matrix(score_table: ScoreTable, names: Sequence[str]) -> Matrix:
    """(task, task) -> Spearman of their mean z, over those that have both."""
    z = {name: score_table.mean_z(name) for name in names}
    return {(a, b): spearman(z[a], z[b]) for a, b in combinations(names, 2)}


def without(score_table: ScoreTable, names: Sequence[str]) -> ScoreTable:
    """The standing without backbones of these names or pretraining methods; UsageError for one that nobody has."""
    known = {known for backbone in score_table.backbones for known in _names(backbone)}
    wanted = {name.casefold() for name in names}
    for name in names:
        if name.casefold() not in known:
            hint = nearest(name.casefold(), known) or f"; `bob pool show {score_table.pool.name}` lists the backbones"
            raise UsageError(f"--without {name}: no backbone and no pretraining method is called that{hint}")
    return restricted(score_table, (not wanted & _names(e) for e in score_table.backbones))


def published_correlation(score_table: ScoreTable) -> Iterator[Published]:
    """The three figures of section 5."""
    members = pretrained(score_table)
    found = matrix(members, [name for name in members.columns if name in IN_ALL])
    unstated = "which backbones are in is not stated"
    yield compare(
        "rho of Cls and Ret", "section 5", "0.49", found["Cls", "Ret"].r,
        f"{unstated}; with the errata not applied, a copied row of Table 16 among them (E3), it is .45",
    )  # fmt: skip
    less = matrix(without(members, PAPER_WITHOUT), ["Cls", "Ret"])
    yield compare("rho of Cls and Ret, without MiDaS and MAE", "section 5", "0.8", less["Cls", "Ret"].r, unstated)
    high = sum(a.r > 0.8 for a in found.values())
    frozen, whole = (_cls_and_boxes(members, f"detection-{mode}@coco-2017") for mode in ("frozen", "finetune"))
    yield Published(
        "rho of two tasks",
        "section 5",
        "typically > 0.8",
        f"> 0.8 in {high} of {len(found)} pairs",
        f"the frozen detectors of Table 11 do not go with classification: Cls with box AP is {frozen.r:.2f} frozen and "
        f"{whole.r:.2f} fine-tuned",
    )


def tasks(score_table: ScoreTable, options: AnalysisOptions) -> Finding:
    """The points of Figure 1, mean z in one task against another, with Spearman's rho."""
    tables: list[Table] = []
    rows, notes = [], []
    for x, y in PANELS:
        points = figures.task_points(score_table, x, y)
        if not points:
            notes.append(
                f"pool {score_table.pool.name} has no {' and '.join(t for t in (x, y) if t not in score_table.columns)}"
            )
            continue
        for who, group in (("pretrained", pretrained(score_table)), ("random initialisations too", score_table)):
            a = spearman(group.mean_z(x), group.mean_z(y))
            rows.append((f"{x}, {y}", who, a.r, a.n, a.p))
        cells = [(p.backbone.title, p.backbone.about.method, _params(p.backbone), p.x, p.y) for p in points]
        columns = {"backbone": "", "pretraining": "", "params (M)": ".1f", x: "+.2f", y: "+.2f"}
        tables.append(table(f"{x} against {y}, mean z", columns, sorted(cells, key=lambda cell: -cell[3])))
    if rows:
        columns = {"tasks": "", "backbones": "", "rho": ".2f", "n": "", "p": ".2g"}
        tables.insert(0, table("Spearman's rho", columns, rows, keys=2))
    return Finding(tuple(tables), tuple(dict.fromkeys(notes)))


def published_tasks(score_table: ScoreTable) -> Iterator[Published]:
    """The axes of Figure 1; its points have no printed values."""
    left = figures.task_points(score_table, "Cls", "Det")
    right = figures.task_points(pretrained(score_table), "Cls", "OOD-Cls")
    e1 = (
        "with erratum E1 not applied, supervised ImageNet figures in seven Random Init rows, values are -2.28 to 1.22, "
        "which fit"
    )
    cls = "Cls of the authors is not exactly that of the printed tables, as Table 20 shows"
    where = "Figure 1"
    yield compare_axis("left, Cls", where, (-2, -1.5, -1, -0.5, 0, 0.5, 1), [p.x for p in left], e1)
    yield compare_axis("left, Det", where, (-1.5, -1, -0.5, 0, 0.5, 1), [p.y for p in left])
    yield compare_axis("right, Cls", where, (-0.4, -0.2, 0, 0.2, 0.4, 0.6, 0.8, 1), [p.x for p in right], cls)
    yield compare_axis("right, OOD-Cls", where, (-1, -0.5, 0, 0.5, 1, 1.5), [p.y for p in right])


def _usual(score_table: ScoreTable) -> tuple[str, ...]:
    """What is left out unasked: in the paper's pool what the paper left out, as far as it is there."""
    known = {name for backbone in score_table.backbones for name in _names(backbone)}
    return tuple(name for name in PAPER_WITHOUT if name.casefold() in known) if score_table.pool.name == "paper" else ()


def _names(backbone: ScoredBackbone) -> set[str]:
    """What a user may call a backbone when he leaves it out, in lower case."""
    return {name.casefold() for name in (backbone.name, backbone.member, backbone.about.method)} - {""}


def _square(title: str, names: Sequence[str], found: Matrix) -> Table:
    rho = {pair: a.r for (x, y), a in found.items() for pair in ((x, y), (y, x))}
    rows = [(a, *(rho.get((a, b), 1.0) for b in names)) for a in names]
    return table(title, {"task": ""} | dict.fromkeys(names, ".2f"), rows)


def _cls_and_boxes(score_table: ScoreTable, setting: str) -> Association:
    """Mean z in classification against box AP of one setting."""
    return spearman(score_table.mean_z("Cls"), score_table.values[:, score_table.measures.index((setting, "ap_box"))])


def _params(backbone: ScoredBackbone) -> float:
    return float(backbone.about.params or "nan")
