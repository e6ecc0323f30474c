"""The backbones to choose from: the top three of each task and of All (paper, Table 2), and the best small ones."""

from collections.abc import Iterator

import numpy as np

from bob_gauntlet.analysis.members import candidates, keep_backbones, sort_by_mean_z
from bob_gauntlet.analysis.result import AnalysisOptions, Finding, PublishedFigure, compare_order, table
from bob_gauntlet.ranking.score_table import ALL, ScoredBackbone, ScoreTable
from bob_gauntlet.scores.settings import IN_ALL

TOP = 3
"""Number of places that are shown."""

SMALL = 30.0
"""Millions of parameters below which the paper calls a backbone small (section 5)."""

_SWIN, _CLIP = "swinv2_base_window12to24_192to384.ms_in22k_ft_in1k", "vit_base_patch16_clip_224.laion2b"
_NEXT_21K, _NEXT_1K, _NEXT_TINY = "convnext_base.fb_in22k", "convnext_base.fb_in1k", "convnext_tiny.fb_in1k"

TABLE_2 = {
    ALL: (_NEXT_21K, _SWIN, _CLIP),
    "Cls": (_SWIN, _CLIP, _NEXT_21K),
    "Det": (_NEXT_21K, _SWIN, _NEXT_1K),
    "Seg": (_NEXT_21K, _SWIN, _NEXT_1K),
    "Ret": (_NEXT_21K, _SWIN, _CLIP),
    "OOD-Cls": (_NEXT_21K, _SWIN, _CLIP),
    "OOD-Det": (_NEXT_1K, _NEXT_TINY, _NEXT_21K),
}
"""Best, better and good of Table 2; section 4.1 says the same in words."""

TABLE_3 = {
    "All, Cls, Ret, OOD-Cls": ("EfficientNet-B0", "RegNetX-400MF", "ResNet-18"),
    "Det, Seg": ("ResNet-18", "EfficientNet-B0", "RegNetX-400MF"),
    "OOD-Det": ("RegNetX-400MF", "ResNet-18", "EfficientNet-B0"),
}
"""Best, better and good of the tiny backbones in Table 3."""

SMALL_ORDER = (_NEXT_TINY, "swinv2_tiny_window8_256.ms_in1k", "vit_small_patch16_224.dino")
"""The order in section 5, "Battle of the small backbones"."""


def winners(score_table: ScoreTable, options: AnalysisOptions) -> Finding:
    """Tabulate the top three by mean z, with the number of measures that each one has."""
    ranked = candidates(score_table)
    rows = [row for column in ranked.columns for row in _top_rows(ranked, column, column)]
    complete = with_every_task(ranked)
    if len(complete.backbones) < len(ranked.backbones) and complete.backbones:
        rows += _top_rows(complete, ALL, "All, with every task")
    columns = {"task": "", "place": "", "backbone": "", "mean z": "+.2f", "measures": "", "of": ""}
    return Finding((table("Top three", columns, rows, keys=2),))


def published_winners(score_table: ScoreTable) -> Iterator[PublishedFigure]:
    """Compare Table 2, and list Table 3."""
    ranked, title = candidates(score_table), score_table.pool.title
    why = {ALL: _explain_all(ranked), "OOD-Det": _explain_near_tie(ranked)}
    for column, names in TABLE_2.items():
        order = [backbone.title for backbone, _ in sort_by_mean_z(ranked, column)[:TOP]]
        yield compare_order(f"top three, {column}", "Table 2", [title(n) for n in names], order, why.get(column, ""))
    for columns, printed in TABLE_3.items():
        reason = "no table of the paper has figures of any of the three"
        yield PublishedFigure(f"tiny backbones, {columns}", "Table 3", " > ".join(printed), "–", reason)


