"""Which backbone should I choose: the top three of each task and of All (paper, Table 2), and the best small ones."""

from collections.abc import Iterator

import numpy as np

from bob_gauntlet.analysis.members import best, candidates, restricted
from bob_gauntlet.analysis.result import AnalysisOptions, Finding, Published, compare_order, table
from bob_gauntlet.ranking.score_table import ALL, ScoredBackbone, ScoreTable
from bob_gauntlet.scores.settings import IN_ALL

PLACES = 3

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
"""Best, better, good of Table 2; section 4.1 says the same in words."""

TABLE_3 = {
    "All, Cls, Ret, OOD-Cls": ("EfficientNet-B0", "RegNetX-400MF", "ResNet-18"),
    "Det, Seg": ("ResNet-18", "EfficientNet-B0", "RegNetX-400MF"),
    "OOD-Det": ("RegNetX-400MF", "ResNet-18", "EfficientNet-B0"),
}
"""Best, better, good of the very lightweight backbones."""

SMALL_ORDER = (_NEXT_TINY, "swinv2_tiny_window8_256.ms_in1k", "vit_small_patch16_224.dino")
"""Section 5, "Battle of the small backbones"."""


def winners(score_table: ScoreTable, options: AnalysisOptions) -> Finding:
    """The top three by mean z, with the measures that each has."""
    ranked = candidates(score_table)
    rows = [row for column in ranked.columns for row in _top(ranked, column, column)]
    whole = with_every_task(ranked)
    if len(whole.backbones) < len(ranked.backbones) and whole.backbones:
        rows += _top(whole, ALL, "All, with every task")
    columns = {"task": "", "place": "", "backbone": "", "mean z": "+.2f", "measures": "", "of": ""}
    return Finding((table("Top three", columns, rows, keys=2),))


def published_winners(score_table: ScoreTable) -> Iterator[Published]:
    """Tables 2 and 3."""
    ranked, title = candidates(score_table), score_table.pool.title
    why = {ALL: _why_all(ranked), "OOD-Det": _why_near_tie(ranked)}
    for column, names in TABLE_2.items():
        ours = [e.title for e, _ in best(ranked, column)[:PLACES]]
        yield compare_order(f"top three, {column}", "Table 2", [title(n) for n in names], ours, why.get(column, ""))
    for columns, order in TABLE_3.items():
        reason = "no table prints a figure of any of the three"
        yield Published(f"tiny backbones, {columns}", "Table 3", " > ".join(order), "–", reason)


def small(score_table: ScoreTable, options: AnalysisOptions) -> Finding:
    """Backbones under 30 million parameters by mean z; those that cover too little are named in a note."""
    found, unknown = _small(candidates(score_table))
    if not found.columns:
        return Finding((), (f"pool {score_table.pool.name} has no ranked measures",))
    column = next(iter(found.columns))
    ranked = best(found, column)
    index = {backbone.name: i for i, backbone in enumerate(found.backbones)}
    z = {name: found.mean_z(name) for name in found.columns}
    rows = [
        (e.title, place, float(e.about.params), *(z[name][index[e.name]] for name in z), *_measured(found, e, column))
        for place, (e, _) in enumerate(ranked, 1)
    ]
    columns = {"backbone": "", "rank": "", "params (M)": ".1f"} | dict.fromkeys(z, "+.2f") | {"measures": "", "of": ""}
    left = [e for e in found.backbones if e not in [r for r, _ in ranked] and np.isfinite(z[column][index[e.name]])]
    notes = [f"covers too little to be ranked: {e.title}, {column} {z[column][index[e.name]]:+.2f}" for e in left]
    notes += [f"number of parameters unknown: {e.title}" for e in unknown]
    return Finding((table(f"Under {SMALL:g} million parameters, by {column}", columns, rows),), tuple(notes))


def published_small(score_table: ScoreTable) -> Iterator[Published]:
    """The order that section 5 gives."""
    ours = [e.title for e, _ in best(_small(candidates(score_table))[0], ALL)[:PLACES]]
    yield compare_order(
        "top three under 30 M parameters", "section 5", [score_table.pool.title(n) for n in SMALL_ORDER], ours
    )


def with_every_task(score_table: ScoreTable) -> ScoreTable:
    """Those that have a figure in each of the tasks that make up All."""
    tasks = [score_table.coverage(task) > 0 for task in IN_ALL if task in score_table.columns]
    return restricted(score_table, np.all(tasks, axis=0) if tasks else [False] * len(score_table.backbones))


def _top(score_table: ScoreTable, column: str, label: str) -> Iterator[tuple[object, ...]]:
    for place, (backbone, z) in enumerate(best(score_table, column)[:PLACES], 1):
        yield label, place, backbone.title, z, *_measured(score_table, backbone, column)


def _measured(score_table: ScoreTable, backbone: ScoredBackbone, column: str) -> tuple[int, int]:
    """Measures of a column that a backbone has, and all of them."""
    wanted = [score_table.measures[i] for i in score_table.columns[column]]
    return sum(measure in backbone.scores for measure in wanted), len(wanted)


def _small(score_table: ScoreTable) -> tuple[ScoreTable, list[ScoredBackbone]]:
    """Those under the bound, and those whose size nobody knows."""
    unknown = [e for e in score_table.backbones if not e.about.params]
    return restricted(
        score_table, (bool(e.about.params) and float(e.about.params) < SMALL for e in score_table.backbones)
    ), unknown


def _why_all(ranked: ScoreTable) -> str:
    """Who stands before CLIP, and the order of those that have a figure in every task."""
    order, whole = ([e for e, _ in best(some, ALL)] for some in (ranked, with_every_task(ranked)))
    ahead = [e.title for e in order[PLACES - 1 : [e.member for e in order].index(_CLIP)]]
    same = tuple(e.member for e in whole[:PLACES]) == TABLE_2[ALL]
    return (
        f"before CLIP come {', '.join(ahead)}, of which no figure of some tasks is printed; among backbones with every "
        f"task the order is {'that of the paper' if same else ' > '.join(e.title for e in whole[:PLACES])}"
    )


def _why_near_tie(ranked: ScoreTable) -> str:
    z = [z for _, z in best(ranked, "OOD-Det")]
    return (
        f"second and third are a near-tie, {z[1]:+.3f} and {z[2]:+.3f}; the authors' set of backbones seems not to be "
        "the rows printed (Table 20 differs in this task too)"
    )
