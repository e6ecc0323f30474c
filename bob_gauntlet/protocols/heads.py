"""What a recipe that trains a classifier offers to those that test one: calibration, shifts, attacks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from bob_gauntlet.errors import BobError
from bob_gauntlet.protocols.recipe import Measured, Recipe
from bob_gauntlet.scores.score import Fidelity

if TYPE_CHECKING:
    import torch

    from bob_gauntlet.backbones.backbone import Backbone
    from bob_gauntlet.datasets.dataset import Dataset, Split
    from bob_gauntlet.runtime.context import RunContext


class Classifier(Protocol):
    """A trained classifier of one seed, bound to its backbone and to the dataset it was trained on."""

    def scores(self, split: "Split", context: "RunContext") -> np.ndarray:
        """(N, C) logits of every image of a split."""

    def held_out(self, context: "RunContext") -> tuple[np.ndarray, np.ndarray] | None:
        """(V, C) logits and targets of validation images, by a classifier that was not trained on them.

        None where hyper-parameters were chosen on the images that are reported, so that none are left.
        """

    def differentiable(self) -> "tuple[torch.nn.Module, Callable[[torch.Tensor], torch.Tensor]]":
        """The module whose parameters have to stay as they are, and images (B, 3, H, W) in [0, 1] to logits."""


class HeadRecipe(Recipe, Protocol):
    """A recipe that trains classifiers, one a seed, or finds them where its own setting has trained them."""

    def classifiers(self, backbone: "Backbone", dataset: "Dataset", context: "RunContext") -> Sequence[Classifier]:
        """The classifier of each of `context.seeds`, trained on the dataset's train and val."""

    def details(self, classifiers: Sequence[Any], seeds: tuple[int, ...]) -> dict[str, Any]:
        """How they were chosen: provenance of every score that rests on them."""

    def reported_role(self, dataset: "Dataset") -> str:
        """The role whose images are reported: `test`, but where `fidelity="paper"` follows the original."""


def evaluate_classifiers(
    recipe: HeadRecipe, backbone: "Backbone", dataset: "Dataset", context: "RunContext"
) -> Iterator[Measured]:
    """Top-1 and top-5 in %, or mean AUC in % where images have several labels, of a recipe's classifiers."""
    found = recipe.classifiers(backbone, dataset, context)
    split = dataset[recipe.reported_role(dataset)]
    scores = [classifier.scores(split, context) for classifier in found]
    yield from classification_metrics(
        scores, split.targets, split.ids, split.clusters, recipe.details(found, context.seeds)
    )


class TrainsByGridSearch:
    """What recipes that train by `engine.tuning` have in common; they offer `classifiers` and these two fields."""

    fidelity: Fidelity
    amp: bool

    def evaluate(
        self: HeadRecipe, backbone: "Backbone", dataset: "Dataset", context: "RunContext"
    ) -> Iterator[Measured]:
        """Top-1 and top-5 in %; mean AUC in % where images have several labels."""
        yield from evaluate_classifiers(self, backbone, dataset, context)

    def details(self, classifiers: Sequence[Any], seeds: tuple[int, ...]) -> dict[str, Any]:
        """The chosen run, the others, the curve of seed 0, what the machine made of the batch."""
        if self.fidelity == "paper":
            return training_details(
                classifiers, seeds, "best epoch of the best run on the reported images, as in the original"
            )
        return training_details(classifiers, seeds, "best run on validation images after its last epoch")

    def reported_role(self, dataset: "Dataset") -> str:
        """`test`, or with `fidelity="paper"` the split that the original reported."""
        return dataset.reported_role(self.fidelity)

    def precision(self, device: str) -> str:
        """Of the arithmetic on a device."""
        return precision_name(device, amp=self.amp)


def training_details(trained: Sequence[Any], seeds: tuple[int, ...], selection: str) -> dict[str, Any]:
    """Provenance of what `engine.search` trained, one a seed, chosen as `selection` says."""
    facts = [each.facts for each in trained]
    shared = ("curve", "runs", "micro_batch", "effective_batch", "drop_path", "train_images", "validation_images")
    return {
        "selection": selection,
        "run": [each["chosen"] for each in facts],
        "validation": [each["judged"][0] for each in facts],
        **{name: facts[0][name] for name in shared},
        "unreadable_train_images": facts[0]["unreadable_images"],
        "seeds": list(seeds),
    }


def precision_name(device: str, *, amp: bool) -> str:
    """The precision of a training on a device, in halves on a GPU where `amp` asks for it."""
    if device == "cpu" or not amp:
        return "float32"
    from bob_gauntlet.engine.training.grid_search import numerics

    return numerics(device, amp=amp).partition(" ")[2]


def classification_metrics(
    scores: list[np.ndarray],
    targets: np.ndarray,
    ids: tuple[str, ...],
    clusters: tuple[str, ...],
    details: Mapping[str, Any],
) -> Iterator[Measured]:
    """The metrics of (N, C) scores of each seed: means over seeds, with their spread.

    Per-example values are means over the seeds too.
    """
    from bob_gauntlet.metrics.classification import in_top_k, label_aucs

    classes = scores[0].shape[1]
    if targets.ndim == 2:
        aucs = [100 * label_aucs(s, targets) for s in scores]
        skipped = int(np.isnan(aucs[0]).sum())
        if skipped == classes:
            raise BobError(f"none of the {classes} labels has both values among {len(targets)} images; add test images")
        values = [float(np.nanmean(auc)) for auc in aucs]
        extra = {**details, **spread_over_seeds(values), "chance": 50.0, "labels_with_one_value": skipped}
        yield Measured("mean_auc", float(np.mean(values)), details=extra)
        return
    for k in (1, 5):
        if k < classes:
            right = np.stack([100.0 * in_top_k(s, targets, k) for s in scores])
            extra = {**details, **spread_over_seeds(right.mean(axis=1).tolist()), "chance": 100.0 * k / classes}
            yield Measured(f"top{k}", float(right.mean()), right.mean(axis=0), ids, clusters, extra)


def spread_over_seeds(values: list[float]) -> dict[str, Any]:
    """Each seed's value and their standard deviation, where there is more than one."""
    if len(values) < 2:
        return {}
    return {"by_seed": values, "seed_std": float(np.std(values, ddof=1))}
