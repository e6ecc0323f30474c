"""Errors of mean z-scores over other test images: the per-example values and standard errors behind a score table.

Test images of one photo are drawn together, in all measures that are made from the same collection of images and for
all backbones: a cluster is identified by its name and its collection.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bob_gauntlet.errors import named
from bob_gauntlet.pools.folder import PerExampleValues, read_examples
from bob_gauntlet.pools.pool import MeasureKey
from bob_gauntlet.ranking.score_table import ScoredBackbone, ScoreTable
from bob_gauntlet.runtime.artifacts import ArtifactRef, Artifacts, ExampleValues
from bob_gauntlet.runtime.packing import unpack_names
from bob_gauntlet.stats.clustered import Contributions, Estimate, IndependentErrors, estimate_differences
from bob_gauntlet.stats.standard_error import degrees_of_freedom
from bob_gauntlet.stats.zscores import mean_z


@dataclass(frozen=True)
class MeasureErrors:
    """Errors of the z-scores of B backbones on one measure."""

    # collection of images that its G clusters are named in, and their positions among the clusters of the collection
    source: str
    clusters: np.ndarray
    # (K,) backbones with per-example values, and (G, K) sums over the examples of a cluster of (z - mean) / N
    aligned: np.ndarray
    sums: np.ndarray
    # (B,) standard errors of the other backbones, NaN where there is none, and their degrees of freedom
    stderr: np.ndarray
    degrees: np.ndarray


class ExampleErrors:
    """Errors over test images of the backbones in a score table."""

    def __init__(self, score_table: ScoreTable, artifacts: Artifacts | None) -> None:
        """Read nothing yet. `artifacts` holds the per-example values of the user's backbones."""
        self.score_table, self.artifacts = score_table, artifacts
        # collection of images -> name of a cluster -> its position
        self.cluster_numbers: dict[str, dict[str, int]] = {}
        self._positions: dict[tuple[str, tuple[str, ...]], tuple[np.ndarray, np.ndarray]] = {}
        self._errors: dict[int, MeasureErrors] = {}

    def estimate_differences(self, measures: Sequence[int]) -> Estimate:
        """Estimate the differences (B, B) of the backbones' mean z over measures, given by their positions."""
        z = self.score_table.z[:, measures]
        with_value = [i for i, has_any in zip(measures, np.isfinite(z).any(axis=0), strict=True) if has_any]
        count = np.maximum(np.isfinite(z).sum(axis=1), 1)
        errors = [self.errors_of(index) for index in with_value]
        by_source = {source: [e for e in errors if e.source == source] for source in {e.source: None for e in errors}}
        with_clusters = [source for source in by_source if source in self.cluster_numbers]
        shared = [self._contributions(source, by_source[source], count) for source in with_clusters]
        independent = [self._independent(source, of_source, count) for source, of_source in by_source.items()]
        return estimate_differences(mean_z(z), shared, independent)

    def errors_of(self, index: int) -> MeasureErrors:
        """Return the errors of measure number `index`; they are read once."""
        if index not in self._errors:
            self._errors[index] = self._read(index)
        return self._errors[index]

    def notes(self, measures: Sequence[int], is_ranked: np.ndarray) -> list[str]:
        """Return notes on what the errors of the ranked backbones' means over `measures` rest on."""
        kinds = [self._count_kinds(index, is_ranked) for index in measures]
        sources = {self.score_table.cluster_sources[i]: None for i in measures}
        sizes = {name: len(self.cluster_numbers[name]) for name in sources if name in self.cluster_numbers}
        notes = []
        if sizes:
            counts = ", ".join(f"{name}: {count:,}" for name, count in sizes.items())
            notes.append(
                f"test images come in clusters ({counts}), which all backbones and all measures of one source share; "
                "tests and intervals use Student's t with one degree of freedom less"
            )
        if stderr_only := sum(count for _, count, _ in kinds):
            notes.append(
                f"{stderr_only} values have a standard error and no per-example values: their errors count as shared "
                "by the measures of one source, and by no two backbones"
            )
        if exact := sum(count for _, _, count in kinds):
            names = [" ".join(self.score_table.measures[i]) for i, kind in zip(measures, kinds, strict=True) if kind[2]]
            notes.append(f"{exact} values without a standard error count as exact ({named(names, most=4)})")
        return notes

    def _count_kinds(self, index: int, is_ranked: np.ndarray) -> tuple[int, int, int]:
        """Count the values of a measure: with per-example values, with a standard error only, with neither."""
        errors = self.errors_of(index)
        has_examples = np.zeros(len(is_ranked), bool)
        has_examples[errors.aligned] = True
        counted = is_ranked & np.isfinite(self.score_table.z[:, index])
        has_stderr = np.isfinite(errors.stderr) & ~has_examples
        return (
            int((counted & has_examples).sum()),
            int((counted & has_stderr).sum()),
            int((counted & ~has_examples & ~has_stderr).sum()),
        )

    def _read(self, index: int) -> MeasureErrors:
        """Return the errors of one measure, read from the pool's folder and from the artefacts."""
        measure, backbones = self.score_table.measures[index], self.score_table.backbones
        source = self.score_table.cluster_sources[index]
        zero, one = self.score_table.standardise(index, np.array([0.0, 1.0]))
        stored = read_examples(self.score_table.pool.folder, *measure)
        values = dict(self._aligned_values(measure, stored)) if stored else {}
        clusters, sums = np.empty(0, np.int64), np.empty((0, 0))
        if stored and values:
            clusters, members = self._find_clusters(source, stored.clusters)
            sums = (one - zero) * np.stack([_mean_by_cluster(v, members, len(clusters)) for v in values.values()], 1)
        provenance = [b.scores[measure].provenance if measure in b.scores else {} for b in backbones]
        stderr = np.array([p.get("stderr", np.nan) for p in provenance], np.float64) * abs(one - zero)
        stderr[list(values)] = np.nan
        return MeasureErrors(
            source, clusters, np.array(list(values), np.int64), sums, stderr,
            np.array([degrees_of_freedom(p) for p in provenance]),
        )  # fmt: skip

    def _aligned_values(self, measure: MeasureKey, stored: PerExampleValues) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (position of a backbone, its finite per-example values in the order of the pool's)."""
        for i, backbone in enumerate(self.score_table.backbones):
            values = self._values(backbone, measure, stored)
            if values is not None and np.isfinite(values).all():
                yield i, np.asarray(values, np.float64)

    def _values(self, backbone: ScoredBackbone, measure: MeasureKey, stored: PerExampleValues) -> np.ndarray | None:
        """Return per-example values in the order of the pool's; None where there are none of the same examples."""
        if measure not in backbone.scores:
            return None
        reference = backbone.scores[measure].provenance.get("examples")
        if reference is None:
            return stored.values.get(backbone.member)
        schema = ExampleValues.schema()
        arrays = ArtifactRef.from_dict(reference).read(self.artifacts, schema) if self.artifacts else None
        if arrays is None or unpack_names(arrays["ids"]) != stored.ids:
            return None
        return arrays["values"]

    def _find_clusters(self, source: str, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Return the numbers (G,) of the clusters of a measure in `source`, and which of these each example is in."""
        if (source, names) not in self._positions:
            numbers = self.cluster_numbers.setdefault(source, {})
            of_examples = np.array([numbers.setdefault(name, len(numbers)) for name in names])
            clusters, members = np.unique(of_examples, return_inverse=True)
            self._positions[source, names] = clusters, members
        return self._positions[source, names]

    def _contributions(self, source: str, errors: Sequence[MeasureErrors], count: np.ndarray) -> Contributions:
        """Return what each cluster of a source adds to the mean over `count` (B,) measures."""
        shape = len(self.cluster_numbers[source]), len(self.score_table.backbones)
        values, present = np.zeros(shape), np.zeros(shape, bool)
        for each in errors:
            cells = np.ix_(each.clusters, each.aligned)
            values[cells] += each.sums / count[each.aligned]
            present[cells] = True
        return Contributions(values, present)

    def _independent(self, source: str, errors: Sequence[MeasureErrors], count: np.ndarray) -> IndependentErrors:
        """Return the errors of the values that have a standard error only.

        They are added up as if the measures of a source were off by the same images, and no two backbones were: the
        widest of all cases. Where the clusters of a standard error are not known, they are those of the source.
        """
        total = np.sum([np.nan_to_num(each.stderr) for each in errors], axis=0) / count
        clusters = len(self.cluster_numbers.get(source, ()))
        of_source = clusters - 1 if clusters > 1 else np.inf
        degrees: np.ndarray = np.full(len(count), np.inf)
        for each in errors:
            degrees = np.where(np.nan_to_num(each.stderr) > 0, np.minimum(degrees, each.degrees), degrees)
        return IndependentErrors(total**2, np.where(np.isinf(degrees), of_source, degrees))


def _mean_by_cluster(values: np.ndarray, members: np.ndarray, clusters: int) -> np.ndarray:
    """Return (G,) sums over the examples of each cluster of (value - mean) / number of examples."""
    return np.bincount(members, weights=(values - values.mean()) / len(values), minlength=clusters)
