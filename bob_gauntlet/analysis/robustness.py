"""Who withstands adversarial attacks: Table 19 of the paper, and what it concludes in section 5."""

import csv
from collections.abc import Iterator

import numpy as np

from bob_gauntlet.analysis.members import candidates, kind, lacking, pretrained, value
from bob_gauntlet.analysis.pairing import differences, pairs
from bob_gauntlet.analysis.result import UNEXPLAINED, Found, Options, Published, compare, table
from bob_gauntlet.pools import paper_tables
from bob_gauntlet.pools.pool import MeasureKey
from bob_gauntlet.ranking.score_table import Standing
from bob_gauntlet.stats.zscores import mean_z

CLEAN = ("finetune@imagenet-1k", "top1")
ATTACKED = tuple((f"adversarial-finetune-eps{epsilon}@imagenet-1k", "top1") for epsilon in (1, 2))
"""The measures of Table 19."""

MINUS = "the printed minus sign is lost: both accuracies lie below their means (erratum E4)"


def robustness(standing: Standing, options: Options) -> Found:
    """Top-1 (%) clean and under PGD of two radii, and the mean of the two z-scores under attack."""
    attacked = measures_of(standing)
    if missing := lacking(standing, attacked):
        return Found((), tuple(missing))
    clean = CLEAN if attacked == ATTACKED else (attacked[0][0], "top1_clean")
    members, ranked = pretrained(standing), candidates(standing)
    z = _z(members)
    rows = [
        (e.title, *(value(members, e, measure, options) for measure in (clean, *attacked)), z[e.name])
        for e in members.entrants
        if np.isfinite(z[e.name])
    ]
    columns = {"backbone": "", "clean (%)": ".2f", "eps 1/255 (%)": ".2f", "eps 2/255 (%)": ".2f", "mean z": "+.2f"}
    means = [(which, *by_kind(ranked, which)) for which in ("CNN", "transformer")]
    return Found(
        (
            table("Top-1 under attack", columns, sorted(rows, key=lambda row: -row[-1])),
            table("Means by architecture", {"kind": "", "mean z": "+.2f", "n": ""}, means),
            *differences(ranked.entrants, {name: np.array([v]) for name, v in z.items()}, {"z difference": "+.2f"}),
        ),
        () if attacked == ATTACKED else (f"over {attacked[0][0]} and its twin of 2/255, which are not the paper's",),
    )


def measures_of(standing: Standing) -> tuple[MeasureKey, ...]:
    """Top-1 at 1/255 and 2/255: the paper's measures, or those of the pool's first dataset, fine-tuned if there are."""
    found = [(setting, metric) for setting, metric in standing.measures if setting.startswith("adversarial-")]
    if not found or set(ATTACKED) <= set(found):
        return ATTACKED
    found.sort(key=lambda measure: "finetune" not in measure[0])
    dataset = found[0][0].partition("@")[2]
    return tuple(measure for measure in found if measure[0].endswith(f"@{dataset}"))[:2]


def published_robustness(standing: Standing) -> Iterator[Published]:
    """The 20 z-scores of Table 19, and the two conclusions of section 5."""
    z, rows = _z(pretrained(standing)), paper_tables.read_printed(standing.pool.folder)
    with (standing.pool.folder / "tables" / "table19.csv").open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file), 1):
            name = rows["table19", number].id
            yield compare(f"mean z of {standing.pool.title(name)}", "Table 19", row["zscore"], z[name], MINUS)
    ranked = candidates(standing)
    gaps = [z[pair.learner.name] - z[pair.supervised.name] for pair in pairs(ranked.entrants)]
    ahead = sum(gap > 0 for gap in gaps)
    what = "of one architecture, supervised is less robust than self-supervised"
    why = "" if ahead == len(gaps) else UNEXPLAINED
    yield Published(what, "section 5", "always", f"in {ahead} of {len(gaps)} pairs", why)
    cnn, transformer = (by_kind(ranked, which)[0] for which in ("CNN", "transformer"))
    why = "" if cnn > transformer else UNEXPLAINED
    yield Published(
        "mean z, CNNs and transformers", "section 5", "CNNs higher", f"{cnn:+.2f} and {transformer:+.2f}", why
    )


def by_kind(standing: Standing, which: str) -> tuple[float, int]:
    """Mean z under attack of transformers or of CNNs, and over how many."""
    z = _z(standing)
    found = [z[e.name] for e in standing.entrants if kind(e.about) == which and np.isfinite(z[e.name])]
    return (float(np.mean(found)) if found else float("nan")), len(found)


def _z(standing: Standing) -> dict[str, float]:
    """Name -> mean of the z-scores under the attacks that are shown."""
    shown = [standing.measures.index(measure) for measure in measures_of(standing) if measure in standing.measures]
    return {e.name: float(z) for e, z in zip(standing.entrants, mean_z(standing.z[:, shown]), strict=True)}
