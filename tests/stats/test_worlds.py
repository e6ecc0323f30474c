"""Ranks and tie groups in simulated worlds whose truth is known: false separations, power, and coverage.

A world has backbones, measures made from one or more sources of images, and clusters of test images in each source. The
value of a backbone on a cluster is the difficulty of the cluster, which all backbones share, plus an effect of the
cluster on the backbone, which all measures of the source share, plus noise. The score is the mean over the clusters.
`pytest -m slow -s tests/stats/test_worlds.py` prints the full table, which docs/ranking.md states.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy.special import ndtr

from bob_gauntlet.stats import pairwise, separation
from bob_gauntlet.stats.clustered import Contributions, Estimate, estimate_differences


@dataclass(frozen=True)
class World:
    """The numbers from which a world is drawn."""

    backbones: int
    measures: int
    clusters: int
    # whether all measures are made from one source of images, or each from its own
    shared: bool
    # normal values, or the share of 20 images that are classified correctly
    binary: bool = False

    @property
    def sources(self) -> list[str]:
        """The source of images of each measure."""
        return [str(0 if self.shared else measure) for measure in range(self.measures)]

    @property
    def stderr(self) -> float:
        """The true standard error of the difference of two backbones, for normal values."""
        sources = len(set(self.sources))
        return float(np.sqrt(2 * (0.5 / sources + 0.5 / self.measures) / self.clusters))

    def draw(self, strength: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw the values (measures, clusters, backbones) of backbones whose true means differ by `strength` (B,)."""
        source_of_measure = np.array(self.sources, np.int64)
        of_source = len(set(self.sources)), self.clusters
        difficulty = rng.normal(size=(*of_source, 1))
        effect = difficulty + np.sqrt(0.5) * rng.normal(size=(*of_source, self.backbones))
        noise = np.sqrt(0.5) * rng.normal(size=(self.measures, self.clusters, self.backbones))
        values = effect[source_of_measure] + noise + strength
        return rng.binomial(20, ndtr(0.8 + values)) / 20 if self.binary else values


