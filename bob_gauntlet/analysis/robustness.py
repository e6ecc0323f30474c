"""Robustness of backbones to adversarial attacks: Table 19 of the paper and its conclusions in section 5."""

import csv
from collections.abc import Iterator

import numpy as np

from bob_gauntlet.analysis.members import architecture_kind, candidates, comparable_value, note_missing, pretrained
from bob_gauntlet.analysis.pairing import difference_tables, pairs
from bob_gauntlet.analysis.result import UNEXPLAINED, AnalysisOptions, Finding, PublishedFigure, compare, table
from bob_gauntlet.pools import paper_tables
from bob_gauntlet.pools.pool import MeasureKey
from bob_gauntlet.ranking.score_table import ScoreTable
from bob_gauntlet.stats.zscores import mean_z

CLEAN = ("finetune@imagenet-1k", "top1")
"""The measure without an attack in Table 19."""

ATTACKED = tuple((f"adversarial-finetune-eps{epsilon}@imagenet-1k", "top1") for epsilon in (1, 2))
"""The measures under attack in Table 19."""

LOST_MINUS = "the paper lost the minus sign: both accuracies are below their means (erratum E4)"


def robustness(score_table: ScoreTable, options: AnalysisOptions) -> Finding:
    """Tabulate top-1 (%) without attack and under PGD with two radii, and the mean of the two z-scores under attack."""
    attacked = attacked_measures(score_table)
    if missing := note_missing(score_table, attacked):
        return Finding((), tuple(missing))
    clean = CLEAN if attacked == ATTACKED else (attacked[0][0], "top1_clean")
    members, ranked = pretrained(score_table), candidates(score_table)
    z = _mean_z_by_name(members)
    rows = [
        (b.title, *(comparable_value(members, b, measure, options) for measure in (clean, *attacked)), z[b.name])
        for b in members.backbones
        if np.isfinite(z[b.name])
    ]
    columns = {"backbone": "", "clean (%)": ".2f", "eps 1/255 (%)": ".2f", "eps 2/255 (%)": ".2f", "mean z": "+.2f"}
    means = [(kind, *mean_of_kind(ranked, kind)) for kind in ("CNN", "transformer")]
    values_by_name = {name: np.array([value]) for name, value in z.items()}
    settings, paper_settings = (" and ".join(setting for setting, _ in some) for some in (attacked, ATTACKED))
    return Finding(
        (
            table("Top-1 under attack", columns, sorted(rows, key=lambda row: -row[-1])),
            table("Means by architecture", {"kind": "", "mean z": "+.2f", "n": ""}, means),
            *difference_tables(ranked.backbones, values_by_name, {"z difference": "+.2f"}),
        ),
        () if attacked == ATTACKED else (f"measured on {settings}; the paper uses {paper_settings}",),
    )


def attacked_measures(score_table: ScoreTable) -> tuple[MeasureKey, ...]:
    """Return top-1 at 1/255 and 2/255: the paper's measures, else those of the pool's first attacked dataset.

    Fine-tuned networks are preferred to frozen ones.
    """
    measures = [(setting, metric) for setting, metric in score_table.measures if setting.startswith("adversarial-")]
    if not measures or set(ATTACKED) <= set(measures):
        return ATTACKED
    measures.sort(key=lambda measure: "finetune" not in measure[0])
    dataset = measures[0][0].partition("@")[2]
    return tuple(measure for measure in measures if measure[0].endswith(f"@{dataset}"))[:2]


def published_robustness(score_table: ScoreTable) -> Iterator[PublishedFigure]:
    """Compare the 20 z-scores of Table 19 and the two conclusions of section 5."""
    z, rows = _mean_z_by_name(pretrained(score_table)), paper_tables.read_printed_rows(score_table.pool.folder)
    with (score_table.pool.folder / "tables" / "table19.csv").open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file), 1):
            name = rows["table19", number].id
            title = score_table.pool.title(name)
            yield compare(f"mean z of {title}", "Table 19", row["zscore"], z[name], LOST_MINUS)
    ranked = candidates(score_table)
    gaps = [z[pair.self_supervised.name] - z[pair.supervised.name] for pair in pairs(ranked.backbones)]
    ahead = sum(gap > 0 for gap in gaps)
    what = "supervised is less robust than self-supervised of the same architecture"
    why = "" if ahead == len(gaps) else UNEXPLAINED
    yield PublishedFigure(what, "section 5", "always", f"in {ahead} of {len(gaps)} pairs", why)
    cnn, transformer = (mean_of_kind(ranked, kind)[0] for kind in ("CNN", "transformer"))
    why = "" if cnn > transformer else UNEXPLAINED
    yield PublishedFigure(
        "mean z, CNNs and transformers", "section 5", "CNNs higher", f"{cnn:+.2f} and {transformer:+.2f}", why
    )


def mean_of_kind(score_table: ScoreTable, kind: str) -> tuple[float, int]:
    """Return the mean z under attack of the transformers or the CNNs, and their number."""
    z = _mean_z_by_name(score_table)
    values = [z[b.name] for b in score_table.backbones if architecture_kind(b.about) == kind and np.isfinite(z[b.name])]
    return (float(np.mean(values)) if values else float("nan")), len(values)


def _mean_z_by_name(score_table: ScoreTable) -> dict[str, float]:
    """Return the name of each backbone -> the mean of its z-scores under the attacks that are shown."""
    indices = [
        score_table.measures.index(measure)
        for measure in attacked_measures(score_table)
        if measure in score_table.measures
    ]
    means = mean_z(score_table.z[:, indices])
    return {backbone.name: float(z) for backbone, z in zip(score_table.backbones, means, strict=True)}