def small(score_table: ScoreTable, options: AnalysisOptions) -> Finding:
    """Tabulate backbones of under 30 million parameters by mean z; notes name those that are not ranked."""
    small_table, unknown = _select_small(candidates(score_table))
    if not small_table.columns:
        return Finding((), (f"pool {score_table.pool.name} has no ranked measures",))
    column = next(iter(small_table.columns))
    ranked = [backbone for backbone, _ in sort_by_mean_z(small_table, column)]
    index = {backbone.name: i for i, backbone in enumerate(small_table.backbones)}
    z = {name: small_table.mean_z(name) for name in small_table.columns}
    rows = [
        (
            backbone.title,
            place,
            float(backbone.about.params),
            *(z[name][index[backbone.name]] for name in z),
            *_count_measures(small_table, backbone, column),
        )
        for place, backbone in enumerate(ranked, 1)
    ]
    columns = {"backbone": "", "rank": "", "params (M)": ".1f"} | dict.fromkeys(z, "+.2f") | {"measures": "", "of": ""}
    unranked = [b for b in small_table.backbones if b not in ranked and np.isfinite(z[column][index[b.name]])]
    notes = [
        f"not ranked, since it covers less than a third of the measures: {b.title}, "
        f"{column} {z[column][index[b.name]]:+.2f}"
        for b in unranked
    ]
    notes += [f"number of parameters unknown: {backbone.title}" for backbone in unknown]
    return Finding((table(f"Under {SMALL:g} million parameters, by {column}", columns, rows),), tuple(notes))


def published_small(score_table: ScoreTable) -> Iterator[PublishedFigure]:
    """Compare the order that section 5 gives."""
    small_table, _ = _select_small(candidates(score_table))
    order = [backbone.title for backbone, _ in sort_by_mean_z(small_table, ALL)[:TOP]]
    printed = [score_table.pool.title(name) for name in SMALL_ORDER]
    yield compare_order("top three under 30 M parameters", "section 5", printed, order)


def with_every_task(score_table: ScoreTable) -> ScoreTable:
    """Return the score table with the backbones that have a score in each of the tasks of All."""
    has_task = [score_table.coverage(task) > 0 for task in IN_ALL if task in score_table.columns]
    has_none = [False] * len(score_table.backbones)
    return keep_backbones(score_table, np.all(has_task, axis=0) if has_task else has_none)


def _top_rows(score_table: ScoreTable, column: str, label: str) -> Iterator[tuple[object, ...]]:
    """Yield the rows of the top three of a column."""
    for place, (backbone, z) in enumerate(sort_by_mean_z(score_table, column)[:TOP], 1):
        yield label, place, backbone.title, z, *_count_measures(score_table, backbone, column)


def _count_measures(score_table: ScoreTable, backbone: ScoredBackbone, column: str) -> tuple[int, int]:
    """Count the measures of a column that a backbone has, and all of them."""
    measures = [score_table.measures[i] for i in score_table.columns[column]]
    return sum(measure in backbone.scores for measure in measures), len(measures)


def _select_small(score_table: ScoreTable) -> tuple[ScoreTable, list[ScoredBackbone]]:
    """Return the score table with the small backbones only, and the backbones whose size is unknown."""
    unknown = [backbone for backbone in score_table.backbones if not backbone.about.params]
    is_small = (bool(b.about.params) and float(b.about.params) < SMALL for b in score_table.backbones)
    return keep_backbones(score_table, is_small), unknown


def _explain_all(ranked: ScoreTable) -> str:
    """Name the backbones that rank above CLIP, and the order of those that have a score in every task."""
    order, complete = ([b for b, _ in sort_by_mean_z(some, ALL)] for some in (ranked, with_every_task(ranked)))
    ahead = [b.title for b in order[TOP - 1 : [b.member for b in order].index(_CLIP)]]
    same = tuple(b.member for b in complete[:TOP]) == TABLE_2[ALL]
    return (
        f"{', '.join(ahead)} rank above CLIP, but the paper prints no figures of them for some tasks; among backbones "
        f"with every task the order is {'that of the paper' if same else ' > '.join(b.title for b in complete[:TOP])}"
    )


def _explain_near_tie(ranked: ScoreTable) -> str:
    """Show how close the second and third places of OOD-Det are."""
    z = [z for _, z in sort_by_mean_z(ranked, "OOD-Det")]
    return (
        f"second and third are nearly tied ({z[1]:+.3f} and {z[2]:+.3f}); the authors seem to have used other "
        "backbones than the printed rows (Table 20 differs in this task too)"
    )
