"""How fast rankings and reports are, beside public code in the same run: `python benchmarks/ranking.py`.

- `bob rank --pool paper` and `bob report --pool paper` as whole processes (bars: 1.5 s and 5 s), beside a process that
  only imports pandas and SciPy's statistics;
- 1,000 backbones x 100 settings with 1,000 bootstrap draws (bar: 5 s), beside a plain NumPy and SciPy loop that gives
  the rank intervals and nothing else.
"""

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.paired import in_turn, spread, timed
from bob_gauntlet.pools.folder import BackboneRow
from bob_gauntlet.pools.pool import Pool
from bob_gauntlet.ranking.ranking import RankingStatistics
from bob_gauntlet.ranking.score_table import ScoredBackbone, ScoreTable
from bob_gauntlet.scores.score import Score
from bob_gauntlet.stats.zscores import reference

BACKBONES, SETTINGS, DRAWS, REPEATS = 1000, 100, 1000, 5
FEW = 100
"""Draws of the plain loop; its time grows with their number."""

CLIP = "vit_base_patch16_clip_224.laion2b"
BOB = [sys.executable, "-m", "bob_gauntlet.cli"]


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        page = [
            "report",
            "--pool",
            "paper",
            "--backbone",
            "vit_base_patch16_clip_224.laion2b",
            "-o",
            f"{folder}/r.html",
        ]
        commands = {
            "import pandas, scipy.stats": [sys.executable, "-c", "import pandas, scipy.stats"],
            "bob rank --pool paper": [*BOB, "rank", "--pool", "paper"],
            "bob analyse all --pool paper": [*BOB, "analyse", "all", "--pool", "paper"],
            "bob report --pool paper": [*BOB, *page],
        }
        found = in_turn({name: lambda c=command: run(c) for name, command in commands.items()}, REPEATS)  # type: ignore[misc]
        imports = statistics.median(found["import pandas, scipy.stats"])
        for name, seconds in found.items():
            ratio = statistics.median(seconds) / imports
            print(f"{name:30} {spread(seconds)} s, {ratio:.1f} x the imports alone")
        timing = [sys.executable, "-X", "importtime", *BOB[1:], "rank", "--pool", "paper"]
        loaded = subprocess.run(timing, capture_output=True, text=True, check=True).stderr.splitlines()
        print(f"torch imported by bob rank: {any(line.endswith(' torch') for line in loaded)}")
        print(f"size of the page: {Path(folder, 'r.html').stat().st_size / 1e6:.2f} MB")
    large()


def large() -> None:
    """The large pool, ours and by the plain loop."""
    calls = {"ours, the whole ranking": ours, "a plain loop, rank intervals only": plain}
    found = in_turn(calls, REPEATS)
    found["a plain loop, rank intervals only"] = [s * DRAWS / FEW for s in found["a plain loop, rank intervals only"]]
    mine = statistics.median(found["ours, the whole ranking"])
    print(f"{BACKBONES} backbones x {SETTINGS} settings, {DRAWS} draws:")
    for name, seconds in found.items():
        print(f"  {name:34} {spread(seconds)} s, {statistics.median(seconds) / mine:.1f} x ours")


def ours() -> float:
    """Ranks, intervals over examples and datasets, groups, wins, medians, and how stable the top is."""
    made = score_table()
    return timed(lambda: RankingStatistics(made, None).build_ranking())[0]


def plain() -> float:
    """FEW draws as one would write them: noise, z-scores, their mean, scipy's ranks, numpy's percentiles."""
    made = score_table()
    values, mean, std = made.values, made.values.mean(axis=0), made.values.std(axis=0)
    rng = np.random.default_rng(0)

    def loop() -> object:
        drawn = [rankdata(-zscores(rng, values, mean, std).mean(axis=1), method="min") for _ in range(FEW)]
        return np.percentile(drawn, [2.5, 97.5], axis=0)

    return timed(loop)[0]


def zscores(rng: np.random.Generator, values: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Of one draw."""
    return np.asarray((values + 0.5 * rng.standard_normal(values.shape) - mean) / std)


def score_table() -> ScoreTable:
    """A made-up pool of every backbone, with a standard error on each value."""
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
    found = ScoreTable(pool, backbones, measures)
    # the settings are made up, so their task and dataset are in no table
    found.__dict__.update(tasks=("Cls",) * SETTINGS, sources=tuple(f"dataset{i}" for i in range(SETTINGS)))
    return found


def run(command: list[str]) -> float:
    """Seconds of a whole process."""
    return timed(lambda: subprocess.run(command, check=True, capture_output=True))[0]


if __name__ == "__main__":
    main()
