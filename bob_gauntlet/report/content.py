"""What a report says, whatever its file format: gathered once, laid out by html, markdown, layout."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from bob_gauntlet.pools.pool import Pool
from bob_gauntlet.ranking.changes import Change, changes
from bob_gauntlet.ranking.ranking import Order, Ranking
from bob_gauntlet.ranking.score_table import MIN_COVERAGE, ScoreTable
from bob_gauntlet.ranking.versus import Versus, versus
from bob_gauntlet.runtime.artifacts import Artifacts
from bob_gauntlet.scores.score import Score


@dataclass(frozen=True)
class Outcome:
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
    versus: Mapping[str, Sequence[Versus]]
    changes: tuple[Change, ...] = ()
    # what the changes are since, as the user named it
    since: str = ""
    outcomes: tuple[Outcome, ...] = ()
    # UTC, ISO 8601
    created: str = ""
    command: str = ""
    # (backbone, setting) -> test images with what is on them and what a detector found, as
    # `engine.detection.example_images` stored them
    pictures: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)


def gather(
    pool: Pool | None,
    own: Mapping[str, Sequence[Score]],
    *,
    highlight: Sequence[str] = (),
    only_measured: bool = False,
    min_coverage: float = MIN_COVERAGE,
    before: Sequence[Score] = (),
    since: str = "",
    outcomes: Sequence[Outcome] = (),
    command: str = "",
    artifacts: Artifacts | None = None,
) -> Report:
    """The content of a report on the backbones `own` (measured) and `highlight` (members of the pool)."""
    names = (*own, *highlight)
    scores = [score for found in own.values() for score in found]
    ranking = score_table = None
    against: dict[str, list[Versus]] = {}
    if pool is not None:
        scores += [score for name in highlight for score in pool.scores.get(name, {}).values()]
        score_table = ScoreTable.of(pool, own, members=True, only_measured=only_measured, highlight=highlight)
        narrow = ScoreTable.of(pool, own, only_measured=only_measured, highlight=highlight)
        order = Order(narrow, artifacts, min_coverage)
        ranking = order.ranked_table()
        against = {name: versus(order, name) for name in names if order.ranking}
    return Report(
        ranking=ranking,
        score_table=score_table,
        own=names,
        scores=tuple(scores),
        versus=against,
        changes=tuple(changes(before, scores)) if since else (),
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


def versions() -> dict[str, str]:
    """Of the packages that a score may hang on."""
    return {name: version(name) for name in ("bob-gauntlet", "torch", "timm")}
