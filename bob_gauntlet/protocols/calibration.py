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
    """How far the confidences of a trained head can be believed, on the test split (paper, Table 10).

    Accuracy in %, cross-entropy in nats, and the expected calibration error over 15 bins of equal width, without
    temperature. Beside them, not ranked: the error over 15 bins of equal count, and both numbers after temperature
    scaling. A temperature has to be fitted on images that the head has not seen, so that one is found for the head that
    was chosen on train alone, and judged on validation; its test scores use the head of the other numbers.
    """

    version: ClassVar[int] = 1
    seeded: ClassVar[bool] = True
    mini: ClassVar[Mapping[str, Any]] = {}

    # what is calibrated; it is trained or read as for its own setting
    head: HeadRecipe = field(default_factory=LinearProbe)
    bins: int = 15

    @property
    def id(self) -> str:
        """`calibration-linear-probe`."""
        return f"calibration-{self.head.id}"

    @property
    def input_size(self) -> int | None:
        """The head's."""
        return self.head.input_size

    def evaluate(self, backbone: "Backbone", dataset: "Dataset", context: "RunContext") -> Iterator[Measured]:
        """top1 (%), ce (nats), ece, ece_adaptive, ce_scaled (nats), ece_scaled: means over the seeds."""
        from bob_gauntlet.metrics.calibration import fit_temperature

        if dataset.multi_label:
            raise MissingError(f"{dataset.name} has several labels an image; calibration is about one")
        found = self.head.classifiers(backbone, dataset, context)
        test = dataset[self.head.reported_role(dataset)]
        logits = [classifier.scores(test, context) for classifier in found]
        unseen = [pair for classifier in found if (pair := classifier.held_out(context)) is not None]
        warmth = [fit_temperature(scores, targets) for scores, targets in unseen]
        details = {**self.head.details(found, context.seeds), "temperature": warmth, "bins": self.bins}
        yield from self._as_trained(logits, test, details)
        if unseen:
            scaled = [scores / t for scores, t in zip(logits, warmth, strict=True)]
            yield from self._scaled(scaled, test, details)

    def _as_trained(self, logits: list[np.ndarray], test: "Split", details: Mapping[str, Any]) -> Iterator[Measured]:
        from bob_gauntlet.metrics.calibration import reliability_curve
        from bob_gauntlet.metrics.classification import in_top_k

        right = np.mean([100.0 * in_top_k(found, test.targets, 1) for found in logits], axis=0)
        yield Measured("top1", float(right.mean()), right, test.ids, test.clusters, details)
        yield self._entropy("ce", logits, test, details)
        curve = reliability_curve(logits[0], test.targets, self.bins)
        drawn = {"confidence": curve.confidence, "accuracy": curve.accuracy, "count": curve.count}
        shown = {name: np.round(values, 4).tolist() for name, values in drawn.items()}
        yield self._error("ece", logits, test, {**details, "reliability": shown})
        yield self._error("ece_adaptive", logits, test, details, adaptive=True)

    def _scaled(self, logits: list[np.ndarray], test: "Split", details: Mapping[str, Any]) -> Iterator[Measured]:
        yield self._entropy("ce_scaled", logits, test, details)
        yield self._error("ece_scaled", logits, test, details)

    def _entropy(self, metric: str, logits: list[np.ndarray], test: "Split", details: Mapping[str, Any]) -> Measured:
        """Cross-entropy with its value of every example."""
        from bob_gauntlet.metrics.calibration import cross_entropies

        values = np.mean([cross_entropies(found, test.targets) for found in logits], axis=0)
        return Measured(metric, float(values.mean()), values, test.ids, test.clusters, details)

    def _error(
        self,
        metric: str,
        logits: list[np.ndarray],
        test: "Split",
        details: Mapping[str, Any],
        *,
        adaptive: bool = False,
    ) -> Measured:
        """Calibration error: no mean over examples, so its standard error comes from a bootstrap over clusters."""
        from bob_gauntlet.metrics.calibration import reliability_curve, resampled_ece

        found = [reliability_curve(scores, test.targets, self.bins, adaptive=adaptive).ece for scores in logits]
        draws = resampled_ece(logits[0], test.targets, test.clusters, self.bins, adaptive=adaptive)
        spread = {
            "stderr": float(draws.std()),
            "stderr_how": f"{len(draws)} bootstrap draws of clusters",
            "n": len(test),
        }
        return Measured(metric, float(np.mean(found)), details={**details, **spread})
