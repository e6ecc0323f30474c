"""Performance against cost: size and pretraining data, speed, and the best backbones for each budget."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from bob_gauntlet.analysis import figures
from bob_gauntlet.analysis.association import Association, spearman
from bob_gauntlet.analysis.members import (
    KINDS,
    candidates,
    comparable_score,
    comparable_value,
    keep_backbones,
    overall_mean_z,
)
from bob_gauntlet.analysis.result import AnalysisOptions, Finding, PublishedFigure, Table, compare, table
from bob_gauntlet.pools.folder import BackboneRow
from bob_gauntlet.ranking.score_table import ALL, ScoreTable
from bob_gauntlet.scores.score import device_kind

BATCH_RATIO = ("efficiency@noise", "batch_ratio")
FLOPS = ("efficiency@noise", "flops")

GROUPS = {
    "ViT": ("ViT",),
    "ViT and Swin": tuple(family for family, kind in KINDS.items() if kind == "transformer"),
    "CNN": tuple(family for family, kind in KINDS.items() if kind == "CNN"),
}
"""Group -> architecture families. The paper does not say whether its "ViTs" include SwinV2, so both are shown."""

SIZES = {"params": "parameters", "images": "pretraining images"}
"""Measures of size, with their titles."""

PRINTED_RHO = {
    ("ViT", "params"): "0.58",
    ("CNN", "params"): "0.35",
    ("ViT", "images"): "0.72",
    ("CNN", "images"): "0.33",
}
"""(group, size) -> Spearman's rho of section 5, "ViTs benefit more from scale than CNNs"."""


def scale(score_table: ScoreTable, options: AnalysisOptions) -> Finding:
    """Tabulate Spearman's rho of mean z (All) with size and with data, for plain ViTs, all transformers, and CNNs."""
    ranked = candidates(score_table)
    rows = [
        (group, SIZES[size], "a third covered" if covered else "any coverage", rho.r, rho.n, rho.p)
        for group in GROUPS
        for size in SIZES
        for covered in (True, False)
        for rho in [rho_with_size(ranked, group, size, covered=covered)]
        if rho.n
    ]
    columns = {"backbones": "", "with": "", "who is in": "", "rho": ".2f", "n": "", "p": ".2g"}
    notes = [
        f"pool {score_table.pool.name} does not give the number of {SIZES[size]} of any backbone"
        for size in SIZES
        if not _sizes(ranked, size).any()
    ]
    outside = [backbone.title for backbone in ranked.backbones if backbone.about.family not in KINDS]
    notes += [f"left out, since not known as a transformer or a CNN: {', '.join(outside)}"] if outside else []
    return Finding((table("Spearman's rho of mean z", columns, rows, keys=3),), tuple(notes))


def rho_with_size(score_table: ScoreTable, group: str, size: str, *, covered: bool) -> Association:
    """Correlate mean z (All) with parameters or pretraining images over one group of backbones."""
    of_group = keep_backbones(score_table, (b.about.family in GROUPS[group] for b in score_table.backbones))
    sizes = _sizes(of_group, size)
    return spearman(overall_mean_z(of_group, covered=covered), np.where(sizes > 0, sizes, np.nan))


def published_scale(score_table: ScoreTable) -> Iterator[PublishedFigure]:
    """Compare the four figures of section 5."""
    ranked = candidates(score_table)
    for (group, size), paper in PRINTED_RHO.items():
        choices = [
            rho_with_size(ranked, name, size, covered=covered).r
            for name in (("ViT", "ViT and Swin") if group == "ViT" else ("CNN",))
            for covered in (True, False)
        ]
        why = (
            "the paper does not state which backbones count as ViTs and how much a backbone must cover; with the four "
            f"choices above, rho is {min(choices):.2f} to {max(choices):.2f}"
            if group == "ViT"
            else "the paper's suite has three more tiny CNNs (Table 3), for which no figure is printed"
        )
        rho = rho_with_size(ranked, group, size, covered=True).r
        yield compare(f"rho of mean z with {SIZES[size]}, {group}", "section 5", paper, rho, why)


