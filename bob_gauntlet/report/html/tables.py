"""The tables of a page, ready to be written: ranking, heat map, duels, changes, settings without a score."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bob_gauntlet.pools.folder import BackboneRow
from bob_gauntlet.ranking.changes import Change
from bob_gauntlet.ranking.comparison import Comparison
from bob_gauntlet.ranking.ranking import Ranking, RankingRow
from bob_gauntlet.ranking.score_table import ScoredBackbone, ScoreTable
from bob_gauntlet.report.content import SettingOutcome
from bob_gauntlet.report.html.figures import STYLES, in_order
from bob_gauntlet.report.html.formatting import column, p_value, signed, source, tint, with_unit
from bob_gauntlet.scores.settings import TASKS
from bob_gauntlet.stats.resampling import MIN_CLUSTERS


@dataclass(frozen=True)
class Bar:
    """Mean z with its interval inside a cell, in percent of its width."""

    zero: float
    left: float
    width: float
    whisker: tuple[float, float] | None


@dataclass(frozen=True)
class RankLine:
    """A row of the ranking with what it is filtered by."""

    row: RankingRow
    about: BackboneRow
    # position among the figures' backbones
    b: int
    bar: Bar | None
    search: str


@dataclass(frozen=True)
class RankTable:
    """The ranking: ranked lines, those that cover too little, own ones without a score here; and the filters."""

    ranked: tuple[RankLine, ...]
    apart: tuple[RankLine, ...]
    without: tuple[RankLine, ...]
    # of the pool, without a score here
    empty: int
    # label -> field of BackboneRow and its values, where there are two to choose from
    filters: dict[str, tuple[str, list[str]]]


@dataclass(frozen=True)
class Cell:
    """One measure of one backbone in the heat map."""

    z: float | None
    tint: str
    tip: str
    # first of its task: a gap before it
    first: bool


@dataclass(frozen=True)
class HeatRow:
    """One backbone in the heat map."""

    b: int
    backbone: ScoredBackbone
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Heat:
    """Backbones by measures, the measures by task."""

    # task, what it is, how many columns
    tasks: tuple[tuple[str, str, int], ...]
    # (dataset, protocol, metric, first of its task, whether another metric of its setting counts for its task too)
    columns: tuple[tuple[str, str, str, bool, bool], ...]
    ranked: tuple[HeatRow, ...]
    others: tuple[HeatRow, ...]


def rank_table(ranking: Ranking, score_table: ScoreTable) -> RankTable:
    """Of every row of a ranking; `score_table` knows what the backbones are."""
    known = {backbone.name: (i, backbone.about) for i, backbone in enumerate(score_table.backbones)}
    first = next(iter(ranking.columns), "")
    spans = [row.settings_interval for row in ranking.rows if row.settings_interval]
    values = [0.0, *(z for row in ranking.rows if (z := row.z.get(first)) is not None), *(v for s in spans for v in s)]
    lines = []
    shown = [row for row in ranking.rows if row.measured or row.highlighted]
    for row in shown:
        b, about = known.get(row.backbone, (-1, BackboneRow(row.backbone, "candidate", "")))
        words = (row.title, row.backbone, about.family, about.style, about.method, about.data, about.model)
        bar = _bar(row.z.get(first), row.settings_interval, min(values), max(values))
        lines.append(RankLine(row, about, b, bar, " ".join(words).lower()))
    choices = {
        label: (field, in_order((getattr(line.about, field) for line in lines), STYLES))
        for label, field in (("Family", "family"), ("Style", "style"), ("Pretraining data", "data"))
    }
    return RankTable(
        ranked=tuple(line for line in lines if line.row.rank is not None),
        apart=tuple(line for line in lines if line.row.below_min_coverage),
        without=tuple(line for line in lines if line.row.rank is None and not line.row.below_min_coverage),
        empty=len(ranking.rows) - len(shown),
        filters={label: found for label, found in choices.items() if len(found[1]) > 1},
    )


def _bar(z: float | None, span: tuple[float, float] | None, low: float, high: float) -> Bar | None:
    """Positions on an axis from `low` to `high`."""
    if z is None or not high > low:
        return None

    def at(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2)

    whisker = (at(span[0]), at(span[1])) if span else None
    return Bar(at(0), at(min(z, 0)), round(abs(at(z) - at(0)), 2), whisker)


def heat(score_table: ScoreTable, ranking: Ranking) -> Heat:
    """The measures by task; ranked backbones in their order, then the others by name."""
    order = sorted(range(len(score_table.measures)), key=lambda j: list(TASKS).index(score_table.tasks[j]))
    starts = [k for k, j in enumerate(order) if k == 0 or score_table.tasks[j] != score_table.tasks[order[k - 1]]]
    firsts = [k in starts for k in range(len(order))]
    places = {row.backbone: place for place, row in enumerate(ranking.rows) if row.rank is not None}
    rows = {
        backbone.name: HeatRow(
            b, backbone, tuple(_cell(score_table, b, j, first=f) for j, f in zip(order, firsts, strict=True))
        )
        for b, backbone in enumerate(score_table.backbones)
        if any(measure in backbone.scores for measure in score_table.measures)
    }
    counts = Counter(score_table.tasks)
    settings = Counter((score_table.tasks[j], score_table.measures[j][0]) for j in order)
    return Heat(
        tasks=tuple((task, column(task), counts[task]) for task in TASKS if task in counts),
        columns=tuple(
            _column(
                *score_table.measures[j], first=f, twice=settings[score_table.tasks[j], score_table.measures[j][0]] > 1
            )
            for j, f in zip(order, firsts, strict=True)
        ),
        ranked=tuple(rows[name] for name in sorted(places, key=lambda n: places[n]) if name in rows),
        others=tuple(sorted((r for n, r in rows.items() if n not in places), key=lambda r: r.backbone.title)),
    )


def _column(setting: str, metric: str, *, first: bool, twice: bool) -> tuple[str, str, str, bool, bool]:
    protocol, _, dataset = setting.partition("@")
    return dataset, protocol, metric, first, twice


def _cell(score_table: ScoreTable, b: int, j: int, *, first: bool) -> Cell:
    backbone, (setting, metric) = score_table.backbones[b], score_table.measures[j]
    score = backbone.scores.get((setting, metric))
    if score is None:
        return Cell(None, "", "", first)
    z = float(score_table.z[b, j])
    lines = (
        backbone.title,
        f"{setting}, {metric} {with_unit(score.value, metric)}",
        f"z {signed(z)}",
        source(score),
    )
    return Cell(z, tint(z), "\n".join(lines), first)


def over_datasets(found: Comparison) -> str:
    """The p-value over datasets, where there are enough for one."""
    few = found.p_datasets is None or found.datasets < MIN_CLUSTERS
    return "too few datasets" if few else p_value(found.p_datasets)


def verdict(change: Change) -> str:
    """What a change comes to, in words."""
    if change.before is None or change.after is None:
        return "new" if change.before is None else "not measured now"
    if change.why_not:
        return f"not compared: {change.why_not.replace('_', ' ')}"
    return {True: "better", False: "worse", None: "unchanged"}[change.better]


def verdicts(changes: Iterable[Change]) -> str:
    """How many of each: "3 better, 1 worse"."""
    found = Counter("not compared" if change.why_not else verdict(change) for change in changes)
    known = ("better", "worse", "unchanged", "not compared", "new", "not measured now")
    return ", ".join(f"{found[name]} {name}" for name in known if found[name])


@dataclass(frozen=True)
class Unscored:
    """Settings that gave no score for one reason."""

    outcome: str
    reason: str
    # setting -> backbones
    settings: dict[str, list[str]]
    count: int


def unscored(outcomes: Sequence[SettingOutcome]) -> list[Unscored]:
    """Skipped and failed settings by reason: failures first, then the most frequent."""
    found: dict[tuple[str, str], dict[str, list[str]]] = {}
    for one in outcomes:
        if one.outcome in ("skipped", "failed"):
            found.setdefault((one.outcome, one.reason), {}).setdefault(one.setting, []).append(one.backbone)
    groups = [Unscored(*key, settings, sum(map(len, settings.values()))) for key, settings in found.items()]
    return sorted(groups, key=lambda group: (group.outcome != "failed", -group.count))


def tally(outcomes: Sequence[SettingOutcome]) -> str:
    """How many of each outcome: "12 measured, 3 read from the store, 1 failed"."""
    words = {"measured": "measured", "store": "read from the store", "skipped": "skipped", "failed": "failed"}
    found = Counter(one.outcome for one in outcomes)
    return ", ".join(f"{found[name]} {text}" for name, text in words.items() if found[name])
