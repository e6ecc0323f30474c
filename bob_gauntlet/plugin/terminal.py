"""The output of a session: its header, the scores, the ranking, and the outcome of every setting."""

import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version

from bob_gauntlet import __version__
from bob_gauntlet.datasets.leaks import leak_lines
from bob_gauntlet.errors import named
from bob_gauntlet.plugin.outcome import ItemOutcome
from bob_gauntlet.plugin.progress_bar import duration
from bob_gauntlet.plugin.session import Session, uses_gpus
from bob_gauntlet.ranking import selection
from bob_gauntlet.ranking.ranking import Ranking
from bob_gauntlet.scores import quietness
from bob_gauntlet.scores.score import METRICS, Score
from bob_gauntlet.stats.clustered import student_t_quantile
from bob_gauntlet.stats.standard_error import degrees_of_freedom

Section = tuple[str, list[str]]
"""A heading and its lines."""


def header(session: Session) -> list[str]:
    """Return the lines that say what is being run, on what, and where the results go."""
    options, config = session.options, session.workspace.config
    names = ", ".join(spec.name for spec in session.specs)
    restrictions = {
        f"limit {config.limit}": config.limit is not None,
        f"{config.max_steps} steps of training": config.max_steps is not None,
        f"{len(config.seeds)} seeds": len(config.seeds) > 1,
        "the original's fidelity": config.fidelity == "paper",
    }
    how = ", ".join([f"{config.scale} scale", *(text for text, applies in restrictions.items() if applies)])
    stored = len(session.workspace.stored)
    # this process measures nothing where its workers have the GPUs
    device = "the workers' GPUs" if uses_gpus(options) and config.device == "cpu" else config.device
    return [
        f"bob-gauntlet {__version__}: {names} at {how}, on {device} (torch {version('torch')}, timm {version('timm')})",
        f"store: {options.store} ({stored} scores), cache: {options.cache}, pool: {options.pool}",
    ]


def summary(session: Session) -> Iterator[Section]:
    """Yield the sections at the end of a session: warnings and scores, then ranking and counts."""
    if warnings := session.warnings.lines():
        yield "warnings of bob-gauntlet", warnings
    if not session.outcomes and not session.problems:
        return
    if session.scores:
        yield "scores", list(score_lines(session))
    yield "ranking", [*ranking_lines(session), *count_lines(session)]


def score_lines(session: Session) -> Iterator[str]:
    """Yield a line a setting, with every metric and its standard error; then what a reader should be warned about."""
    width = max(len(outcome.setting) for outcome in session.outcomes.values())
    for outcome in sorted(session.outcomes.values(), key=lambda o: o.backbone):
        if outcome.scores:
            origin = "from store" if outcome.outcome == "store" else "measured"
            text = "  ".join(value_text(score) for score in outcome.scores)
            partial = next((f", {score.partial}" for score in outcome.scores if score.partial), "")
            yield f"{outcome.backbone}  {outcome.setting:{width}}  {text}  ({origin}{partial})"
    for score in session.scores:
        unreadable = score.provenance.get("unreadable_images", {})
        for role, count in unreadable.items() if isinstance(unreadable, dict) else ():
            yield f"! {score.setting}: {count} images of {role} cannot be read and were replaced by grey images"
        if not_finite := score.provenance.get("not_finite_images"):
            yield f"! {score.setting} {score.metric}: NaN or infinite logits of {not_finite} images count as wrong"
        if near_chance(score):
            yield f"! {score.setting} {score.metric} of {score.backbone} is not significantly above chance (95%)"
    yield from (f"! {line}" for line in (*diverged_lines(session.scores), *leak_lines(session.scores)))
    for outcome in session.outcomes.values():
        yield from timing_lines(outcome.scores)


def diverged_lines(scores: Sequence[Score]) -> Iterator[str]:
    """Yield a line for each setting whose grid search had runs that diverged, with the reason of the first."""
    runs_of_setting = {(score.setting, score.backbone): score.provenance.get("runs", []) for score in scores}
    for (setting, backbone), runs in runs_of_setting.items():
        reasons = [str(run["diverged"]) for run in runs if "diverged" in run]
        if reasons:
            yield f"{setting} of {backbone}: {len(reasons)} of {len(runs)} training runs diverged: {named(reasons, 1)}"


