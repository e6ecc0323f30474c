"""The content of a report, independent of its file format. html, markdown, data and layout render it."""

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
from bob_gauntlet.runtime.artifacts import ArtifactRef, Artifacts
from bob_gauntlet.runtime.packing import unpack_json
from bob_gauntlet.runtime.schema import json_schema
from bob_gauntlet.scores.pictures import PicturesDict, check_pictures
from bob_gauntlet.scores.score import Score


@dataclass(frozen=True)
class SettingOutcome:
    """Whether a session measured a setting, read it from the store, skipped it or failed, and why."""

    backbone: str
    setting: str
    outcome: str
    reason: str = ""


@dataclass(frozen=True)
class Report:
    """Everything that a report shows."""

    # the pool's candidates and the user's backbones in order; None without a pool
    ranking: Ranking | None
    # every member of the pool and the user's backbones, for the figures and the heat map; None without a pool
    score_table: ScoreTable | None
    # the names of the backbones that the report is about, in the order given
    backbones: tuple[str, ...]
    # every score of these backbones, ranked or not
    scores: tuple[Score, ...]
    # name of a backbone of the report -> its comparison with every other backbone
    versus: Mapping[str, Sequence[Comparison]]
    changes: tuple[Change, ...] = ()
    # the run that `changes` compares with, as the user named it
    since: str = ""
    outcomes: tuple[SettingOutcome, ...] = ()
    # such as "2025-01-31 12:00 UTC"
    created: str = ""
    command: str = ""
    # (backbone, setting) -> test images with annotated objects and detections, stored by
    # `engine.detection.example_images`
    pictures: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)


def gather(
    pool: Pool | None,
    own_scores: Mapping[str, Sequence[Score]],
    *,
    highlight: Sequence[str] = (),
    only_measured: bool = False,
    statistics: RankingStatistics | None = None,
    min_coverage: float = MIN_COVERAGE,
    before: Sequence[Score] = (),
    since: str = "",
    outcomes: Sequence[SettingOutcome] = (),
    command: str = "",
    artifacts: Artifacts | None = None,
) -> Report:
    """Gather the content of a report on the backbones of `own_scores` and on `highlight`, members of the pool.

    With `only_measured` the ranking covers only measures that the user's backbones have. `before` are the scores of the
    run that `since` names. `statistics` are those of the same ranking, if they exist; they save a second computation.
    """
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
        backbones=names,
        scores=tuple(scores),
        versus=_compare_each(statistics, names) if statistics else {},
        changes=tuple(list_changes(before, scores)) if since else (),
        since=since,
        outcomes=tuple(outcomes),
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        command=command,
        pictures=_load_pictures(scores, artifacts) if artifacts else {},
    )


def _compare_each(statistics: RankingStatistics, names: Sequence[str]) -> dict[str, Sequence[Comparison]]:
    """Return name -> its comparison with every other backbone; empty if no measure is ranked."""
    return {name: compare_with_others(statistics, name) for name in names if statistics.measure_indices}


def _load_pictures(scores: Sequence[Score], artifacts: Artifacts) -> dict[tuple[str, str], Mapping[str, Any]]:
    """Load the pictures that the scores refer to; pictures that are no longer stored are left out."""
    pictures: dict[tuple[str, str], Mapping[str, Any]] = {}
    for score in scores:
        reference = score.provenance.get("pictures")
        schema = json_schema(PicturesDict, check_pictures)
        arrays = ArtifactRef.from_dict(reference).read(artifacts, schema) if reference else None
        if arrays is not None:
            pictures[score.backbone, score.setting] = unpack_json(arrays["json"])
    return pictures
