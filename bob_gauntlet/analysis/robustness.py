"""Who withstands adversarial attacks: Table 19 of the paper, and what it concludes in section 5."""

import csv
from collections.abc import Iterator

import numpy as np

from bob_gauntlet.analysis.members import candidates, kind, lacking, pretrained, value
from bob_gauntlet.analysis.pairing import differences, pairs
from bob_gauntlet.analysis.result import UNEXPLAINED, AnalysisOptions, Finding, Published, compare, table
from bob_gauntlet.pools import paper_tables
from bob_gauntlet.pools.pool import MeasureKey
from bob_gauntlet.ranking.score_table import ScoreTable
from bob_gauntlet.stats.zscores import mean_z

CLEAN = ("finetune@imagenet-1k", "top1")
ATTACKED = tuple((f"adversarial-finetune-eps{epsilon}@imagenet-1k", "top1") for epsilon in (1, 2))
"""The measures of Table 19."""

MINUS = "the printed minus sign is lost: both accuracies lie below their means (erratum E4)"


def robustness(score_table: ScoreTable, options: AnalysisOptions) -> Finding:
    """Top-1 (%) clean and under PGD of two radii, and the mean of the two z-scores under attack."""
    attacked = measures_of(score_table)
    if missing := lacking(score_table, attacked):
        return Finding((), tuple(missing))
    clean = CLEAN if attacked == ATTACKED else (attacked[0][0], "top1_clean")
    members, ranked = pretrained(score_table), candidates(score_table)
    z = _z(members)
    rows = [
        (e.title, *(value(members, e, measure, options) for measure in (clean, *attacked)), z[e.name])
        for e in members.backbones
        if np.isfinite(z[e.name])
    ]
    columns = {"backbone": "", "clean (%)": ".2f", "eps 1/255 (%)": ".2f", "eps 2/255 (%)": ".2f", "mean z": "+.2f"}
    means = [(which, *by_kind(ranked, which)) for which in ("CNN", "transformer")]
    return Finding(
        (
            table("Top-1 under attack", columns, sorted(rows, key=lambda row: -row[-1])),
            table("Means by architecture", {"kind": "", "mean z": "+.2f", "n": ""}, means),
            *differences(ranked.backbones, {name: np.array([v]) for name, v in z.items()}, {"z difference": "+.2f"}),
        ),
        () if attacked == ATTACKED else (f"over {attacked[0][0]} and its twin of 2/255, which are not the paper's",),
    )


def measures_of(score_table: ScoreTable) -> tuple[MeasureKey, ...]:
    """Top-1 at 1/255 and 2/255: the paper's measures, or those of the pool's first dataset, fine-tuned if there are."""
    found = [(setting, metric) for setting, metric in score_table.measures if setting.startswith("adversarial-")]
    if not found or set(ATTACKED) <= set(found):
        return ATTACKED
    found.sort(key=lambda measure: "finetune" not in measure[0])
    dataset = found[0][0].partition("@")[2]
    return tuple(measure for measure in found if measure[0].endswith(f"@{dataset}"))[:2]


def published_robustness(score_table: ScoreTable) -> Iterator[Published]:
    """The 20 z-scores of Table 19, and the two conclusions of section 5."""
    z, rows = _z(pretrained(score_table)), paper_tables.read_printed_rows(score_table.pool.folder)
    with (score_table.pool.folder / "tables" / "table19.csv").open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file), 1):
            name = rows["table19", number].id
            yield compare(f"mean z of {score_table.pool.title(name)}", "Table 19", row["zscore"], z[name], MINUS)
    ranked = candidates(score_table)
    gaps = [z[pair.learner.name] - z[pair.supervised.name] for pair in pairs(ranked.backbones)]
    ahead = sum(gap > 0 for gap in gaps)
    what = "of one architecture, supervised is less robust than self-supervised"
    why = "" if ahead == len(gaps) else UNEXPLAINED
    yield Published(what, "section 5", "always", f"in {ahead} of {len(gaps)} pairs", why)
    cnn, transformer = (by_kind(ranked, which)[0] for which in ("CNN", "transformer"))
    why = "" if cnn > transformer else UNEXPLAINED
    yield Published(
        "mean z, CNNs and transformers", "section 5", "CNNs higher", f"{cnn:+.2f} and {transformer:+.2f}", why
    )


def by_kind(score_table: ScoreTable, which: str) -> tuple[float, int]:
    """Mean z under attack of transformers or of CNNs, and over how many."""
    z = _z(score_table)
    found = [z[e.name] for e in score_table.backbones if kind(e.about) == which and np.isfinite(z[e.name])]
    return (float(np.mean(found)) if found else float("nan")), len(found)


def _z(score_table: ScoreTable) -> dict[str, float]:
    """Name -> mean of the z-scores under the attacks that are shown."""
    shown = [
        score_table.measures.index(measure) for measure in measures_of(score_table) if measure in score_table.measures
    ]
    return {e.name: float(z) for e, z in zip(score_table.backbones, mean_z(score_table.z[:, shown]), strict=True)}
