"""Metrics from the logits of each seed, and the details of how classifiers were trained."""

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, top_k_accuracy_score

from bob_gauntlet.datasets.dataset import Dataset, Split
from bob_gauntlet.errors import BobError
from bob_gauntlet.protocols import heads
from bob_gauntlet.protocols.finetune import FineTune
from bob_gauntlet.protocols.heads import classification_metrics
from bob_gauntlet.runtime.context import RunContext
from tests.helpers.contexts import context_in
from tests.helpers.synthetic_splits import classification_dataset, pixel_backbone

TARGETS = np.arange(60) % 8
IDS = tuple(f"i{i}" for i in range(60))
CLUSTERS = tuple(f"c{i // 2}" for i in range(60))


def scores(seed: int, classes: int = 8) -> np.ndarray:
    """Return (60, C) noise plus 1 at the true class."""
    noise = np.random.default_rng(seed).normal(size=(60, classes))
    return noise + np.eye(8)[TARGETS][:, :classes]


def test_top_1_and_top_5_of_one_seed() -> None:
    """Top-1 and top-5 in % are scikit-learn's, with a value for each example and without a spread."""
    both = list(classification_metrics([scores(0)], TARGETS, IDS, CLUSTERS, {"how": "so"}))
    assert [m.metric for m in both] == ["top1", "top5"]
    for measured, k in zip(both, (1, 5), strict=True):
        assert measured.value == pytest.approx(100 * top_k_accuracy_score(TARGETS, scores(0), k=k))
        assert measured.values is not None
        assert measured.values.mean() == pytest.approx(measured.value)
        assert set(measured.values.tolist()) == {0.0, 100.0}
        assert (measured.examples, measured.clusters) == (IDS, CLUSTERS)
        assert measured.details == {"how": "so", "chance": 100 * k / 8}


def test_several_seeds_are_averaged() -> None:
    """Values are means over the seeds, per example too; the spread is the sample's standard deviation."""
    several = [scores(seed) for seed in (0, 1, 2)]
    top1 = next(classification_metrics(several, TARGETS, IDS, CLUSTERS, {}))
    by_seed = [100 * (logits.argmax(axis=1) == TARGETS).mean() for logits in several]
    assert top1.details["by_seed"] == pytest.approx(by_seed)
    assert top1.details["seed_std"] == pytest.approx(np.std(by_seed, ddof=1))
    assert len(set(by_seed)) == 3
    assert top1.value == pytest.approx(np.mean(by_seed))
    right = np.mean([100.0 * (logits.argmax(axis=1) == TARGETS) for logits in several], axis=0)
    assert top1.values == pytest.approx(right)


@pytest.mark.parametrize(("classes", "metrics"), [(2, ["top1"]), (5, ["top1"]), (6, ["top1", "top5"])])
def test_top_5_needs_more_than_five_classes(classes: int, metrics: list[str]) -> None:
    """Top-5 is left out for five classes or fewer, since all predictions would be right."""
    measured = classification_metrics([scores(0, classes)], TARGETS % classes, IDS, CLUSTERS, {})
    assert [m.metric for m in measured] == metrics


def test_several_labels_have_a_mean_auc() -> None:
    """The mean AUC is scikit-learn's over the labels with both values, and the details count the other labels."""
    rows = (np.random.default_rng(3).random((60, 4)) < 0.4).astype(np.int64)
    rows[:, 2] = 0
    several = [np.random.default_rng(seed).normal(size=(60, 4)) + rows for seed in (0, 1)]
    [measured] = classification_metrics(several, rows, IDS, CLUSTERS, {"how": "so"})
    by_seed = [100 * roc_auc_score(rows[:, [0, 1, 3]], logits[:, [0, 1, 3]]) for logits in several]
    assert (measured.metric, measured.value) == ("mean_auc", pytest.approx(np.mean(by_seed)))
    assert measured.details["by_seed"] == pytest.approx(by_seed)
    assert measured.details["labels_with_one_value"] == 1
    assert (measured.details["chance"], measured.details["how"]) == (50.0, "so")
    assert measured.values is None


class MadeUpRecipe:
    """A recipe whose classifiers give made-up logits of their seed on any split."""

    def classifiers(self, backbone: Any, dataset: Dataset, context: RunContext) -> list[Any]:
        """Return one classifier per seed."""
        return [
            type("C", (), {"scores": lambda self, split, context, s=s: made_up_logits(split, s)})()
            for s in context.seeds
        ]

    def details(self, classifiers: list[Any], seeds: tuple[int, ...]) -> dict[str, Any]:
        """Return how many classifiers there are, and the seeds."""
        return {"heads": len(classifiers), "seeds": list(seeds)}

    def reported_role(self, dataset: Dataset) -> str:
        """Return `val`, which is not the usual role."""
        return "val"


def made_up_logits(split: Split, seed: int) -> np.ndarray:
    """Return logits that are right for all but the first `seed + 1` images."""
    logits = np.eye(6)[split.targets]
    logits[: seed + 1] *= -1
    return logits


def test_evaluate_classifiers_uses_the_reported_split(tmp_path: Any) -> None:
    """The scores of each seed are those on the reported split, compared with its targets."""
    dataset, _ = classification_dataset()
    context = context_in(tmp_path, seeds=(0, 2))
    top1, _ = heads.evaluate_classifiers(MadeUpRecipe(), pixel_backbone(), dataset, context)  # type: ignore[arg-type]
    assert top1.value == pytest.approx(100 * np.mean([35 / 36, 33 / 36]))
    assert (top1.examples, top1.clusters) == (dataset["val"].ids, dataset["val"].clusters)
    assert {"heads": 2, "seeds": [0, 2]}.items() <= top1.details.items()


def trained_network(chosen: str, score: float) -> Any:
    """Return an object with the facts of a trained network."""
    facts = {
        "chosen": chosen, "judged": [score, -1.0], "curve": {"epoch": [1]}, "runs": [{"run": chosen}], "micro_batch": 8,
        "effective_batch": 16, "drop_path": 0.1, "train_images": 40, "validation_images": 10, "unreadable_images": 2,
    }  # fmt: skip
    return type("C", (), {"facts": facts})()


def test_what_is_said_of_trained_networks() -> None:
    """The details hold run and validation score of every seed, and the other facts of seed 0."""
    details = FineTune().details([trained_network("a", 50.0), trained_network("b", 60.0)], (0, 1))
    assert (details["run"], details["validation"], details["seeds"]) == (["a", "b"], [50.0, 60.0], [0, 1])
    assert details["selection"] == "best run on validation images after its last epoch"
    assert {
        "curve": {"epoch": [1]}, "runs": [{"run": "a"}], "micro_batch": 8, "effective_batch": 16, "drop_path": 0.1,
        "train_images": 40, "validation_images": 10, "unreadable_train_images": 2,
    }.items() <= details.items()  # fmt: skip
    paper = FineTune(fidelity="paper").details([trained_network("a", 50.0)], (0,))
    assert paper["selection"] == "best epoch of the best run on the reported images, as in the original"


def test_labels_of_one_value_alone_give_no_auc() -> None:
    """Labels with one value are left out and counted; if all labels have one value, it is an error."""
    targets = np.zeros((60, 8), np.int64)
    targets[:30, 0] = 1
    [measured] = classification_metrics([scores(0)], targets, IDS, CLUSTERS, {})
    assert measured.details["labels_with_one_value"] == 7
    with pytest.raises(BobError, match="none of the 8 labels has both values among 60 images"):
        list(classification_metrics([scores(0)], np.zeros_like(targets), IDS, CLUSTERS, {}))
