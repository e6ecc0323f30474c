"""What performance costs: against size and pretraining data, against speed, and the best of each budget."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from bob_gauntlet.analysis import figures
from bob_gauntlet.analysis.association import Association, spearman
from bob_gauntlet.analysis.members import KINDS, candidates, overall, restricted, score_of, value
from bob_gauntlet.analysis.result import AnalysisOptions, Finding, Published, Table, compare, table
from bob_gauntlet.pools.folder import BackboneRow
from bob_gauntlet.ranking.score_table import ALL, ScoreTable

THROUGHPUT = ("efficiency@noise", "throughput")
FLOPS = ("efficiency@noise", "flops")

GROUPS = {
    "ViT": ("ViT",),
    "ViT and Swin": tuple(family for family, kind in KINDS.items() if kind == "transformer"),
    "CNN": tuple(family for family, kind in KINDS.items() if kind == "CNN"),
}
"""The paper's "ViTs" may or may not hold SwinV2: both are shown."""

SIZES = {"params": "parameters", "images": "pretraining images"}

TABLE = {("ViT", "params"): "0.58", ("CNN", "params"): "0.35", ("ViT", "images"): "0.72", ("CNN", "images"): "0.33"}
"""Spearman's rho of section 5, "ViTs benefit more from scale than CNNs"."""


def scale(score_table: ScoreTable, options: AnalysisOptions) -> Finding:
    """Spearman's rho of mean z (All) with size and with data, for vanilla ViTs, all transformers, and CNNs."""
    ranked = candidates(score_table)
    rows = [
        (group, SIZES[size], "a third covered" if covered else "any coverage", a.r, a.n, a.p)
        for group in GROUPS
        for size in SIZES
        for covered in (True, False)
        for a in [with_size(ranked, group, size, covered=covered)]
        if a.n
    ]
    columns = {"backbones": "", "with": "", "who is in": "", "rho": ".2f", "n": "", "p": ".2g"}
    notes = [f"no line of pool {score_table.pool.name} gives {SIZES[s]}" for s in SIZES if not _sizes(ranked, s).any()]
    outside = [e.title for e in ranked.backbones if e.about.family not in KINDS]
    notes += [f"neither a transformer nor a CNN that is known as one: {', '.join(outside)}"] if outside else []
    return Finding((table("Spearman's rho of mean z", columns, rows, keys=3),), tuple(notes))


def with_size(score_table: ScoreTable, group: str, size: str, *, covered: bool) -> Association:
    """Spearman of mean z (All) with parameters or pretraining images of one group of backbones."""
    inside = restricted(score_table, (e.about.family in GROUPS[group] for e in score_table.backbones))
    sizes = _sizes(inside, size)
    return spearman(overall(inside, covered=covered), np.where(sizes > 0, sizes, np.nan))


def published_scale(score_table: ScoreTable) -> Iterator[Published]:
    """The four figures of section 5."""
    ranked = candidates(score_table)
    for (group, size), paper in TABLE.items():
        choices = [
            with_size(ranked, name, size, covered=covered).r
            for name in (("ViT", "ViT and Swin") if group == "ViT" else ("CNN",))
            for covered in (True, False)
        ]
        why = (
            "who counts as a ViT, and how much a backbone must cover, is not stated: by the four choices above it is "
            f"{min(choices):.2f} to {max(choices):.2f}"
            if group == "ViT"
            else "the paper's suite has three tiny CNNs more (Table 3), of which no figure is printed"
        )
        found = with_size(ranked, group, size, covered=True).r
        yield compare(f"rho of mean z with {SIZES[size]}, {group}", "section 5", paper, found, why)