def timing_lines(scores: Sequence[Score]) -> Iterator[str]:
    """Yield a line for all metrics that were timed together: how quiet the machine was; then where it was not.

    >>> timing = {"threads": 1, "spread": 0.021, "load": 1.0, "cores": 2}
    >>> score = Score(setting="efficiency@noise", metric="latency_ratio", task="Eff", value=0.5, backbone="x",
    ...     provenance={"timing": timing})
    >>> list(timing_lines([score]))
    ['efficiency@noise of x: latency_ratio on 1 thread: spread of repeats 2%, load 1.0 on 2 cores']
    """
    timed_together: dict[str, list[Score]] = {}
    for score in scores:
        if text := quietness.describe(score.provenance.get("timing")):
            timed_together.setdefault(text, []).append(score)
    for text, of_text in timed_together.items():
        metrics = ", ".join(score.metric for score in of_text)
        yield f"{of_text[0].setting} of {of_text[0].backbone}: {metrics} {text}"
    noisy = [score for score in scores if score.not_quiet]
    if noisy:
        metrics = ", ".join(score.metric for score in noisy)
        command = quietness.rerun(noisy[0].setting, noisy[0].backbone, noisy[0].scale)
        yield f"! the machine was not quiet for {metrics}; run it again alone: {command}"


def value_text(score: Score) -> str:
    """Return a value with its unit, and its standard error where there is one.

    >>> value_text(Score(setting="knn@photos", metric="top1", task="Cls", value=80.123, backbone="x"))
    'top1 80.1%'
    """
    metric = METRICS[score.metric]
    digits = {"%": 1, "": 3, "images/s": 0, "MiB": 0}.get(metric.unit, 2)
    error = score.provenance.get("stderr")
    spread = f" ± {error:.{digits}f}" if error is not None else ""
    unit = metric.unit if metric.unit == "%" else f" {metric.unit}" * bool(metric.unit)
    return f"{score.metric} {score.value:.{digits}f}{spread}{unit}"


def near_chance(score: Score) -> bool:
    """Tell whether the 95% interval of a score (Student's t) reaches down to what guessing gives."""
    chance, error = score.provenance.get("chance"), score.provenance.get("stderr")
    if chance is None or error is None:
        return False
    half_width = float(student_t_quantile(0.975, degrees_of_freedom(score.provenance))) * error
    return score.value - chance < half_width


def ranking_lines(session: Session) -> list[str]:
    """Return the ranking table, or the reason why there is none."""
    if session.ranking_statistics is None:
        return ["No ranking: nothing was measured." if session.pool else "No ranking: --bob-pool=none."]
    ranking = session.ranking_statistics.build_ranking()
    if not ranking.measures:
        return _without_ranked_measures(ranking)
    from bob_gauntlet.report.layout import render

    return render(ranking, "table").splitlines()


def _without_ranked_measures(ranking: Ranking) -> list[str]:
    """Return the reason why nothing is ranked, and the scores that are shown beside the pool."""
    lines = [f"No ranking: none of the measured metrics is ranked in pool {ranking.pool}.", *ranking.notes]
    if ranking.indicative:
        from bob_gauntlet.report.layout import render_indicative

        lines += ["", *render_indicative(ranking, "table").splitlines()]
    return lines


def count_lines(session: Session) -> Iterator[str]:
    """Yield how many settings were measured, read, skipped and failed; the last two with their reasons."""
    outcomes = list(session.outcomes.values())
    by_kind = {
        kind: [outcome for outcome in outcomes if outcome.outcome == kind]
        for kind in ("measured", "store", "skipped", "failed")
    }
    yield ""
    plural = "s" * (len(by_kind["measured"]) != 1)
    yield (
        f"measured {len(by_kind['measured'])} setting{plural}, {len(by_kind['store'])} were already in the store, "
        f"{len(by_kind['skipped'])} skipped, {len(by_kind['failed'])} failed, "
        f"in {duration(time.time() - session.started)}"
    )
    for kind in ("skipped", "failed"):
        yield from (f"{kind}: {line}" for line in by_reason(by_kind[kind]))
    yield from changed_lines(session)
    yield from session.problems


def changed_lines(session: Session) -> Iterator[str]:
    """Yield a line for every dataset whose fingerprints have changed since the same setting was scored before."""
    settings_by_change: dict[str, list[str]] = {}
    for outcome in session.outcomes.values():
        if outcome.outcome != "measured":
            continue
        old = selection.find_score_on_other_data(session.workspace.stored.values(), outcome.scores)
        if old is not None:
            dataset, date = outcome.setting.rpartition("@")[2], str(old.provenance.get("started", ""))[:10]
            change = f"{dataset} has other fingerprints than on {date}"
            settings_by_change.setdefault(change, []).append(f"{outcome.setting} of {outcome.backbone}")
    for change, settings in settings_by_change.items():
        yield f"{change}: measured again ({named(dict.fromkeys(settings), most=4)})"


def by_reason(outcomes: Sequence[ItemOutcome]) -> Iterator[str]:
    """Yield a line for every reason, with the settings that it stopped."""
    settings_by_reason: dict[str, list[str]] = {}
    for outcome in outcomes:
        settings_by_reason.setdefault(outcome.reason, []).append(f"{outcome.setting} of {outcome.backbone}")
    for reason, settings in settings_by_reason.items():
        yield f"{named(dict.fromkeys(settings), most=4)}: {reason}"