def judge(world: World, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which backbone is better than which, the tie groups and the rank intervals that the package gives."""
    scores = values.mean(axis=1)
    everyone = np.ones(world.backbones, bool)
    by_cluster = (values - scores[:, None]) / world.clusters / world.measures
    source_of_measure = np.array(world.sources)
    shared = [
        Contributions(part, np.ones(part.shape, bool))
        for source in dict.fromkeys(world.sources)
        for part in [by_cluster[source_of_measure == source].sum(axis=0)]
    ]
    differences = estimate_differences(scores.mean(axis=0), shared, [])
    better = separation.find_better(differences, scores.T, world.sources, everyone, np.random.default_rng(0))
    groups = separation.tie_groups(scores.mean(axis=0), better)
    return better, groups, separation.rank_intervals(differences, everyone)


def share_covered(intervals: np.ndarray, strength: np.ndarray) -> float:
    """Return the share of the backbones whose interval holds every rank that it may have: equal ones share ranks."""
    lowest = 1 + (strength > strength[:, None]).sum(axis=1)
    highest = len(strength) - (strength < strength[:, None]).sum(axis=1)
    return float(np.mean((intervals[:, 0] <= lowest) & (intervals[:, 1] >= highest)))


@dataclass(frozen=True)
class Result:
    """Shares over many worlds."""

    # worlds in which two equal backbones are told apart, or different ones the wrong way round
    false: float
    # worlds in which there is more than one tie group
    several_groups: float
    # pairs of different backbones that are told apart
    power: float
    # intervals that hold the true ranks
    coverage: float


def simulate(world: World, strength: np.ndarray, worlds: int, seed: int = 0) -> Result:
    """Judge many worlds in which the true means differ by `strength`, in standard errors of a difference."""
    rng = np.random.default_rng(seed)
    results = []
    is_not_better, is_better = strength[:, None] <= strength, strength[:, None] > strength
    for _ in range(worlds):
        better, groups, intervals = judge(world, world.draw(strength * world.stderr, rng))
        power = better[is_better].mean() if is_better.any() else np.nan
        results.append((better[is_not_better].any(), groups.max() > 1, power, share_covered(intervals, strength)))
    return Result(*np.mean(results, axis=0).tolist())


def allowed(share: float, worlds: int) -> float:
    """Return three standard errors of a share in so many worlds, by the binomial distribution."""
    return float(3 * np.sqrt(share * (1 - share) / worlds))


def layouts() -> Iterator[World]:
    """Yield the worlds of the table."""
    for backbones in (2, 11):
        for clusters in (5, 21, 500):
            for measures, shared in ((1, True), (14, True), (28, True), (14, False), (28, False)):
                yield World(backbones, measures, clusters, shared)


def check_equal(world: World, worlds: int) -> Result:
    """Check false separations and coverage among equal backbones, and return them.

    Coverage is 93 to 97%, and in few worlds as far from 95% as the binomial distribution allows. Right and wrong
    answers in few clusters give wider intervals.
    """
    result = simulate(world, np.zeros(world.backbones), worlds)
    margin = max(0.02, allowed(0.05, worlds))
    assert result.several_groups <= result.false
    assert result.false <= 0.05 + allowed(0.05, worlds), world
    assert result.coverage >= 0.95 - margin, world
    assert world.binary or result.coverage <= 0.95 + margin, world
    return result


@pytest.fixture(autouse=True)
def _fewer_flips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw 500 flips of signs instead of 4,096, which is as exact and faster."""
    monkeypatch.setattr(pairwise, "FLIPS", 500)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("backbones", [2, 11])
def test_equal_backbones_are_rarely_told_apart(backbones: int, shared: bool) -> None:
    """In at most 5% of worlds: 14 measures of 21 clusters, made from one source of images or each from its own."""
    check_equal(World(backbones, 14, 21, shared), worlds=300)


@pytest.mark.parametrize("backbones", [2, 11])
def test_five_clusters_are_enough_for_the_level(backbones: int) -> None:
    """The level holds with five clusters, where an interval of 1.96 standard errors would hold 86% only."""
    check_equal(World(backbones, 1, 5, shared=True), worlds=500)


def test_a_large_gap_is_seen() -> None:
    """Of two backbones that are 4 standard errors apart the better one is told apart in more than 90% of worlds."""
    assert simulate(World(2, 14, 21, shared=True), np.array([4.0, 0.0]), worlds=200).power > 0.9


@pytest.mark.slow
def test_the_whole_table_of_worlds() -> None:
    """Print false separations, coverage and power of all worlds, within their bounds; it takes minutes.

    Power is the share of the pairs of the best backbone with another one that are told apart, where the best is 0.5, 1
    or 2 standard errors better than all others. Coverage with gaps is that of backbones which are evenly spaced.
    """
    print("\nbackbones measures sources clusters values    false coverage   power .5    1    2   coverage .5    1    2")
    for world in layouts():
        equal = check_equal(world, worlds=1000 if world.clusters < 500 else 500)
        gaps = describe_gaps(world, worlds=200) if world.clusters == 21 else ""
        print(describe(world, equal), gaps, flush=True)
        if world.clusters < 500:
            binary = replace(world, binary=True)
            print(describe(binary, check_equal(binary, worlds=500)), flush=True)


def describe(world: World, result: Result) -> str:
    """Return a line of the table."""
    sources, values = len(set(world.sources)), "binary" if world.binary else "normal"
    numbers = f"{world.backbones:9} {world.measures:8} {sources:7} {world.clusters:8} {values}"
    return f"{numbers} {result.false:8.1%} {result.coverage:8.1%}"


def describe_gaps(world: World, worlds: int) -> str:
    """Return power and coverage with gaps of 0.5, 1 and 2 standard errors."""
    best = np.eye(world.backbones)[0]
    with_best = [simulate(world, gap * best, worlds) for gap in (0.5, 1.0, 2.0)]
    spaced = [simulate(world, -gap * np.arange(world.backbones), worlds) for gap in (0.5, 1.0, 2.0)]
    for result in (*with_best, *spaced):
        assert result.coverage >= 0.93, world
        assert result.false <= 0.05 + allowed(0.05, worlds), world
    shares = [[result.power for result in with_best], [result.coverage for result in spaced]]
    return "       ".join(" ".join(f"{share:5.1%}" for share in row) for row in shares)


@pytest.mark.parametrize("backbones", [2, 11])
@pytest.mark.parametrize("sizes", [(1,) * 6, (1,) * 14, (4, 4, 2, *[1] * 18)], ids=["6", "14", "paper"])
def test_equal_backbones_are_rarely_told_apart_over_datasets(sizes: tuple[int, ...], backbones: int) -> None:
    """Backbones that are equal over all datasets differ on each: published figures, tested over datasets alone."""
    rng = np.random.default_rng(0)
    source_of_measure = np.repeat(np.arange(len(sizes)), sizes)
    nothing = Estimate(*np.full((3, backbones, backbones), np.nan))
    worlds, told_apart = 400, 0
    for _ in range(worlds):
        effects = rng.normal(size=(backbones, len(sizes)))[:, source_of_measure]
        z = effects + 0.5 * rng.normal(size=effects.shape)
        everyone = np.ones(backbones, bool)
        told_apart += separation.find_better(nothing, z, list(map(str, source_of_measure)), everyone, rng).any()
    print(f"{backbones} backbones, {len(sizes)} datasets: {told_apart / worlds:.1%} of worlds tell equal ones apart")
    assert told_apart / worlds <= 0.05 + allowed(0.05, worlds)
