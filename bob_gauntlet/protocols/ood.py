"""Out-of-distribution classification: a head is trained on one kind of images and tested on another kind."""

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
    """Accuracy under a distribution shift, and how many points of accuracy the shift costs (paper 3.3, Table 14).

    The head is trained on the dataset's train and val. If its own setting has trained it on the same images, it is read
    from its artefact. It is tested on `test`, the shifted images, and on `source`, test images of the kind that it was
    trained on. The classes are the same. No hyper-parameter is chosen on either split.

    Where a dataset has `restricted_classes` (ImageNet-A, -R), only these classes can be predicted, and only images of
    these classes count, in `test` and in `source`.

    >>> OOD().id
    'ood-linear-probe'
    """

    version: ClassVar[int] = 1
    seeded: ClassVar[bool] = True
    mini: ClassVar[Mapping[str, Any]] = {}

    # the classifier that is tested; it is trained, or read from its artefact, as for its own setting
    head: HeadRecipe = field(default_factory=LinearProbe)

    @property
    def id(self) -> str:
        """The protocol id, for example `ood-linear-probe`."""
        return f"ood-{self.head.id}"

    @property
    def input_size(self) -> int | None:
        """The input size of the head."""
        return self.head.input_size

    def evaluate(self, backbone: "Backbone", dataset: "Dataset", context: "RunContext") -> Iterator[Measured]:
        """Yield top-1 on the shifted images in %, and source top-1 minus it in points: means over the seeds.

        Raises MissingError where images have several labels.
        """
        if dataset.multi_label:
            raise MissingError(f"{dataset.name} has several labels per image; top-1 under a shift needs one")
        classifiers = self.head.classifiers(backbone, dataset, context)
        details = self.head.details(classifiers, context.seeds)
        source = _top1(classifiers, dataset["source"], dataset.restricted_classes, context, details)
        details |= {"source_top1": source.value, "source_n": len(source.examples or ())}
        shifted = _top1(classifiers, dataset["test"], dataset.restricted_classes, context, details)
        yield shifted
        yield _top1_drop(source, shifted, details)


def _top1(
    classifiers: "Sequence[Classifier]",
    split: "Split",
    restricted: tuple[int, ...] | None,
    context: "RunContext",
    details: Mapping[str, Any],
) -> Measured:
    """Return top-1 on one split, in %.

    With `restricted`, only images of these classes count, and only these classes can be predicted.
    """
    scores = [classifier.scores(split, context) for classifier in classifiers]
    targets, ids, clusters = split.targets, split.ids, split.clusters
    if restricted is not None:
        kept_images = np.flatnonzero(np.isin(targets, restricted))
        scores = [logits[kept_images][:, list(restricted)] for logits in scores]
        targets = np.searchsorted(restricted, targets[kept_images])
        ids, clusters = (tuple(names[i] for i in kept_images) for names in (ids, clusters))
        details = {**details, "classes": len(restricted)}
    return next(classification_metrics(scores, targets, ids, clusters, details))


def _top1_drop(source: Measured, shifted: Measured, details: Mapping[str, Any]) -> Measured:
    """Return the points of top-1 that the shift costs, also for each seed.

    There are no values per example, since the two splits hold different images.
    """
    if "by_seed" in shifted.details:
        pairs = zip(source.details["by_seed"], shifted.details["by_seed"], strict=True)
        drops = [before - after for before, after in pairs]
        details = {**details, "by_seed": drops, "seed_std": stdev(drops)}
    return Measured("top1_drop", source.value - shifted.value, details=details)
