"""What a session says on the terminal: its header, its scores, the ranking, and what became of every setting."""

import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version

from bob_gauntlet import __version__
from bob_gauntlet.errors import named
from bob_gauntlet.plugin.progress_bar import duration
from bob_gauntlet.plugin.session import Entry, Session
from bob_gauntlet.ranking import selection
from bob_gauntlet.ranking.ranking import Ranking
from bob_gauntlet.scores.score import METRICS, Score

Section = tuple[str, list[str]]


def header(session: Session) -> list[str]:
    """What is being run, on what, and where it goes."""
    options, workspace = session.options, session.workspace
    names = ", ".join(spec.name for spec in session.specs)
    told = {
        f"limit {options.limit}": options.limit is not None,
        f"{options.max_steps} steps of training": options.max_steps is not None,
        f"{options.seeds} seeds": options.seeds > 1,
        "the original's fidelity": options.fidelity == "paper",
    }
    extra = [text for text, so in told.items() if so]
    return [
        f"bob-gauntlet {__version__}: {names} at {', '.join([f'{options.scale} scale', *extra])}, "
        f"on {workspace.device} (torch {version('torch')}, timm {version('timm')})",
        f"store: {options.store} ({len(workspace.stored)} scores), cache: {options.cache}, pool: {options.pool}",
    ]


def summary(session: Session) -> Iterator[Section]:
    """Scores, then ranking and counts."""
    if not session.entries and not session.problems:
        return
    if session.scores:
        yield "scores", list(score_lines(session))
    yield "ranking", [*ranking_lines(session), *count_lines(session)]


def score_lines(session: Session) -> Iterator[str]:
    """A line a setting: every metric with its standard error."""
    width = max(len(entry.setting) for entry in session.entries.values())
    for entry in sorted(session.entries.values(), key=lambda e: e.backbone):
        if entry.scores:
            origin = "from store" if entry.outcome == "store" else "measured"
            text = "  ".join(value_text(score) for score in entry.scores)
            yield f"{entry.backbone}  {entry.setting:{width}}  {text}  ({origin})"
    for score in session.scores:
        for role, count in score.provenance.get("unreadable_images", {}).items():
            yield f"! {score.setting}: {count} images of {role} cannot be read; grey stood for them"
        if near_chance(score):
            yield f"! {score.setting} {score.metric} of {score.backbone} is within noise of chance"


def value_text(score: Score) -> str:
    """A value with its unit, and its standard error where there is one.

    >>> value_text(Score(setting="knn@photos", metric="top1", task="Cls", value=80.123, backbone="x"))
    'top1 80.1%'
    """
    metric = METRICS[score.metric]
    places = {"%": 1, "": 3, "images/s": 0, "MiB": 0}.get(metric.unit, 2)
    error = score.provenance.get("stderr")
    spread = f" ± {error:.{places}f}" if error is not None else ""
    unit = metric.unit if metric.unit == "%" else f" {metric.unit}" * bool(metric.unit)
    return f"{score.metric} {score.value:.{places}f}{spread}{unit}"


def near_chance(score: Score) -> bool:
    """Whether a score lies within two standard errors of what guessing gives."""
    chance, error = score.provenance.get("chance"), score.provenance.get("stderr")
    return chance is not None and error is not None and score.value - chance < 2 * error


def ranking_lines(session: Session) -> list[str]:
    """The table, or why there is none."""
    if session.ranking_statistics is None:
        return ["no ranking: nothing was measured" if session.pool else "no ranking: --bob-pool=none"]
    ranking = session.ranking_statistics.build_ranking()
    if not ranking.measures:
        return _unranked(ranking)
    from bob_gauntlet.report.layout import render

    return render(ranking, "table").splitlines()


def _unranked(ranking: Ranking) -> list[str]:
    """Why nothing is ranked, and what stands beside the pool all the same."""
    lines = [f"no ranking: nothing that was measured is ranked in pool {ranking.pool}", *ranking.notes]
    if ranking.indicative:
        from bob_gauntlet.report.layout import render_indicative

        lines += ["", *render_indicative(ranking, "table").splitlines()]
    return lines


def count_lines(session: Session) -> Iterator[str]:
    """Measured, from the store, skipped and failed; the last two by reason."""
    entries = list(session.entries.values())
    by = {
        outcome: [e for e in entries if e.outcome == outcome] for outcome in ("measured", "store", "skipped", "failed")
    }
    yield ""
    plural = "s" * (len(by["measured"]) != 1)
    yield (
        f"measured {len(by['measured'])} setting{plural}, {len(by['store'])} were already in the store, "
        f"{len(by['skipped'])} skipped, {len(by['failed'])} failed, in {duration(time.time() - session.started)}"
    )
    for outcome in ("skipped", "failed"):
        yield from (f"{outcome}: {line}" for line in by_reason(by[outcome]))
    yield from changed_lines(session)
    yield from session.problems


def changed_lines(session: Session) -> Iterator[str]:
    """A line a dataset that is not what it was when the same setting was scored before."""
    found: dict[str, list[str]] = {}
    for entry in session.entries.values():
        old = (
            selection.find_score_on_other_data(session.workspace.stored.values(), entry.scores)
            if entry.outcome == "measured"
            else None
        )
        if old is not None:
            since = f"{entry.setting.rpartition('@')[2]} changed since {str(old.provenance.get('started', ''))[:10]}"
            found.setdefault(since, []).append(f"{entry.setting} of {entry.backbone}")
    yield from (f"{since}: measured again ({named(dict.fromkeys(who), most=4)})" for since, who in found.items())


def by_reason(entries: Sequence[Entry]) -> Iterator[str]:
    """Settings grouped by why."""
    reasons: dict[str, list[str]] = {}
    for entry in entries:
        reasons.setdefault(entry.reason, []).append(f"{entry.setting} of {entry.backbone}")
    for reason, who in reasons.items():
        yield f"{named(dict.fromkeys(who), most=4)}: {reason}"
