"""The tables of a page: ranking, heat map, pairwise comparisons, changes, settings without a score."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bob_gauntlet.pools.folder import BackboneRow
from bob_gauntlet.ranking.changes import Change
from bob_gauntlet.ranking.comparison import Comparison
from bob_gauntlet.ranking.ranking import Ranking, RankingRow
from bob_gauntlet.ranking.score_table import ScoredBackbone, ScoreTable
from bob_gauntlet.report.content import SettingOutcome
from bob_gauntlet.report.html.figures import STYLES, sort_known_first
from bob_gauntlet.report.html.formatting import (
    describe_column,
    describe_source,
    format_p_value,
    format_signed,
    format_with_unit,
    tint_class,
)
from bob_gauntlet.scores.settings import TASKS
from bob_gauntlet.stats.clustered import MIN_CLUSTERS


@dataclass(frozen=True)
class ZBar:
    """The bar of a mean z and its interval inside a cell, in percent of the bar area's width."""

    zero: float
    left: float
    width: float
    whisker: tuple[float, float] | None


@dataclass(frozen=True)
class RankingTableRow:
    """A row of the ranking, with the bar of its mean z and the values that the page filters by."""

    row: RankingRow
    about: BackboneRow
    # index in the figures' list of backbones, -1 for a backbone that is not in it
    backbone_index: int
    bar: ZBar | None
    search_text: str


@dataclass(frozen=True)
class RankingTable:
    """The ranked rows, the rows with too little coverage, the user's backbones without a score here, and filters."""

    ranked: tuple[RankingTableRow, ...]
    low_coverage: tuple[RankingTableRow, ...]
    without_score: tuple[RankingTableRow, ...]
    # number of the pool's backbones without a score here
    hidden: int
    # label -> field of BackboneRow and its values; only fields with at least two values
    filters: dict[str, tuple[str, list[str]]]


@dataclass(frozen=True)
class HeatMapCell:
    """One measure of one backbone in the heat map."""

    z: float | None
    tint: str
    tip: str
    # whether it is the first one of its task, which has a gap before it
    first: bool


@dataclass(frozen=True)
class HeatMapRow:
    """One backbone in the heat map."""

    backbone_index: int
    backbone: ScoredBackbone
    cells: tuple[HeatMapCell, ...]


@dataclass(frozen=True)
class HeatMapColumn:
    """One measure in the heat map."""

    dataset: str
    protocol: str
    metric: str
    # whether it is the first one of its task, which has a gap before it
    first: bool
    # whether the task has several metrics of this setting, so that the heading names the metric
    names_metric: bool


@dataclass(frozen=True)
class HeatMap:
    """The z-scores of backbones (rows) on measures (columns); the measures are grouped by task."""

    # (task, description, number of columns)
    tasks: tuple[tuple[str, str, int], ...]
    columns: tuple[HeatMapColumn, ...]
    ranked: tuple[HeatMapRow, ...]
    others: tuple[HeatMapRow, ...]


def build_ranking_table(ranking: Ranking, score_table: ScoreTable) -> RankingTable:
    """Build the table of a ranking; `score_table` describes its backbones."""
    known = {backbone.name: (i, backbone.about) for i, backbone in enumerate(score_table.backbones)}
    main = next(iter(ranking.columns), "")
    intervals = [row.settings_interval for row in ranking.rows if row.settings_interval]
    means = [z for row in ranking.rows if (z := row.z.get(main)) is not None]
    bounds = [0.0, *means, *(bound for interval in intervals for bound in interval)]
    shown = [row for row in ranking.rows if row.measured or row.highlighted]
    rows = []
    for row in shown:
        index, about = known.get(row.backbone, (-1, BackboneRow(row.backbone, "candidate", "")))
        words = (row.title, row.backbone, about.family, about.style, about.method, about.data, about.model)
        bar = _build_bar(row.z.get(main), row.settings_interval, min(bounds), max(bounds))
        rows.append(RankingTableRow(row, about, index, bar, " ".join(words).lower()))
    filters = {
        label: (field, sort_known_first((getattr(each.about, field) for each in rows), STYLES))
        for label, field in (("Family", "family"), ("Style", "style"), ("Pretraining data", "data"))
    }
    return RankingTable(
        ranked=tuple(each for each in rows if each.row.rank is not None),
        low_coverage=tuple(each for each in rows if each.row.below_min_coverage),
        without_score=tuple(each for each in rows if each.row.rank is None and not each.row.below_min_coverage),
        hidden=len(ranking.rows) - len(shown),
        filters={label: (field, values) for label, (field, values) in filters.items() if len(values) > 1},
    )


