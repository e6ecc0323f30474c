"""k nearest neighbours on frozen features, as in DINO (Caron et al., ICCV 2021); it is measured but not ranked."""

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
    """k nearest neighbours by cosine similarity, whose votes are weighted by exp(similarity / temperature).

    k is chosen on validation images. For the test images, all labelled images (train and validation) are neighbours.
    """

    id: ClassVar[str] = "knn"
    version: ClassVar[int] = 1
    seeded: ClassVar[bool] = True
    reuses: ClassVar[Reuse] = "features"
    mini: ClassVar[Mapping[str, Any]] = {"input_size": 96}

    # side of the square input in pixels; None for the backbone's own size
    input_size: int | None = None
    ks: tuple[int, ...] = (1, 5, 10, 20)
    temperature: float = 0.07

    def evaluate(self, backbone: "Backbone", dataset: "Dataset", context: "RunContext") -> Iterator[Measured]:
        """Yield top-1 and top-5 in %, or mean AUC in % where images have several labels."""
        from bob_gauntlet.engine.frozen.features import features
        from bob_gauntlet.engine.frozen.labelled_features import load_labelled_features

        data = load_labelled_features(backbone, dataset, self.input_size, context)
        test = dataset["test"]
        test_features = features(backbone, test, backbone.identity.input_transform(self.input_size), context)
        chosen_ks = [self._choose_k(data, seed, context.config.device) for seed in context.seeds]
        votes_by_k = self._votes(test_features, data.features, data.targets, data.classes, context.config.device)
        details = {"k": chosen_ks, "selection": "best validation accuracy", "seeds": list(context.seeds)}
        scores = [votes_by_k[k] for k in chosen_ks]
        yield from classification_metrics(scores, test.targets, test.ids, test.clusters, details)

    def _choose_k(self, data: "LabelledFeatures", seed: int, device: str) -> int:
        """Return the k with the best validation score, the smallest where several are equal."""
        from bob_gauntlet.engine.frozen.probe import validation_score

        train, validation = partition(data.targets, data.train, seed)
        if not len(validation):
            raise BobError(NO_VALIDATION_EXAMPLES)
        queries, bank = data.features[validation], data.features[train]
        votes_by_k = self._votes(queries, bank, data.targets[train], data.classes, device)
        return max(self.ks, key=lambda k: (validation_score(votes_by_k[k], data.targets[validation])[0], -k))

    def _votes(
        self, queries: np.ndarray, bank: np.ndarray, targets: np.ndarray, classes: int, device: str
    ) -> dict[int, np.ndarray]:
        """Return k -> the (Q, C) weighted votes of the k nearest neighbours of each query."""
        from bob_gauntlet.engine.frozen.neighbours import votes

        return votes(queries, bank, targets, classes, self.ks, temperature=self.temperature, device=device)