def speed(score_table: ScoreTable, options: AnalysisOptions) -> Finding:
    """Tabulate mean z (All) against throughput, and against GFLOPs, which are another quantity, as a substitute.

    Throughput is in times that of the reference network beside it, so that measurements on several machines count.
    """
    ranked = candidates(score_table)
    z = overall_mean_z(ranked)
    throughput, notes = _relative_throughput(ranked, options)
    work = gflops(ranked, options)
    rows, tables = [], []
    for label, column, costs in (
        ("throughput", "throughput, in times a ResNet-18's", throughput),
        ("GFLOPs of one image (not throughput)", "GFLOPs", work),
    ):
        rho = spearman(z, costs)
        if not rho.n:
            continue
        rows.append((label, rho.r, rho.n, rho.p))
        cells = zip([backbone.title for backbone in ranked.backbones], z, costs, strict=True)
        points = sorted(((n, a, b) for n, a, b in cells if np.isfinite(a + b)), key=lambda cell: -cell[1])
        tables.append(table(f"Mean z against {column}", {"backbone": "", "mean z": "+.2f", column: ".4g"}, points))
    columns = {"mean z with": "", "rho": "+.2f", "n": "", "p": ".2g"}
    if not np.isfinite(throughput + z).any():
        notes.append(_no_throughput(score_table))
    return Finding((table("Spearman's rho", columns, rows), *tables) if rows else (), tuple(notes))


def published_speed(score_table: ScoreTable) -> Iterator[PublishedFigure]:
    """Show the rho of section 5, "Performance vs. Speed", for which the paper prints no throughput."""
    ranked = candidates(score_table)
    rho = spearman(overall_mean_z(ranked), gflops(ranked, AnalysisOptions()))
    yield PublishedFigure(
        "rho of mean z with throughput on an RTX A5000",
        "section 5",
        "-0.41",
        "–",
        f"the paper prints no throughput; with GFLOPs instead, which rise as speed falls, rho is {rho.r:+.2f}",
    )


def budget(score_table: ScoreTable, options: AnalysisOptions) -> Finding:
    """Tabulate the Pareto front of mean z and each cost, for All and each task."""
    ranked = candidates(score_table)
    tables, missing = [], []
    for by, title in figures.COSTS.items():
        fronts = {c: [p for p in figures.cost_points(ranked, by, c) if p.front] for c in ranked.columns if c != "Eff"}
        if any(fronts.values()):
            tables.append(_front_table(title, fronts))
        else:
            missing.append(f"{title}: not known for any backbone of pool {score_table.pool.name}")
    return Finding(tuple(tables), tuple(missing))


def gflops(score_table: ScoreTable, options: AnalysisOptions) -> np.ndarray:
    """Return (B,) GFLOPs of one image, from backbones.csv or else as measured; NaN if there is neither."""
    known = np.array([float(backbone.about.gflops or "nan") for backbone in score_table.backbones])
    measured = np.array([comparable_value(score_table, b, FLOPS, options) for b in score_table.backbones])
    return np.where(np.isfinite(known), known, measured)


def _front_table(title: str, fronts: dict[str, list[figures.Point]]) -> Table:
    """Return one row for each backbone on any front, cheapest first, with z in the columns on whose front it is."""
    cost_of = {p.backbone.title: p.x for points in fronts.values() for p in points}
    z = {(column, p.backbone.title): p.y for column, points in fronts.items() for p in points}
    by_cost = sorted(cost_of.items(), key=lambda item: item[1])
    rows = [(name, cost, *(z.get((column, name)) for column in fronts)) for name, cost in by_cost]
    columns = {"backbone": "", title: ".4g"} | dict.fromkeys(fronts, "+.2f")
    return table(f"Pareto front: mean z against {title}", columns, rows)


def _relative_throughput(score_table: ScoreTable, options: AnalysisOptions) -> tuple[np.ndarray, list[str]]:
    """Return (B,) images/s in times those of the reference network, NaN if missing, and notes.

    Either CPUs or GPUs count, whichever measured more backbones; a note says so if there are others.
    """
    scores = [comparable_score(score_table, backbone, BATCH_RATIO, options) for backbone in score_table.backbones]
    kinds = Counter(device_kind(score.device) for score in scores if score)
    chosen = kinds.most_common(1)[0][0] if kinds else ""
    values = [1 / score.value if score and device_kind(score.device) == chosen else float("nan") for score in scores]
    others = kinds.total() - kinds[chosen]
    note = f"throughput is that on a {chosen.upper()}; {others} more backbones were measured on another kind of device"
    return np.array(values, np.float64), [note] if others else []


def _sizes(score_table: ScoreTable, size: str) -> np.ndarray:
    """Return (B,) millions of parameters or of images; 0 if unknown."""
    return np.array([float(_size_text(backbone.about, size) or 0) for backbone in score_table.backbones])


def _size_text(about: BackboneRow, size: str) -> str:
    """Return the number of parameters or images as backbones.csv has it."""
    return about.params if size == "params" else about.images


def _no_throughput(score_table: ScoreTable) -> str:
    """Explain that no backbone has both a mean z and a throughput, and how to measure the latter."""
    return (
        f"pool {score_table.pool.name} has no throughput of backbones with a mean z of {ALL}; to measure that of your "
        f"own backbones, run: pytest $(bob suites) -k efficiency --scale {score_table.pool.scale} --backbone NAME"
    )
