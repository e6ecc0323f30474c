"""k nearest neighbours on frozen features, as DINO evaluates (Caron et al., ICCV 2021); measured, not ranked."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from bob_gauntlet.datasets.partition import NO_VALIDATION_EXAMPLES, partition
from bob_gauntlet.errors import BobError
from bob_gauntlet.protocols.heads import classification_metrics
from bob_gauntlet.protocols.recipe import Measured, Reuse

if TYPE_CHECKING:
    from bob_gauntlet.backbones.backbone import Backbone
    from bob_gauntlet.datasets.dataset import Dataset
    from bob_gauntlet.engine.frozen.labelled_features import LabelledFeatures
    from bob_gauntlet.runtime.context import RunContext


@dataclass(frozen=True)
class KNN:
    """Cosine similarity, votes weighted by exp(similarity / temperature), k chosen on validation.

    Every labelled image, train and validation, is then a neighbour of the test images.
    """

    id: ClassVar[str] = "knn"
    version: ClassVar[int] = 1
    seeded: ClassVar[bool] = True
    reuses: ClassVar[Reuse] = "features"
    mini: ClassVar[Mapping[str, Any]] = {"input_size": 96}

    # side of the input in pixels; None is the backbone's own
    input_size: int | None = None
    ks: tuple[int, ...] = (1, 5, 10, 20)
    temperature: float = 0.07

    def evaluate(self, backbone: "Backbone", dataset: "Dataset", context: "RunContext") -> Iterator[Measured]:
        """Top-1 and top-5 in %; mean AUC in % where images have several labels."""
        from bob_gauntlet.engine.frozen.features import features
        from bob_gauntlet.engine.frozen.labelled_features import load_labelled_features

        data = load_labelled_features(backbone, dataset, self.input_size, context)
        test = dataset["test"]
        tested = features(backbone, test, backbone.identity.input_transform(self.input_size), context)
        chosen = [self._choose(data, seed, context.config.device) for seed in context.seeds]
        found = self._votes(tested, data.features, data.targets, data.classes, context.config.device)
        details = {"k": chosen, "selection": "best validation accuracy", "seeds": list(context.seeds)}
        yield from classification_metrics([found[k] for k in chosen], test.targets, test.ids, test.clusters, details)

    def _choose(self, data: "LabelledFeatures", seed: int, device: str) -> int:
        """The k with the best validation score, the smallest of equals."""
        from bob_gauntlet.engine.frozen.probe import validation_score

        fit, choose = partition(data.targets, data.train, seed)
        if not len(choose):
            raise BobError(NO_VALIDATION_EXAMPLES)
        found = self._votes(data.features[choose], data.features[fit], data.targets[fit], data.classes, device)
        return max(self.ks, key=lambda k: (validation_score(found[k], data.targets[choose])[0], -k))

    def _votes(
        self, queries: np.ndarray, bank: np.ndarray, targets: np.ndarray, classes: int, device: str
    ) -> dict[int, np.ndarray]:
        from bob_gauntlet.engine.frozen.neighbours import votes

        return votes(queries, bank, targets, classes, self.ks, temperature=self.temperature, device=device)
