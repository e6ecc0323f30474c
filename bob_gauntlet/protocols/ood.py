"""Out of distribution: a head trained on one kind of images, tested on another kind of the same classes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import stdev
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from bob_gauntlet.errors import MissingError
from bob_gauntlet.protocols.heads import Classifier, HeadRecipe, classification_metrics
from bob_gauntlet.protocols.linear_probe import LinearProbe
from bob_gauntlet.protocols.recipe import Measured

if TYPE_CHECKING:
    from bob_gauntlet.backbones.backbone import Backbone
    from bob_gauntlet.datasets.dataset import Dataset, Split
    from bob_gauntlet.runtime.context import RunContext


@dataclass(frozen=True)
class OOD:
    """Accuracy under a shift, and how many points of it the shift costs (paper 3.3, Table 14).

    The head is fitted on the dataset's train and val, or found where its own setting has fitted it on the same images.
    It is tested on `test`, the shifted images, and on `source`, test images of the kind that it was trained on. Nothing
    is chosen on either.

    A dataset that names `restricted_classes` (ImageNet-A, -R) has its classes sought among those alone, and its source
    images are those of these classes, judged likewise.

    >>> OOD().id
    'ood-linear-probe'
    """

    version: ClassVar[int] = 1
    seeded: ClassVar[bool] = True
    mini: ClassVar[Mapping[str, Any]] = {}

    # what is tested under the shift; it is trained or read as for its own setting
    head: HeadRecipe = field(default_factory=LinearProbe)

    @property
    def id(self) -> str:
        """`ood-linear-probe`."""
        return f"ood-{self.head.id}"

    @property
    def input_size(self) -> int | None:
        """The head's."""
        return self.head.input_size

    def evaluate(self, backbone: "Backbone", dataset: "Dataset", context: "RunContext") -> Iterator[Measured]:
        """Top-1 on the shifted images in %, and source top-1 minus it in points: means over the seeds."""
        if dataset.multi_label:
            raise MissingError(f"{dataset.name} has several labels an image; top-1 under a shift needs one")
        found = self.head.classifiers(backbone, dataset, context)
        details = self.head.details(found, context.seeds)
        source = _top1(found, dataset["source"], dataset.restricted_classes, context, details)
        details |= {"source_top1": source.value, "source_n": len(source.examples or ())}
        shifted = _top1(found, dataset["test"], dataset.restricted_classes, context, details)
        yield shifted
        yield _drop(source, shifted, details)


def _top1(
    classifiers: "Sequence[Classifier]",
    split: "Split",
    restricted: tuple[int, ...] | None,
    context: "RunContext",
    details: Mapping[str, Any],
) -> Measured:
    """Top-1 on one split; `restricted` seeks the class of images of those classes among those classes alone."""
    scores = [classifier.scores(split, context) for classifier in classifiers]
    targets, ids, clusters = split.targets, split.ids, split.clusters
    if restricted is not None:
        kept = np.flatnonzero(np.isin(targets, restricted))
        scores = [found[kept][:, list(restricted)] for found in scores]
        targets = np.searchsorted(restricted, targets[kept])
        ids, clusters = (tuple(names[i] for i in kept) for names in (ids, clusters))
        details = {**details, "classes": len(restricted)}
    return next(classification_metrics(scores, targets, ids, clusters, details))


def _drop(source: Measured, shifted: Measured, details: Mapping[str, Any]) -> Measured:
    """Points lost, of each seed too; no example has a drop of its own, since the two splits are other images."""
    if "by_seed" in shifted.details:
        pairs = zip(source.details["by_seed"], shifted.details["by_seed"], strict=True)
        drops = [before - after for before, after in pairs]
        details = {**details, "by_seed": drops, "seed_std": stdev(drops)}
    return Measured("top1_drop", source.value - shifted.value, details=details)