def speed(score_table: ScoreTable, options: AnalysisOptions) -> Finding:
    """Mean z (All) against throughput; and against GFLOPs, which is another quantity, as a stand-in."""
    ranked = candidates(score_table)
    z = overall(ranked)
    throughput, notes = _throughput(ranked, options)
    work = gflops(ranked, options)
    rows, tables = [], []
    for what, column, costs in (
        ("throughput", "images/s", throughput),
        ("GFLOPs of one image (another quantity, not throughput)", "GFLOPs", work),
    ):
        found = spearman(z, costs)
        if not found.n:
            continue
        rows.append((what, found.r, found.n, found.p))
        cells = zip([e.title for e in ranked.backbones], z, costs, strict=True)
        points = sorted(((n, a, b) for n, a, b in cells if np.isfinite(a + b)), key=lambda cell: -cell[1])
        tables.append(table(f"Mean z against {column}", {"backbone": "", "mean z": "+.2f", column: ".4g"}, points))
    columns = {"mean z with": "", "rho": "+.2f", "n": "", "p": ".2g"}
    if not np.isfinite(throughput + z).any():
        notes.append(_no_throughput(score_table))
    return Finding((table("Spearman's rho", columns, rows), *tables) if rows else (), tuple(notes))


def published_speed(score_table: ScoreTable) -> Iterator[Published]:
    """The rho of section 5, "Performance vs. Speed"."""
    ranked = candidates(score_table)
    found = spearman(overall(ranked), gflops(ranked, AnalysisOptions()))
    yield Published(
        "rho of mean z with throughput on an RTX A5000",
        "section 5",
        "-0.41",
        "–",
        f"no throughput is printed; another quantity in its place, GFLOPs, which rise as speed falls: {found.r:+.2f}",
    )


def budget(score_table: ScoreTable, options: AnalysisOptions) -> Finding:
    """The best of each budget: those that no other backbone beats at no higher cost, for All and each task."""
    ranked = candidates(score_table)
    tables, missing = [], []
    for by, title in figures.COSTS.items():
        fronts = {c: [p for p in figures.cost_points(ranked, by, c) if p.front] for c in ranked.columns if c != "Eff"}
        if any(fronts.values()):
            tables.append(_fronts(title, fronts))
        else:
            missing.append(f"{title}: nobody in pool {score_table.pool.name} has it")
    return Finding(tuple(tables), tuple(missing))


def gflops(score_table: ScoreTable, options: AnalysisOptions) -> np.ndarray:
    """(B,) GFLOPs of one image, as measured or as known; NaN where neither is."""
    known = np.array([float(e.about.gflops or "nan") for e in score_table.backbones])
    measured = np.array([value(score_table, e, FLOPS, options) for e in score_table.backbones])
    return np.where(np.isfinite(known), known, measured)


def _fronts(title: str, fronts: dict[str, list[figures.Point]]) -> Table:
    """A row a backbone that is on any front, cheapest first; its z in the columns on whose front it is."""
    costs = {p.backbone.title: p.x for points in fronts.values() for p in points}
    z = {(column, p.backbone.title): p.y for column, points in fronts.items() for p in points}
    rows = [
        (cost, name, *(z.get((c, name)) for c in fronts)) for name, cost in sorted(costs.items(), key=lambda x: x[1])
    ]
    rows = [(name, cost, *rest) for cost, name, *rest in rows]
    columns = {"backbone": "", title: ".4g"} | dict.fromkeys(fronts, "+.2f")
    return table(f"Best for the {title}", columns, rows)


def _throughput(score_table: ScoreTable, options: AnalysisOptions) -> tuple[np.ndarray, list[str]]:
    """(B,) images/s, NaN where missing; of several devices the one with the most backbones, which a note names."""
    scores = [score_of(score_table, e, THROUGHPUT, options) for e in score_table.backbones]
    devices = Counter(score.device for score in scores if score)
    chosen = devices.most_common(1)[0][0] if devices else ""
    values = [score.value if score and score.device == chosen else float("nan") for score in scores]
    others = devices.total() - devices[chosen]
    note = f"throughput on {chosen} alone; {others} more backbones were measured on another device"
    return np.array(values, np.float64), [note] if others else []


def _sizes(score_table: ScoreTable, size: str) -> np.ndarray:
    """(B,) millions of parameters or of images; 0 where unknown."""
    return np.array([float(_text(e.about, size) or 0) for e in score_table.backbones])


def _text(about: BackboneRow, size: str) -> str:
    return about.params if size == "params" else about.images


def _no_throughput(score_table: ScoreTable) -> str:
    return (
        f"pool {score_table.pool.name} has no throughput that goes with a mean z of {ALL}; own backbones have one "
        f"after pytest $(bob suites) -k efficiency --scale {score_table.pool.scale}"
    )
