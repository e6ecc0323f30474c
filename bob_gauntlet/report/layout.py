"""A ranking as text: a table for the terminal, Markdown, CSV or JSON."""

import json
from collections.abc import Sequence
from typing import Any, Literal

import pandas as pd
from tabulate import tabulate

from bob_gauntlet.report.ranking import Ranking, Row

Format = Literal["table", "json", "csv", "markdown"]
MARK = "►"


def render(ranking: Ranking, form: Format) -> str:
    """The ranking in one of four forms."""
    if form == "json":
        return json.dumps([record(row) for row in ranking.rows], indent=1, ensure_ascii=False)
    frame = pd.DataFrame([_cells(row, ranking.columns, plain=form == "csv") for row in ranking.rows])
    if form == "csv":
        return frame.to_csv(index=False).rstrip("\n")
    style = "github" if form == "markdown" else "simple"
    table = tabulate(
        frame.to_dict("list"), headers="keys", tablefmt=style, floatfmt="+.2f", missingval="–", disable_numparse=True
    )
    notes = [footnote(ranking), *ranking.notes]
    return "\n".join([table, "", *([f"- {note}" for note in notes] if form == "markdown" else notes)])


def record(row: Row) -> dict[str, Any]:
    """A row as plain types: what `--format json` lists."""
    return {
        "backbone": row.backbone,
        "rank": row.rank,
        "z": dict(row.z),
        "interval": list(row.interval) if row.interval else None,
        "coverage": row.coverage,
        "mean_rank": row.mean_rank,
        "group": row.group,
        "own": row.own,
    }


def footnote(ranking: Ranking) -> str:
    """What the numbers are, in a line."""
    size = "mini scale: shows that things work and gates changes, no verdict on backbones; " * (ranking.scale == "mini")
    return (
        f"{size}z = standard deviations above the mean of pool {ranking.pool}, over {len(ranking.measures)} ranked "
        "measures; in brackets: ranks in 95% of bootstrap draws over test examples; same group: not told apart"
    )


def _cells(row: Row, columns: Sequence[str], *, plain: bool) -> dict[str, Any]:
    if plain:
        low, high = row.interval or (None, None)
        head: dict[str, Any] = {"rank": row.rank, "rank_low": low, "rank_high": high, "backbone": row.backbone}
        scores: dict[str, Any] = {f"z_{name}": row.z[name] for name in columns}
        return {**head, **scores, "mean_rank": row.mean_rank, "group": row.group, "coverage": row.coverage}
    place = (
        "–" if row.rank is None else str(row.rank) + (f" [{row.interval[0]}-{row.interval[1]}]" if row.interval else "")
    )
    twin = f" = {row.member}" if row.own and row.member not in ("", row.backbone) else ""
    return {
        "": MARK if row.own else "",
        "rank": place,
        "backbone": row.backbone + twin,
        **{name: "–" if (z := row.z[name]) is None else f"{z:+.2f}" for name in columns},
        "mean rank": "–" if row.mean_rank is None else f"{row.mean_rank:.1f}",
        "group": row.group or "–",
        "coverage": f"{row.measured}/{row.measures}",
    }
