"""Calibration of a classifier: cross-entropy, expected calibration error, and both after temperature scaling."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from bob_gauntlet.errors import MissingError
from bob_gauntlet.protocols.heads import HeadRecipe
from bob_gauntlet.protocols.linear_probe import LinearProbe
from bob_gauntlet.protocols.recipe import Measured

if TYPE_CHECKING:
    from bob_gauntlet.backbones.backbone import Backbone
    from bob_gauntlet.datasets.dataset import Dataset, Split
    from bob_gauntlet.runtime.context import RunContext


@dataclass(frozen=True)
class Calibration:
    """Measure how well the confidences of a trained head match its accuracy, on the test split (paper, Table 10).

    The metrics are accuracy in %, cross-entropy in nats, and the expected calibration error over 15 bins of equal
    width, without a temperature. Three more are not ranked: the calibration error over 15 bins of equal count, and
    cross-entropy and calibration error after temperature scaling. A temperature has to be fitted on images that the
    head was not trained on. So it is fitted on the validation logits of a head that was trained on train alone, and
    applied to the test logits of the head that gives the other metrics.
    """

    version: ClassVar[int] = 1
    seeded: ClassVar[bool] = True
    mini: ClassVar[Mapping[str, Any]] = {}

    # the classifier that is tested; it is trained, or read from its artefact, as for its own setting
    head: HeadRecipe = field(default_factory=LinearProbe)
    bins: int = 15

    @property
    def id(self) -> str:
        """The protocol id, for example `calibration-linear-probe`."""
        return f"calibration-{self.head.id}"

    @property
    def input_size(self) -> int | None:
        """The input size of the head."""
        return self.head.input_size

    def evaluate(self, backbone: "Backbone", dataset: "Dataset", context: "RunContext") -> Iterator[Measured]:
        """Yield top1 (%), ce (nats), ece, ece_adaptive, ce_scaled (nats), ece_scaled: means over the seeds.

        The last two are absent where no validation images are left for a temperature. Raises MissingError where images
        have several labels.
        """
        from bob_gauntlet.metrics.calibration import fit_temperature

        if dataset.multi_label:
            raise MissingError(f"{dataset.name} has several labels per image; calibration needs one")
        classifiers = self.head.classifiers(backbone, dataset, context)
        test = dataset[self.head.reported_role(dataset)]
        logits = [classifier.scores(test, context) for classifier in classifiers]
        held_out = [pair for classifier in classifiers if (pair := classifier.held_out(context)) is not None]
        temperatures = [fit_temperature(scores, targets) for scores, targets in held_out]
        details = {**self.head.details(classifiers, context.seeds), "temperature": temperatures, "bins": self.bins}
        yield from self._metrics_as_trained(logits, test, details)
        if held_out:
            scaled = [scores / temperature for scores, temperature in zip(logits, temperatures, strict=True)]
            yield from self._scaled_metrics(scaled, test, details)

    def _metrics_as_trained(
        self, logits: list[np.ndarray], test: "Split", details: Mapping[str, Any]
    ) -> Iterator[Measured]:
        """Yield the metrics without a temperature; `logits` holds one (N, C) array per seed."""
        from bob_gauntlet.metrics.calibration import reliability_curve
        from bob_gauntlet.metrics.classification import in_top_k

        right = np.mean([100.0 * in_top_k(scores, test.targets, 1) for scores in logits], axis=0)
        yield Measured("top1", float(right.mean()), right, test.ids, test.clusters, details)
        yield self._cross_entropy("ce", logits, test, details)
        curve = reliability_curve(logits[0], test.targets, self.bins)
        arrays = {"confidence": curve.confidence, "accuracy": curve.accuracy, "count": curve.count}
        reliability = {name: np.round(values, 4).tolist() for name, values in arrays.items()}
        yield self._calibration_error("ece", logits, test, {**details, "reliability": reliability})
        yield self._calibration_error("ece_adaptive", logits, test, details, adaptive=True)

    def _scaled_metrics(
        self, logits: list[np.ndarray], test: "Split", details: Mapping[str, Any]
    ) -> Iterator[Measured]:
        """Yield cross-entropy and calibration error of logits that were divided by the temperature."""
        yield self._cross_entropy("ce_scaled", logits, test, details)
        yield self._calibration_error("ece_scaled", logits, test, details)

    def _cross_entropy(
        self, metric: str, logits: list[np.ndarray], test: "Split", details: Mapping[str, Any]
    ) -> Measured:
        """Return the cross-entropy in nats, with its value for each example."""
        from bob_gauntlet.metrics.calibration import cross_entropies

        values = np.mean([cross_entropies(scores, test.targets) for scores in logits], axis=0)
        return Measured(metric, float(values.mean()), values, test.ids, test.clusters, details)

    def _calibration_error(
        self,
        metric: str,
        logits: list[np.ndarray],
        test: "Split",
        details: Mapping[str, Any],
        *,
        adaptive: bool = False,
    ) -> Measured:
        """Return the expected calibration error, over bins of equal count if `adaptive`, else of equal width.

        It is not a mean over examples, so its standard error comes from a bootstrap over clusters.
        """
        from bob_gauntlet.metrics.calibration import reliability_curve, resampled_ece

        errors = [reliability_curve(scores, test.targets, self.bins, adaptive=adaptive).ece for scores in logits]
        draws = resampled_ece(logits[0], test.targets, test.clusters, self.bins, adaptive=adaptive)
        standard_error = {
            "stderr": float(draws.std()),
            "stderr_how": f"{len(draws)} bootstrap draws of clusters",
            "n": len(test),
        }
        return Measured(metric, float(np.mean(errors)), details={**details, **standard_error})