def _build_bar(z: float | None, interval: tuple[float, float] | None, low: float, high: float) -> ZBar | None:
    """Build the bar of `z` and its interval on an axis from `low` to `high`; None without a value."""
    if z is None or not high > low:
        return None

    def position(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2)

    whisker = (position(interval[0]), position(interval[1])) if interval else None
    return ZBar(position(0), position(min(z, 0)), round(abs(position(z) - position(0)), 2), whisker)


def build_heat_map(score_table: ScoreTable, ranking: Ranking) -> HeatMap:
    """Build the heat map: measures by task; first the ranked backbones in their order, then the others by title."""
    tasks, measures = score_table.tasks, score_table.measures
    order = sorted(range(len(measures)), key=lambda j: list(TASKS).index(tasks[j]))
    first = {j: position == 0 or tasks[j] != tasks[order[position - 1]] for position, j in enumerate(order)}
    places = {row.backbone: place for place, row in enumerate(ranking.rows) if row.rank is not None}
    rows = {
        backbone.name: HeatMapRow(
            i, backbone, tuple(_build_heat_map_cell(score_table, i, j, first=first[j]) for j in order)
        )
        for i, backbone in enumerate(score_table.backbones)
        if any(measure in backbone.scores for measure in measures)
    }
    task_counts = Counter(tasks)
    setting_counts = Counter((tasks[j], measures[j][0]) for j in order)
    columns = []
    for j in order:
        setting, metric = measures[j]
        protocol, _, dataset = setting.partition("@")
        columns.append(HeatMapColumn(dataset, protocol, metric, first[j], setting_counts[tasks[j], setting] > 1))
    return HeatMap(
        tasks=tuple((task, describe_column(task), task_counts[task]) for task in TASKS if task in task_counts),
        columns=tuple(columns),
        ranked=tuple(rows[name] for name in sorted(places, key=lambda name: places[name]) if name in rows),
        others=tuple(
            sorted((row for name, row in rows.items() if name not in places), key=lambda row: row.backbone.title)
        ),
    )


def _build_heat_map_cell(score_table: ScoreTable, row: int, column: int, *, first: bool) -> HeatMapCell:
    backbone, (setting, metric) = score_table.backbones[row], score_table.measures[column]
    score = backbone.scores.get((setting, metric))
    if score is None:
        return HeatMapCell(None, "", "", first)
    z = float(score_table.z[row, column])
    lines = (
        backbone.title,
        f"{setting}, {metric} {format_with_unit(score.value, metric)}",
        f"z {format_signed(z)}",
        describe_source(score),
    )
    return HeatMapCell(z, tint_class(z), "\n".join(lines), first)


def format_dataset_p_value(comparison: Comparison) -> str:
    """Format the p-value of a comparison over datasets, or say that there are too few datasets for one."""
    too_few = comparison.p_datasets is None or comparison.datasets < MIN_CLUSTERS
    return "too few datasets" if too_few else format_p_value(comparison.p_datasets)


def describe_change(change: Change) -> str:
    """Return the direction of a change in words, or why there is none."""
    if change.before is None or change.after is None:
        return "new" if change.before is None else "not measured in this run"
    if change.why_not:
        return f"not compared: {change.why_not.replace('_', ' ')}"
    return {True: "better", False: "worse", None: "unchanged"}[change.better]


def count_changes(changes: Iterable[Change]) -> str:
    """Count the changes by direction: "3 better, 1 worse"."""
    counts = Counter("not compared" if change.why_not else describe_change(change) for change in changes)
    directions = ("better", "worse", "unchanged", "not compared", "new", "not measured in this run")
    return ", ".join(f"{counts[name]} {name}" for name in directions if counts[name])


@dataclass(frozen=True)
class UnscoredGroup:
    """Settings that have no score for the same reason."""

    outcome: str
    reason: str
    # setting -> backbones
    settings: dict[str, list[str]]
    count: int


def group_unscored(outcomes: Sequence[SettingOutcome]) -> list[UnscoredGroup]:
    """Group skipped and failed settings by reason: failures first, then the largest groups."""
    settings_by_reason: dict[tuple[str, str], dict[str, list[str]]] = {}
    for each in outcomes:
        if each.outcome in ("skipped", "failed"):
            backbones_by_setting = settings_by_reason.setdefault((each.outcome, each.reason), {})
            backbones_by_setting.setdefault(each.setting, []).append(each.backbone)
    groups = [
        UnscoredGroup(*key, settings, sum(map(len, settings.values()))) for key, settings in settings_by_reason.items()
    ]
    return sorted(groups, key=lambda group: (group.outcome != "failed", -group.count))


def count_outcomes(outcomes: Sequence[SettingOutcome]) -> str:
    """Count the settings by outcome: "12 measured, 3 read from the store, 1 failed"."""
    words = {"measured": "measured", "store": "read from the store", "skipped": "skipped", "failed": "failed"}
    counts = Counter(each.outcome for each in outcomes)
    return ", ".join(f"{counts[name]} {text}" for name, text in words.items() if counts[name])
