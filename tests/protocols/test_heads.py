"""From the logits of each seed to metrics, and what is said of how they came to be."""

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
from tests.helpers.synthetic_splits import classification, pixels

TARGETS = np.arange(60) % 8
IDS = tuple(f"i{i}" for i in range(60))
CLUSTERS = tuple(f"c{i // 2}" for i in range(60))


def scores(seed: int, classes: int = 8) -> np.ndarray:
    """Noise that leans to the truth."""
    noise = np.random.default_rng(seed).normal(size=(60, classes))
    return noise + np.eye(8)[TARGETS][:, :classes]


def test_top_1_and_top_5_of_one_seed() -> None:
    """scikit-learn's, in %, with a value of every example; no spread."""
    found = list(classification_metrics([scores(0)], TARGETS, IDS, CLUSTERS, {"how": "so"}))
    assert [m.metric for m in found] == ["top1", "top5"]
    for measured, k in zip(found, (1, 5), strict=True):
        assert measured.value == pytest.approx(100 * top_k_accuracy_score(TARGETS, scores(0), k=k))
        assert measured.values is not None
        assert measured.values.mean() == pytest.approx(measured.value)
        assert set(measured.values.tolist()) == {0.0, 100.0}
        assert (measured.examples, measured.clusters) == (IDS, CLUSTERS)
        assert measured.details == {"how": "so", "chance": 100 * k / 8}


def test_several_seeds_are_averaged() -> None:
    """Values and examples; the spread is the sample's standard deviation."""
    several = [scores(seed) for seed in (0, 1, 2)]
    top1 = next(classification_metrics(several, TARGETS, IDS, CLUSTERS, {}))
    by_seed = [100 * (found.argmax(axis=1) == TARGETS).mean() for found in several]
    assert top1.details["by_seed"] == pytest.approx(by_seed)
    assert top1.details["seed_std"] == pytest.approx(np.std(by_seed, ddof=1))
    assert len(set(by_seed)) == 3
    assert top1.value == pytest.approx(np.mean(by_seed))
    right = np.mean([100.0 * (found.argmax(axis=1) == TARGETS) for found in several], axis=0)
    assert top1.values == pytest.approx(right)


@pytest.mark.parametrize(("classes", "metrics"), [(2, ["top1"]), (5, ["top1"]), (6, ["top1", "top5"])])
def test_top_5_needs_more_than_five_classes(classes: int, metrics: list[str]) -> None:
    """Else all is right."""
    found = classification_metrics([scores(0, classes)], TARGETS % classes, IDS, CLUSTERS, {})
    assert [m.metric for m in found] == metrics


def test_several_labels_have_a_mean_auc() -> None:
    """scikit-learn's over the labels that have both values; how many have not is said."""
    rows = (np.random.default_rng(3).random((60, 4)) < 0.4).astype(np.int64)
    rows[:, 2] = 0
    several = [np.random.default_rng(seed).normal(size=(60, 4)) + rows for seed in (0, 1)]
    [found] = classification_metrics(several, rows, IDS, CLUSTERS, {"how": "so"})
    by_seed = [100 * roc_auc_score(rows[:, [0, 1, 3]], logits[:, [0, 1, 3]]) for logits in several]
    assert (found.metric, found.value) == ("mean_auc", pytest.approx(np.mean(by_seed)))
    assert found.details["by_seed"] == pytest.approx(by_seed)
    assert found.details["labels_with_one_value"] == 1
    assert (found.details["chance"], found.details["how"]) == (50.0, "so")
    assert found.values is None


class Told:
    """A recipe whose classifiers give the logits of their seed on any split."""

    def classifiers(self, backbone: Any, dataset: Dataset, context: RunContext) -> list[Any]:
        """One a seed."""
        return [type("C", (), {"scores": lambda self, split, run, s=s: told(split, s)})() for s in context.seeds]

    def details(self, classifiers: list[Any], seeds: tuple[int, ...]) -> dict[str, Any]:
        """How many and which."""
        return {"heads": len(classifiers), "seeds": list(seeds)}

    def reported_role(self, dataset: Dataset) -> str:
        """Not the usual one."""
        return "val"


def told(split: Split, seed: int) -> np.ndarray:
    """Right for all but the first `seed + 1` images."""
    found = np.eye(6)[split.targets]
    found[: seed + 1] *= -1
    return found


def test_tested_asks_for_the_split_that_is_reported(tmp_path: Any) -> None:
    """Scores of each seed on it, judged against its targets."""
    dataset, _ = classification()
    context = context_in(tmp_path, seeds=(0, 2))
    top1, _ = heads.evaluate_classifiers(Told(), pixels(), dataset, context)  # type: ignore[arg-type]
    assert top1.value == pytest.approx(100 * np.mean([35 / 36, 33 / 36]))
    assert (top1.examples, top1.clusters) == (dataset["val"].ids, dataset["val"].clusters)
    assert {"heads": 2, "seeds": [0, 2]}.items() <= top1.details.items()


def facts(chosen: str, score: float) -> Any:
    """A trained network's."""
    own = {
        "chosen": chosen, "judged": [score, -1.0], "curve": {"epoch": [1]}, "runs": [{"run": chosen}], "micro_batch": 8,
        "effective_batch": 16, "drop_path": 0.1, "train_images": 40, "validation_images": 10, "unreadable_images": 2,
    }  # fmt: skip
    return type("C", (), {"facts": own})()


def test_what_is_said_of_trained_networks() -> None:
    """Run and validation of every seed; the rest is seed 0's."""
    found = FineTune().details([facts("a", 50.0), facts("b", 60.0)], (0, 1))
    assert (found["run"], found["validation"], found["seeds"]) == (["a", "b"], [50.0, 60.0], [0, 1])
    assert found["selection"] == "best run on validation images after its last epoch"
    assert {
        "curve": {"epoch": [1]}, "runs": [{"run": "a"}], "micro_batch": 8, "effective_batch": 16, "drop_path": 0.1,
        "train_images": 40, "validation_images": 10, "unreadable_train_images": 2,
    }.items() <= found.items()  # fmt: skip
    paper = FineTune(fidelity="paper").details([facts("a", 50.0)], (0,))
    assert paper["selection"] == "best epoch of the best run on the reported images, as in the original"


def test_labels_of_one_value_alone_give_no_auc() -> None:
    """Some are left out and counted; all of them are an error."""
    targets = np.zeros((60, 8), np.int64)
    targets[:30, 0] = 1
    [measured] = classification_metrics([scores(0)], targets, IDS, CLUSTERS, {})
    assert measured.details["labels_with_one_value"] == 7
    with pytest.raises(BobError, match="none of the 8 labels has both values among 60 images"):
        list(classification_metrics([scores(0)], np.zeros_like(targets), IDS, CLUSTERS, {}))
