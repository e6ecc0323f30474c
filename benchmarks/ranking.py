"""Time rankings and reports, and compare them with public code in the same run: `python benchmarks/ranking.py`.

- `bob rank --pool paper` and `bob report --pool paper` as whole processes (targets: 1.5 s and 5 s), against a process
  that only imports pandas and SciPy's statistics;
- 1,000 backbones x 100 settings with all tests and intervals (target: 5 s), against a plain NumPy and SciPy loop of
  1,000 bootstrap draws that computes rank intervals only.
"""

import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.paired import format_spread, run_in_turn, time_call
from bob_gauntlet.pools.folder import BackboneRow
from bob_gauntlet.pools.pool import Pool
from bob_gauntlet.ranking.ranking import RankingStatistics
from bob_gauntlet.ranking.score_table import ScoredBackbone, ScoreTable
from bob_gauntlet.scores.score import Score
from bob_gauntlet.stats.zscores import reference

BACKBONES, SETTINGS, DRAWS, REPEATS = 1000, 100, 1000, 5
PLAIN_DRAWS = 100
"""Number of draws of the plain loop; its time is scaled to DRAWS."""

CLIP = "vit_base_patch16_clip_224.laion2b"
BOB = [sys.executable, "-m", "bob_gauntlet.cli"]


def main() -> None:
    """Measure and print everything."""
    with tempfile.TemporaryDirectory() as folder:
        page = [
            "report",
            "--pool",
            "paper",
            "--backbone",
            CLIP,
            "-o",
            f"{folder}/r.html",
        ]
        commands = {
            "import pandas, scipy.stats": [sys.executable, "-c", "import pandas, scipy.stats"],
            "bob rank --pool paper": [*BOB, "rank", "--pool", "paper"],
            "bob analyse all --pool paper": [*BOB, "analyse", "all", "--pool", "paper"],
            "bob report --pool paper": [*BOB, *page],
        }
        calls = {name: partial(time_process, command) for name, command in commands.items()}
        seconds_by_command = run_in_turn(calls, REPEATS)
        imports = statistics.median(seconds_by_command["import pandas, scipy.stats"])
        for name, seconds in seconds_by_command.items():
            ratio = statistics.median(seconds) / imports
            print(f"{name:30} {format_spread(seconds)} s, {ratio:.1f} x the imports alone")
        timing = [sys.executable, "-X", "importtime", *BOB[1:], "rank", "--pool", "paper"]
        imports_log = subprocess.run(timing, capture_output=True, text=True, check=True).stderr.splitlines()
        print(f"torch imported by bob rank: {any(line.endswith(' torch') for line in imports_log)}")
        print(f"size of the HTML report: {Path(folder, 'r.html').stat().st_size / 1e6:.2f} MB")
    compare_large()


def compare_large() -> None:
    """Time a large pool, ours and the plain loop in turn."""
    calls = {"ours, the whole ranking": time_ours, "a plain loop, rank intervals only": time_plain}
    our_seconds, plain_seconds = run_in_turn(calls, REPEATS).values()
    scaled_seconds = [seconds * DRAWS / PLAIN_DRAWS for seconds in plain_seconds]
    seconds_by_name = dict(zip(calls, (our_seconds, scaled_seconds), strict=True))
    print(f"{BACKBONES} backbones x {SETTINGS} settings:")
    for name, seconds in seconds_by_name.items():
        ratio = statistics.median(seconds) / statistics.median(our_seconds)
        print(f"  {name:34} {format_spread(seconds)} s, {ratio:.1f} x ours")


def time_ours() -> float:
    """Time the whole ranking: ranks, intervals over examples and datasets, groups, wins, medians, top stability."""
    score_table = make_score_table()
    return time_call(lambda: RankingStatistics(score_table, None).build_ranking())[0]


def time_plain() -> float:
    """Time PLAIN_DRAWS draws of an obvious loop: noise, z-scores, their mean, SciPy's ranks, NumPy's percentiles."""
    score_table = make_score_table()
    values = score_table.values
    mean, std = values.mean(axis=0), values.std(axis=0)
    rng = np.random.default_rng(0)

    def loop() -> object:
        ranks = [rankdata(-draw_z(rng, values, mean, std).mean(axis=1), method="min") for _ in range(PLAIN_DRAWS)]
        return np.percentile(ranks, [2.5, 97.5], axis=0)

    return time_call(loop)[0]


def draw_z(rng: np.random.Generator, values: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Add noise to the values and return the z-scores of this draw."""
    return np.asarray((values + 0.5 * rng.standard_normal(values.shape) - mean) / std)


def make_score_table() -> ScoreTable:
    """Make an artificial pool of BACKBONES x SETTINGS values with standard errors."""
    rng = np.random.default_rng(0)
    values = rng.normal(70, 8, (BACKBONES, 1)) + rng.normal(0, 3, (BACKBONES, SETTINGS))
    measures = tuple((f"setting{i}@dataset{i}", "top1") for i in range(SETTINGS))
    names = [f"backbone{i:04d}" for i in range(BACKBONES)]
    scores = {
        name: {
            measure: Score(setting=measure[0], metric="top1", task="Cls", value=float(value), backbone=name,
                           provenance={"stderr": 0.5})
            for measure, value in zip(measures, row, strict=True)
        }
        for name, row in zip(names, values, strict=True)
    }  # fmt: skip
    references = {measure: reference(list(values[:, i])) for i, measure in enumerate(measures)}
    pool = Pool("large", "paper", Path("none"), "", tuple(names), tuple(names), references, {}, scores, {})
    backbones = tuple(
        ScoredBackbone(name, scores[name], False, name, BackboneRow(name, "candidate", name)) for name in names
    )
    score_table = ScoreTable(pool, backbones, measures)
    # the settings are artificial, so no table lists their tasks and datasets
    sources = tuple(f"dataset{i}" for i in range(SETTINGS))
    score_table.__dict__.update(tasks=("Cls",) * SETTINGS, sources=sources, cluster_sources=sources)
    return score_table


def time_process(command: list[str]) -> float:
    """Return the seconds of a whole process."""
    return time_call(lambda: subprocess.run(command, check=True, capture_output=True))[0]


if __name__ == "__main__":
    main()
