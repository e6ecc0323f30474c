"""Tests of the lines that the summary prints about scores."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bob_gauntlet.datasets.leaks import Leak
from bob_gauntlet.plugin.outcome import ItemOutcome
from bob_gauntlet.plugin.terminal import (
    _without_ranked_measures,
    by_reason,
    diverged_lines,
    near_chance,
    score_lines,
    timing_lines,
    value_text,
)
from bob_gauntlet.pools.pool import load_pool
from bob_gauntlet.ranking.ranking import rank
from bob_gauntlet.scores.score import Score


def score(metric: str, value: float, **provenance: Any) -> Score:
    """Return a score of knn@photos."""
    return Score(setting="knn@photos", metric=metric, task="Cls", value=value, backbone="x", provenance=provenance)


@pytest.mark.parametrize(("value", "near"), [(5.0, True), (8.7, True), (8.9, False), (90.0, False), (1.0, True)])
def test_within_the_interval_of_chance(value: float, near: bool) -> None:
    """A score of at most chance plus 1.96 standard errors, here 4.8% + 1.96 x 2% = 8.72%, is near chance."""
    assert near_chance(score("top1", value, chance=4.8, stderr=2.0)) == near


def test_few_clusters_make_the_interval_of_chance_wider() -> None:
    """With five clusters it is 2.776 standard errors (Student's t, 4 degrees of freedom): up to 4.8% + 5.55%."""
    few = replace(score("top1", 10.0), provenance={"chance": 4.8, "stderr": 2.0, "stderr_how": "over 5 clusters"})
    assert near_chance(few)
    assert not near_chance(replace(few, value=10.4))


def test_without_chance_or_error_nothing_is_flagged() -> None:
    """A score without a chance level, as in retrieval, or without a standard error is never near chance."""
    assert not near_chance(score("map", 0.1, stderr=2.0))
    assert not near_chance(score("top1", 0.1, chance=4.8))


def test_values_are_written_with_unit_and_error() -> None:
    """A value is written with its unit, its error, and decimal places that depend on the unit."""
    assert value_text(score("top1", 80.123, stderr=1.26)) == "top1 80.1 ± 1.3%"
    assert value_text(score("latency", 5.371)) == "latency 5.37 ms"
    assert value_text(score("latency_ratio", 0.6134)) == "latency_ratio 0.61 x"
    assert value_text(score("mrr", 0.8901)) == "mrr 0.890"


def test_images_that_count_as_wrong_for_nan_are_stated() -> None:
    """A line counts the attacked images whose logits are NaN or infinite."""
    outcomes = {"id": ItemOutcome("knn@photos", "x", "measured")}
    scores = (score("top1", 9.0, not_finite_images=3), score("top1_clean", 9.0))
    session: Any = SimpleNamespace(outcomes=outcomes, scores=scores)
    assert list(score_lines(session)) == ["! knn@photos top1: NaN or infinite logits of 3 images count as wrong"]


def test_shared_images_are_said_once_for_a_dataset() -> None:
    """Every score of a dataset names them, also one from the store; the summary has one line."""
    leak = Leak("test", "train", 1, 9, (("a.jpg", "b.jpg"),))
    scores = tuple(replace(score(metric, 50.0), provenance={"leaks": [leak.to_dict()]}) for metric in ("top1", "top5"))
    outcomes = {str(i): ItemOutcome("knn@photos", "x", "store", "", scores) for i in range(2)}
    lines = list(score_lines(SimpleNamespace(outcomes=outcomes, scores=[*scores, *scores])))  # type: ignore[arg-type]
    assert lines[2:] == [
        "! photos: 1 of 9 images of test are copies of images of train, or links to them: a.jpg is b.jpg; "
        "remove them from one role"
    ]


def test_runs_that_diverged_are_counted_once_for_a_setting() -> None:
    """A line says how many runs of the grid diverged, and why the first did; without one there is no line."""
    runs = [{"run": "a", "validation": 50.0}, {"run": "b", "diverged": "the loss (b)"}, {"run": "c", "diverged": "(c)"}]
    [line] = diverged_lines([score(metric, 9.0, runs=runs) for metric in ("top1", "top5")])
    assert line == "knn@photos of x: 2 of 3 training runs diverged: the loss (b) and 1 more"
    assert list(diverged_lines([score("top1", 9.0, runs=runs[:1]), score("top1", 9.0)])) == []


def timed(metric: str, threads: int, **record: float) -> Score:
    """Return a score of efficiency with a record of its timing."""
    timing = {"threads": threads, "spread": 0.02, "load": 1.0, "cores": 2, **record}
    return Score(
        setting="efficiency@noise", metric=metric, task="Eff", value=1.0, backbone="x", provenance={"timing": timing}
    )  # fmt: skip


def test_spread_and_load_are_printed_once_for_what_was_timed_together() -> None:
    """Metrics of one record share a line; a busy machine has one more. Scores without a record have no line."""
    scores = [
        score("top1", 80.0), timed("latency", 2, load=3.3), timed("throughput", 2, load=3.3), timed("latency_ratio", 1),
        timed("batch_ratio", 1),
    ]  # fmt: skip
    assert list(timing_lines(scores)) == [
        "efficiency@noise of x: latency, throughput on 2 threads: spread of repeats 2%, load 3.3 on 2 cores",
        "efficiency@noise of x: latency_ratio, batch_ratio on 1 thread: spread of repeats 2%, load 1.0 on 2 cores",
        "! the machine was not quiet for latency, throughput; run it again alone: pytest suites/ --backbone=x -k "
        "efficiency --bob-rerun",
    ]


def test_reasons_are_said_once() -> None:
    """A reason is printed once, with four settings and the number of the others."""
    outcomes = [ItemOutcome(f"knn@{i}", "x", "skipped", "no data") for i in range(6)]
    assert list(by_reason(outcomes)) == ["knn@0 of x, knn@1 of x, knn@2 of x, knn@3 of x and 2 more: no data"]


def test_a_sound_run_beside_the_papers_figures_is_shown() -> None:
    """A sound run is not ranked in the paper's pool; it is listed as indicative with the difference."""
    sound_score = Score(
        setting="finetune@imagenet-1k", metric="top1", task="Cls", value=84.0, backbone="mine", protocol_hash="h",
        datasets={"test": "d"}, scale="paper",
    )  # fmt: skip
    lines = _without_ranked_measures(
        rank(load_pool("paper", Path("nowhere")), {"mine": [sound_score]}, only_measured=True)
    )
    assert lines[0] == "No ranking: none of the measured metrics is ranked in pool paper."
    assert "indicative, not ranked:" in lines
    assert any(line.startswith("mine ") and "84" in line and "chosen on a validation part" in line for line in lines)
