"""A ranking as text: a table for the terminal, Markdown, CSV or JSON."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, Literal

from tabulate import tabulate

from bob_gauntlet.ranking.ranking import Ranking, RankingRow
from bob_gauntlet.ranking.score_table import MINI_SCALE_NOTE

Format = Literal["table", "json", "csv", "markdown"]
MARK = "►"
"""Shown in front of the user's backbones."""


_RECORD_KEYS = {"below_min_coverage": "apart", "highlighted": "own"}
"""Fields of a row whose key in JSON has another name, so that files written earlier stay readable."""


def render(ranking: Ranking, form: Format) -> str:
    """Return the ranking as a table for the terminal, JSON, CSV or Markdown."""
    if form == "json":
        return json.dumps([ranking_record(row) for row in ranking.rows], indent=1, ensure_ascii=False)
    if form == "csv":
        return _format_csv([_csv_row(row, ranking.columns) for row in ranking.rows])
    main_rows = [row for row in ranking.rows if (row.measured and not row.below_min_coverage) or row.highlighted]
    separate_rows = [row for row in ranking.rows if row.below_min_coverage and not row.highlighted]
    parts = [_format_table([_table_row(row, ranking) for row in main_rows], form)]
    if separate_rows:
        table = _format_table([_table_row(row, ranking) for row in separate_rows], form)
        parts += ["", "not ranked, because they cover too few measures:", "", table]
    if ranking.indicative:
        parts += ["", render_indicative(ranking, form)]
    notes = collect_footnotes(ranking)
    return "\n".join([*parts, "", *([f"- {note}" for note in notes] if form == "markdown" else notes)])


def render_indicative(ranking: Ranking, form: Format) -> str:
    """Return a table of the indicative scores, which are not ranked, with the reason for each."""
    return f"indicative, not ranked:\n\n{_format_table(_indicative_rows(ranking), form)}"


def ranking_record(row: RankingRow) -> dict[str, Any]:
    """Return a row of the ranking as plain types, as `--format json` lists it."""
    return {
        **{_RECORD_KEYS.get(name, name): value for name, value in asdict(row).items()},
        "z": dict(row.z),
        "interval": list(row.interval) if row.interval else None,
        "settings_interval": list(row.settings_interval) if row.settings_interval else None,
    }


def collect_footnotes(ranking: Ranking) -> list[str]:
    """Collect the notes under a ranking: what its numbers mean, its warnings, and the errata of published scores."""
    applied = [str(erratum) for erratum in ranking.errata if erratum.applied]
    others = [erratum.number for erratum in ranking.errata if not erratum.applied]
    more = [f"errata that change no score here: {', '.join(others)}; `bob pool show {ranking.pool}` explains them"]
    return [*_legend_lines(ranking), *ranking.notes, *applied, *(more if others else [])]


def escape_cell(text: object) -> str:
    """Escape text for a cell of a Markdown table: pipes, line breaks, tags and emphasis lose their meaning.

    >>> escape_cell("a|b <i>")
    'a\\\\|b &lt;i&gt;'
    """
    plain = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{c}" if c in "\\|`*[]" else c for c in plain)


def _legend_lines(ranking: Ranking) -> Iterator[str]:
    """Yield a line for each column whose meaning is not obvious."""
    if ranking.scale == "mini":
        yield MINI_SCALE_NOTE
    measures = ranking.rows[0].measures if ranking.rows else 0
    yield (
        f"z: standard deviations above the mean of pool {ranking.pool} ({ranking.pool_hash[:8]}); "
        f"{ranking.columns[0] if ranking.columns else 'the ranking'} is the mean z over {measures} "
        f"ranked measure{'s' * (measures != 1)}"
    )
    if empty := sum(not row.measured and not row.highlighted for row in ranking.rows):
        yield f"{empty} more backbone{'s' * (empty != 1)} of the pool {'have' if empty != 1 else 'has'} no score here"
    if ranking.has_example_intervals:
        yield "rank [a-b]: the ranks that it may have with other test images (95% for each backbone)"
    if ranking.has_settings_intervals:
        yield "[95%]: 95% interval of the mean z with other datasets (Student's t)"
    if any(row.group for row in ranking.rows):
        yield (
            "group: not told apart from the first backbone of the group (all pairs tested, at 5% for the whole table)"
        )


def _format_table(rows: Sequence[dict[str, str]], form: Format) -> str:
    if form == "markdown":
        escaped = [{**row, "backbone": escape_cell(row["backbone"])} for row in rows]
        return tabulate(escaped, headers="keys", tablefmt="github", disable_numparse=True)
    return tabulate(rows, headers="keys", tablefmt="simple", disable_numparse=True)


def _format_csv(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().rstrip("\n")


def _csv_row(row: RankingRow, columns: Sequence[str]) -> dict[str, Any]:
    """Return a row of the ranking for CSV, in full precision."""
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


def _table_row(row: RankingRow, ranking: Ranking) -> dict[str, str]:
    """Return a row of the ranking for a reader. Intervals and groups that the ranking lacks have no column."""
    same_member = f" = {row.member}" if row.highlighted and row.member not in ("", row.backbone) else ""
    main, *others = ranking.columns or ("",)
    return {
        "": MARK if row.highlighted else "",
        "rank": ("–" if row.rank is None else str(row.rank))
        + (f" [{row.interval[0]}-{row.interval[1]}]" if row.interval and row.rank else ""),
        "backbone": row.title + same_member,
        main: _format_signed(row.z.get(main)),
        **({"[95%]": _format_interval(row.settings_interval)} if ranking.has_settings_intervals else {}),
        **{name: _format_signed(row.z[name]) for name in others},
        "mean rank": "–" if row.mean_rank is None else f"{row.mean_rank:.1f}",
        "wins": "–" if row.win_rate is None else f"{row.win_rate:.0%}",
        **({"group": str(row.group or "–")} if any(each.group for each in ranking.rows) else {}),
        "coverage": f"{row.measured}/{row.measures}",
    }


def _indicative_rows(ranking: Ranking) -> list[dict[str, str]]:
    return [
        {
            "backbone": indicative.backbone,
            "setting": indicative.score.setting,
            "metric": indicative.score.metric,
            "value": f"{indicative.score.value:.4g}",
            "z": _format_signed(indicative.z),
            "what differs": indicative.why,
        }
        for indicative in ranking.indicative
    ]


def _format_signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}"


def _format_interval(bounds: tuple[float, float] | None) -> str:
    return "–" if bounds is None else f"[{bounds[0]:+.2f}, {bounds[1]:+.2f}]"
