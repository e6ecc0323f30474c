"""The interface of recipes that train classifiers, which calibration, distribution shifts and attacks build on."""

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
        """Return the (N, C) logits of all images of a split."""

    def held_out(self, context: "RunContext") -> tuple[np.ndarray, np.ndarray] | None:
        """Return (V, C) logits and targets of validation images, from a classifier that was not trained on them.

        Returns None where hyper-parameters were chosen on the reported images, so that no other images are left.
        """

    def differentiable(self) -> "tuple[torch.nn.Module, Callable[[torch.Tensor], torch.Tensor]]":
        """Return the module to freeze during an attack, and a differentiable function from images to logits.

        The images are (B, 3, H, W) with values in [0, 1].
        """


class HeadRecipe(Recipe, Protocol):
    """A recipe that trains one classifier per seed.

    A classifier that the recipe's own setting has trained before is read from its artefact.
    """

    def classifiers(self, backbone: "Backbone", dataset: "Dataset", context: "RunContext") -> Sequence[Classifier]:
        """Return one classifier for each of `context.seeds`, trained on the dataset's train and val."""

    def details(self, classifiers: Sequence[Any], seeds: tuple[int, ...]) -> dict[str, Any]:
        """Return how the classifiers were chosen, for the provenance of every score that is computed from them."""

    def reported_role(self, dataset: "Dataset") -> str:
        """Return the role of the images that are reported.

        It is `test`, or with `fidelity="paper"` the role that the original reported.
        """


def evaluate_classifiers(
    recipe: HeadRecipe, backbone: "Backbone", dataset: "Dataset", context: "RunContext"
) -> Iterator[Measured]:
    """Yield top-1 and top-5 in %, or mean AUC in % where images have several labels, of a recipe's classifiers."""
    classifiers = recipe.classifiers(backbone, dataset, context)
    split = dataset[recipe.reported_role(dataset)]
    scores = [classifier.scores(split, context) for classifier in classifiers]
    details = recipe.details(classifiers, context.seeds)
    yield from classification_metrics(scores, split.targets, split.ids, split.clusters, details)


class TrainsByGridSearch:
    """Base class of recipes whose classifiers are trained by `engine.training.classifier`.

    A subclass defines `classifiers` and these two fields.
    """

    fidelity: Fidelity
    amp: bool

    def evaluate(
        self: HeadRecipe, backbone: "Backbone", dataset: "Dataset", context: "RunContext"
    ) -> Iterator[Measured]:
        """Yield top-1 and top-5 in %, or mean AUC in % where images have several labels."""
        yield from evaluate_classifiers(self, backbone, dataset, context)

    def details(self, classifiers: Sequence[Any], seeds: tuple[int, ...]) -> dict[str, Any]:
        """Return the chosen run, all runs, the learning curve of seed 0, and the batch sizes that were used."""
        if self.fidelity == "paper":
            return training_details(
                classifiers, seeds, "best epoch of the best run on the reported images, as in the original"
            )
        return training_details(classifiers, seeds, "best run on validation images after its last epoch")

    def reported_role(self, dataset: "Dataset") -> str:
        """Return `test`, or with `fidelity="paper"` the role that the original reported."""
        return dataset.reported_role(self.fidelity)

    def precision(self, device: str) -> str:
        """Return the precision used on `device`."""
        return precision_name(device, amp=self.amp)


def training_details(trained: Sequence[Any], seeds: tuple[int, ...], selection: str) -> dict[str, Any]:
    """Return the provenance of trained networks, one per seed; `selection` says in words how they were chosen.

    Each network was chosen by a grid search (`engine.training.grid_search`) and has its `facts`.
    """
    facts = [network.facts for network in trained]
    shared = ("curve", "runs", "micro_batch", "effective_batch", "drop_path", "train_images", "validation_images")
    return {
        "selection": selection,
        "run": [facts_of_seed["chosen"] for facts_of_seed in facts],
        "validation": [facts_of_seed["judged"][0] for facts_of_seed in facts],
        **{name: facts[0][name] for name in shared},
        "unreadable_train_images": facts[0]["unreadable_images"],
        "seeds": list(seeds),
    }


def precision_name(device: str, *, amp: bool) -> str:
    """Return the precision of training on `device`: 16-bit floats on a GPU where `amp` asks for them, else float32."""
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
    """Yield the metrics of (N, C) scores, one array per seed: means over the seeds, with their spread.

    These are top-1 and top-5 (for more than five classes) in %, or mean AUC in % where `targets` (N, C) holds several
    labels per image. Per-example values are means over the seeds too. Raises BobError where no label has both values.
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
    """Return the value of each seed and their standard deviation; an empty dict for a single seed."""
    if len(values) < 2:
        return {}
    return {"by_seed": values, "seed_std": float(np.std(values, ddof=1))}
