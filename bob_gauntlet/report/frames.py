"""Scores, rankings and comparisons as pandas DataFrames, whose columns docs/api.md describes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bob_gauntlet.ranking.changes import why_not_compared
from bob_gauntlet.ranking.ranking import Ranking, RankingRow
from bob_gauntlet.report.layout import collect_footnotes, ranking_record
from bob_gauntlet.scores.score import METRICS, Score
from bob_gauntlet.scores.settings import SETTINGS

if TYPE_CHECKING:
    import pandas as pd

_DTYPES: Mapping[str, str] = {
    "float64": "value stderr chance seconds value_a value_b difference z_low z_high median_z iqm_z "
    "mean_rank win_rate coverage",
    "Int64": "n limit max_steps rank rank_low rank_high group measured measures",
    "bool": "higher_is_better comparable apart own",
}
"""dtype -> the columns that have it, wherever they stand; every other column is text, except `started`."""


def score_frame(scores: Sequence[Score]) -> "pd.DataFrame":
    """Return one row a score, in the order given."""
    import pandas as pd

    frame = _frame([_score_record(score) for score in scores], list(SCORE_COLUMNS))
    # what is no time, or none that pandas can hold, is left empty
    frame["started"] = pd.to_datetime(frame["started"], utc=True, format="ISO8601", errors="coerce")
    return frame


SCORE_COLUMNS = (
    "backbone", "setting", "protocol", "dataset", "task", "metric", "value", "unit", "higher_is_better", "stderr", "n",
    "chance", "scale", "fidelity", "limit", "max_steps", "partial", "seeds", "device", "precision", "transform",
    "source", "started", "seconds", "backbone_fingerprint", "protocol_hash", "dataset_fingerprints", "commit",
)  # fmt: skip
"""Columns of `score_frame`."""


def _score_record(score: Score) -> dict[str, Any]:
    """Return a score and its provenance as one flat row."""
    provenance, metric = score.provenance, METRICS[score.metric]
    protocol, _, dataset = score.setting.partition("@")
    return {
        **{name: value for name, value in vars(score).items() if name in SCORE_COLUMNS},
        "protocol": protocol,
        "dataset": dataset,
        "partial": score.partial,
        "unit": metric.unit,
        "higher_is_better": metric.higher_is_better,
        "seeds": " ".join(map(str, score.seeds)),
        "dataset_fingerprints": " ".join(f"{role}={value}" for role, value in sorted(score.datasets.items())),
        "started": provenance.get("started") or None,
        "commit": provenance.get("commit", ""),
        **{name: provenance.get(name) for name in ("stderr", "n", "chance", "seconds")},
    }


def ranking_frame(ranking: Ranking) -> "pd.DataFrame":
    """Return one row a backbone, best first; `attrs` has the pool, its hash and the notes that `bob rank` prints."""
    columns = [
        "rank", "rank_low", "rank_high", "backbone", "title", *(f"z_{name}" for name in ranking.columns), "z_low",
        "z_high", "median_z", "iqm_z", "mean_rank", "win_rate", "group", "measured", "measures", "coverage", "apart",
        "own", "member",
    ]  # fmt: skip
    frame = _frame([_ranking_record(row) for row in ranking.rows], columns)
    frame.attrs |= {"pool": ranking.pool, "pool_hash": ranking.pool_hash, "notes": collect_footnotes(ranking)}
    return frame


def _ranking_record(row: RankingRow) -> dict[str, Any]:
    """Return a row of `bob rank --format json` with its pairs and its mapping of z-scores as columns of their own."""
    plain = ranking_record(row)
    rank_low, rank_high = row.interval or (None, None)
    z_low, z_high = row.settings_interval or (None, None)
    z = {f"z_{name}": value for name, value in row.z.items()}
    return {**plain, **z, "rank_low": rank_low, "rank_high": rank_high, "z_low": z_low, "z_high": z_high}


COMPARISON_COLUMNS = (
    "setting", "metric", "task", "scale", "unit", "value_a", "value_b", "difference", "better", "comparable", "why_not",
)  # fmt: skip
"""Columns of `comparison_frame`."""


def comparison_frame(a: str, b: str, scores_of_a: Sequence[Score], scores_of_b: Sequence[Score]) -> "pd.DataFrame":
    """Return one row a measure that `a` or `b` has, in the order of the table of settings; both are backbone names."""
    by_measure: dict[tuple[str, str, str], dict[str, Score]] = {}
    for side, scores in (("a", scores_of_a), ("b", scores_of_b)):
        for score in scores:
            by_measure.setdefault((*score.measure, score.scale), {})[side] = score
    place = {setting: index for index, setting in enumerate(SETTINGS)}
    ordered = sorted(by_measure.items(), key=lambda item: place.get(item[0][0], len(place)))
    rows = [_comparison_record({"a": a, "b": b}, pair) for _, pair in ordered]
    frame = _frame(rows, list(COMPARISON_COLUMNS))
    frame.attrs |= {"a": a, "b": b}
    return frame


def _comparison_record(names: Mapping[str, str], pair: Mapping[str, Score]) -> dict[str, Any]:
    """Return the row of one measure; `pair` has the scores of the sides "a" and "b" that were measured."""
    score = next(iter(pair.values()))
    values = {side: pair[side].value if side in pair else None for side in ("a", "b")}
    missing = [name for side, name in names.items() if side not in pair]
    why_not = f"{missing[0]} was not measured" if missing else why_not_compared(pair["a"], pair["b"])
    gap = None if why_not else pair["a"].value - pair["b"].value
    better = names["a" if gap * METRICS[score.metric].sign > 0 else "b"] if gap else None
    return {
        **{name: getattr(score, name) for name in ("setting", "metric", "task", "scale")},
        "unit": METRICS[score.metric].unit,
        "value_a": values["a"],
        "value_b": values["b"],
        "difference": gap,
        "better": better,
        "comparable": not why_not,
        "why_not": why_not,
    }


def _frame(rows: Sequence[Mapping[str, Any]], columns: list[str]) -> "pd.DataFrame":
    """Return a DataFrame of these columns, also where there are no rows, with the dtypes of _DTYPES."""
    import pandas as pd

    dtypes = {name: dtype for dtype, names in _DTYPES.items() for name in names.split() if name in columns}
    dtypes |= {name: "float64" for name in columns if name.startswith("z_")}
    return pd.DataFrame(list(rows), columns=columns).astype(dtypes)
