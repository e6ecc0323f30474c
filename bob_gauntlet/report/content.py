"""What a report says, whatever its file format: gathered once, laid out by html, markdown, layout."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from bob_gauntlet.pools.pool import Pool
from bob_gauntlet.ranking.changes import Change, list_changes
from bob_gauntlet.ranking.comparison import Comparison, compare_with_others
from bob_gauntlet.ranking.ranking import Ranking, RankingStatistics
from bob_gauntlet.ranking.score_table import MIN_COVERAGE, ScoreTable
from bob_gauntlet.runtime.artifacts import Artifacts
from bob_gauntlet.scores.score import Score


@dataclass(frozen=True)
class SettingOutcome:
    """What became of a setting of a session: measured, read from the store, skipped or failed, and why."""

    backbone: str
    setting: str
    outcome: str
    reason: str = ""


@dataclass(frozen=True)
class Report:
    """Everything that a page shows."""

    # candidates and own backbones in order; None where there is no pool
    ranking: Ranking | None
    # every member of the pool and the own backbones, by measures: for the figures and the heat map
    score_table: ScoreTable | None
    # the names of the backbones that the report is about, in the order given
    own: tuple[str, ...]
    # every score of theirs, ranked or not
    scores: tuple[Score, ...]
    # own backbone -> against each other one
    versus: Mapping[str, Sequence[Comparison]]
    changes: tuple[Change, ...] = ()
    # what the changes are since, as the user named it
    since: str = ""
    outcomes: tuple[SettingOutcome, ...] = ()
    # UTC, ISO 8601
    created: str = ""
    command: str = ""
    # (backbone, setting) -> test images with what is on them and what a detector found, as
    # `engine.detection.example_images` stored them
    pictures: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)


def gather(
    pool: Pool | None,
    own_scores: Mapping[str, Sequence[Score]],
    *,
    highlight: Sequence[str] = (),
    only_measured: bool = False,
    statistics: RankingStatistics | None = None,  # of the same backbones in the same pool; saves a second bootstrap
    min_coverage: float = MIN_COVERAGE,
    before: Sequence[Score] = (),
    since: str = "",
    outcomes: Sequence[SettingOutcome] = (),
    command: str = "",
    artifacts: Artifacts | None = None,
) -> Report:
    """Gather the content of a report on the backbones of `own_scores` and on `highlight`, members of the pool."""
    names = (*own_scores, *highlight)
    scores = [score for scores_of_one in own_scores.values() for score in scores_of_one]
    score_table = None
    if pool is not None:
        scores += [score for name in highlight for score in pool.scores.get(name, {}).values()]
        build = partial(ScoreTable.from_pool, pool, own_scores, only_measured=only_measured)
        score_table = build(members=True, highlighted_members=highlight)
        statistics = statistics or RankingStatistics(build(highlighted_members=highlight), artifacts, min_coverage)
    return Report(
        ranking=statistics.build_ranking() if statistics else None,
        score_table=score_table,
        own=names,
        scores=tuple(scores),
        versus={name: compare_with_others(statistics, name) for name in names if statistics.measure_indices}
        if statistics
        else {},
        changes=tuple(list_changes(before, scores)) if since else (),
        since=since,
        outcomes=tuple(outcomes),
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        command=command,
        pictures=_pictures(scores, artifacts) if artifacts else {},
    )


def _pictures(scores: Sequence[Score], artifacts: Artifacts) -> dict[tuple[str, str], Mapping[str, Any]]:
    """Those that scores say where they are, and that are still there."""
    found = {}
    for score in scores:
        where = score.provenance.get("pictures")
        kept = artifacts.peek(where["kind"], where["key"]) if where else None
        if kept is not None:
            found[score.backbone, score.setting] = json.loads(kept["json"].tobytes())
    return found
