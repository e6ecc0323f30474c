"""A ranking as text: a table for the terminal, Markdown, CSV or JSON."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, Literal

from tabulate import tabulate

from bob_gauntlet.ranking.ranking import Ranking, RankingRow

Format = Literal["table", "json", "csv", "markdown"]
MARK = "►"

_KEYS = {"below_min_coverage": "apart", "highlighted": "own"}
"""Fields of a row whose key in JSON has another name: files that were written earlier stay readable."""


def render(ranking: Ranking, form: Format) -> str:
    """The ranking in one of four forms."""
    if form == "json":
        return json.dumps([record(row) for row in ranking.rows], indent=1, ensure_ascii=False)
    if form == "csv":
        return _csv([_plain(row, ranking.columns) for row in ranking.rows])
    shown = [row for row in ranking.rows if (row.measured and not row.below_min_coverage) or row.highlighted]
    apart = [row for row in ranking.rows if row.below_min_coverage and not row.highlighted]
    parts = [_table([_cells(row, ranking) for row in shown], form)]
    if apart:
        parts += ["", "not ranked, since they cover too little:", "", _table([_cells(r, ranking) for r in apart], form)]
    if ranking.indicative:
        parts += ["", render_indicative(ranking, form)]
    notes = footnotes(ranking)
    return "\n".join([*parts, "", *([f"- {note}" for note in notes] if form == "markdown" else notes)])


def render_indicative(ranking: Ranking, form: Format) -> str:
    """The scores that stand beside the pool's and are not ranked, with what differs."""
    return f"indicative, not ranked:\n\n{_table(_indicative(ranking), form)}"


def record(row: RankingRow) -> dict[str, Any]:
    """A row as plain types: what `--format json` lists."""
    return {
        **{_KEYS.get(name, name): value for name, value in asdict(row).items()},
        "z": dict(row.z),
        "interval": list(row.interval) if row.interval else None,
        "settings_interval": list(row.settings_interval) if row.settings_interval else None,
    }


def footnotes(ranking: Ranking) -> list[str]:
    """What the numbers are, what they leave open, and what is wrong in print."""
    applied = [str(note) for note in ranking.errata if note.applied]
    others = [note.number for note in ranking.errata if not note.applied]
    more = [f"errata that move nothing here: {', '.join(others)}; `bob pool show {ranking.pool}` has them in full"]
    return [*_legend(ranking), *ranking.notes, *applied, *(more if others else [])]


def cell(text: object) -> str:
    """Text that stays what it is in a Markdown table: no pipe, no line break, no tag, no emphasis.

    >>> cell("a|b <i>")
    'a\\\\|b &lt;i&gt;'
    """
    plain = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{c}" if c in "\\|`*[]" else c for c in plain)


def _legend(ranking: Ranking) -> Iterator[str]:
    if ranking.scale == "mini":
        yield "mini scale: shows that things work and gates changes, no verdict on backbones"
    measures = ranking.rows[0].measures if ranking.rows else 0
    yield (
        f"z: standard deviations above the mean of pool {ranking.pool} ({ranking.pool_hash[:8]}); "
        f"{ranking.columns[0] if ranking.columns else 'the ranking'} is over {measures} "
        f"ranked measure{'s' * (measures != 1)}"
    )
    if empty := sum(not row.measured and not row.highlighted for row in ranking.rows):
        yield f"{empty} more backbone{'s' * (empty != 1)} of the pool have no value here"
    if ranking.has_example_intervals:
        yield "rank [a-b]: the places in 95% of the draws of test examples"
    if ranking.has_settings_intervals:
        yield "z [a, b]: the mean z in 95% of the draws of datasets"
    if any(row.group for row in ranking.rows):
        yield "group: not told from the first of the group, one-sided at 5%"


def _table(rows: Sequence[dict[str, str]], form: Format) -> str:
    if form == "markdown":
        escaped = [{**row, "backbone": cell(row["backbone"])} for row in rows]
        return tabulate(escaped, headers="keys", tablefmt="github", disable_numparse=True)
    return tabulate(rows, headers="keys", tablefmt="simple", disable_numparse=True)


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().rstrip("\n")


def _plain(row: RankingRow, columns: Sequence[str]) -> dict[str, Any]:
    """A row for CSV, in full precision."""
    low, high = row.interval or (None, None)
    z_low, z_high = row.settings_interval or (None, None)
    return {
        "rank": row.rank,
        "rank_low": low,
        "rank_high": high,
        "backbone": row.backbone,
        "title": row.title,
        **{f"z_{name}": row.z[name] for name in columns},
        "z_low": z_low,
        "z_high": z_high,
        "median_z": row.median_z,
        "iqm_z": row.iqm_z,
        "mean_rank": row.mean_rank,
        "win_rate": row.win_rate,
        "group": row.group,
        "coverage": row.coverage,
        "apart": row.below_min_coverage,
        "own": row.highlighted,
    }


def _cells(row: RankingRow, ranking: Ranking) -> dict[str, str]:
    """A row as a person reads it; uncertainties that say nothing here have no column."""
    twin = f" = {row.member}" if row.highlighted and row.member not in ("", row.backbone) else ""
    first, *others = ranking.columns or ("",)
    return {
        "": MARK if row.highlighted else "",
        "rank": ("–" if row.rank is None else str(row.rank))
        + (f" [{row.interval[0]}-{row.interval[1]}]" if row.interval and row.rank else ""),
        "backbone": row.title + twin,
        first: _signed(row.z.get(first)),
        **({"[95%]": _span(row.settings_interval)} if ranking.has_settings_intervals else {}),
        **{name: _signed(row.z[name]) for name in others},
        "mean rank": "–" if row.mean_rank is None else f"{row.mean_rank:.1f}",
        "wins": "–" if row.win_rate is None else f"{row.win_rate:.0%}",
        **({"group": str(row.group or "–")} if any(r.group for r in ranking.rows) else {}),
        "coverage": f"{row.measured}/{row.measures}",
    }


def _indicative(ranking: Ranking) -> list[dict[str, str]]:
    return [
        {
            "backbone": found.backbone,
            "setting": found.score.setting,
            "metric": found.score.metric,
            "value": f"{found.score.value:.4g}",
            "z": _signed(found.z),
            "what differs": found.why,
        }
        for found in ranking.indicative
    ]


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}"


def _span(values: tuple[float, float] | None) -> str:
    return "–" if values is None else f"[{values[0]:+.2f}, {values[1]:+.2f}]"
