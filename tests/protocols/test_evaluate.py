"""Each recipe end to end, compared with scikit-learn, its definition, or a worked example."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from bob_gauntlet.datasets.dataset import Dataset
from bob_gauntlet.errors import BobError
from bob_gauntlet.protocols.calibration import Calibration
from bob_gauntlet.protocols.efficiency import Efficiency
from bob_gauntlet.protocols.heads import classification_metrics
from bob_gauntlet.protocols.knn import KNN
from bob_gauntlet.protocols.linear_probe import LinearProbe
from bob_gauntlet.protocols.ood import OOD
from bob_gauntlet.protocols.recipe import Measured
from bob_gauntlet.protocols.retrieval import Retrieval
from bob_gauntlet.runtime import devices
from tests.helpers.contexts import context_in
from tests.helpers.synthetic_splits import (
    classification_dataset,
    multi_label_dataset,
    pixel_backbone,
    pixel_features,
    split,
    train_and_validation_examples,
)


def measure(recipe: Any, dataset: Dataset, folder: Path, **options: Any) -> dict[str, Measured]:
    """Return metric -> what was measured on the synthetic backbone."""
    return {m.metric: m for m in recipe.evaluate(pixel_backbone(), dataset, context_in(folder, **options))}


# ---- kNN


def neighbours(k: int) -> KNeighborsClassifier:
    """Return scikit-learn's classifier by cosine similarity, with votes of exp(similarity / 0.07)."""
    return KNeighborsClassifier(k, metric="cosine", weights=lambda d: np.exp((1 - d) / 0.07), algorithm="brute")


@pytest.mark.parametrize("k", [1, 10])
def test_knn_is_scikit_learns(tmp_path: Path, k: int) -> None:
    """kNN classifies as KNeighborsClassifier with the same weights, on train and validation images."""
    dataset, examples = classification_dataset()
    x, y = train_and_validation_examples(examples)
    reference = neighbours(k).fit(x, y)
    right = reference.predict(pixel_features(examples["test"][0])) == examples["test"][1]
    measured = measure(KNN(ks=(k,)), dataset, tmp_path)["top1"]
    assert measured.values is not None
    assert (measured.values == 100 * right).mean() >= 95 / 96  # one tie may be broken differently
    assert measured.value == pytest.approx(100 * right.mean(), abs=1.05)
    assert 30 < measured.value < 95  # neither chance nor trivial, so that a broken recipe is noticed


def test_knn_chooses_k_on_validation_images(tmp_path: Path) -> None:
    """The chosen k has the best validation accuracy with training images as neighbours, the smallest of equals."""
    dataset, examples = classification_dataset()
    (train, train_y), (val, val_y) = ((pixel_features(examples[r][0]), examples[r][1]) for r in ("train", "val"))
    accuracy = {k: neighbours(k).fit(train, train_y).score(val, val_y) for k in KNN().ks}
    best = min(k for k in accuracy if accuracy[k] == max(accuracy.values()))
    assert measure(KNN(), dataset, tmp_path)["top1"].details["k"] == [best]


def test_the_smallest_of_equal_ks_is_taken(tmp_path: Path) -> None:
    """Where every k classifies all images rightly, k = 1 is chosen."""
    dataset, _ = classification_dataset(noise=1.0)
    assert measure(KNN(ks=(20, 5, 1)), dataset, tmp_path)["top1"].details["k"] == [1]


# ---- linear probe


def test_linear_probe_is_scikit_learns(tmp_path: Path) -> None:
    """The probe classifies as LogisticRegression on standardised features with C = 1 / (N strength).

    It is fitted on train and validation images. The chosen strength has scikit-learn's best validation accuracy.
    """
    dataset, examples = classification_dataset()
    measured = measure(LinearProbe(strengths=(1.0, 0.03, 0.001)), dataset, tmp_path)["top1"]
    [strength] = measured.details["strength"]
    x, y = train_and_validation_examples(examples)

    def fit_reference(x: np.ndarray, y: np.ndarray, strength: float) -> tuple[StandardScaler, LogisticRegression]:
        scaler = StandardScaler().fit(x)
        head = LogisticRegression(C=1 / (len(x) * strength), tol=1e-8, max_iter=5000)
        return scaler, head.fit(scaler.transform(x), y)

    scaler, head = fit_reference(x, y, strength)
    right = head.predict(scaler.transform(pixel_features(examples["test"][0]))) == examples["test"][1]
    assert measured.value == pytest.approx(100 * right.mean(), abs=1.05)
    assert 30 < measured.value < 95
    validation = {}
    for tried in (1.0, 0.03, 0.001):
        scaler, head = fit_reference(x[:120], y[:120], tried)
        validation[tried] = 100 * head.score(scaler.transform(x[120:]), y[120:])
    assert measured.details["validation"] == [pytest.approx(max(validation.values()))]
    assert validation[strength] == max(validation.values())


def test_the_test_split_is_no_part_of_the_choice(tmp_path: Path) -> None:
    """Wrong test targets change the score but not the choice of k or strength."""
    dataset, _ = classification_dataset()
    wrong = replace(dataset["test"], targets=(dataset["test"].targets + 1) % 6)
    spoilt = replace(dataset, splits={**dataset.splits, "test": wrong})
    for recipe in (KNN(), LinearProbe(strengths=(1.0, 0.01))):
        honest = measure(recipe, dataset, tmp_path / "a")["top1"]
        other = measure(recipe, spoilt, tmp_path / "b")["top1"]
        assert other.value < honest.value - 30
        for name in {"k", "strength", "validation"} & set(honest.details):
            assert other.details[name] == honest.details[name]


def test_a_strength_at_the_edge_is_said(tmp_path: Path) -> None:
    """The details say when the weakest or strongest strength was chosen, since a better one may lie beyond it."""
    dataset, _ = classification_dataset()
    assert measure(LinearProbe(strengths=(1e3,)), dataset, tmp_path)["top1"].details["strength_at_edge"] is True
    wide = (1e6, 0.03, 1e-9)
    details = measure(LinearProbe(strengths=wide), dataset, tmp_path)["top1"].details
    assert details["strength_at_edge"] is (details["strength"][0] in (1e6, 1e-9))


@pytest.mark.parametrize("recipe", [LinearProbe(), Calibration(), OOD()], ids=lambda r: r.id)
def test_another_number_of_threads_gives_equal_scores(recipe: Any, tmp_path: Path) -> None:
    """With 1 and 2 threads every prediction is the same, and every metric to 9 digits; the solver converged."""
    dataset, _ = classification_dataset()
    dataset = replace(dataset, splits={**dataset.splits, "source": replace(dataset["test"], role="source")})
    measured = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        measured.append(measure(recipe, dataset, tmp_path / str(threads)))
    one, two = measured
    for metric, of_one in one.items():
        assert two[metric].value == pytest.approx(of_one.value, rel=1e-9, abs=1e-12), metric
        assert two[metric].details["strength"] == of_one.details["strength"]
        assert of_one.details["converged"] is True
        assert max(of_one.details["objective_gap"]) < 1e-6
    if recipe.id != "calibration-linear-probe":
        np.testing.assert_array_equal(two["top1"].values, one["top1"].values)


# ---- both


@pytest.mark.parametrize("recipe", [KNN(), LinearProbe(strengths=(1.0, 0.01))], ids=lambda r: r.id)
def test_several_labels_give_the_mean_area_under_the_curve(recipe: Any, tmp_path: Path) -> None:
    """The value is the mean of scikit-learn's AUC over the labels with both values; the third label is counted."""
    dataset, examples = multi_label_dataset()
    measured = measure(recipe, dataset, tmp_path)
    assert set(measured) == {"mean_auc"}
    assert measured["mean_auc"].details["labels_with_one_value"] == 1
    if recipe.id == "linear-probe":
        [strength] = measured["mean_auc"].details["strength"]
        x, y = train_and_validation_examples(examples)
        scaler = StandardScaler().fit(x)
        test_features = scaler.transform(pixel_features(examples["test"][0]))
        # one logistic regression per label; their losses are summed, so each has the same strength
        heads = [
            LogisticRegression(C=1 / (len(x) * strength), tol=1e-8, max_iter=5000).fit(scaler.transform(x), y[:, c])
            for c in (0, 1)
        ]
        areas = [
            roc_auc_score(examples["test"][1][:, c], h.decision_function(test_features)) for c, h in enumerate(heads)
        ]
        assert measured["mean_auc"].value == pytest.approx(100 * np.mean(areas), abs=0.2)
    assert 60 < measured["mean_auc"].value < 99


@pytest.mark.parametrize("recipe", [KNN(), LinearProbe(strengths=(1.0, 0.01))], ids=lambda r: r.id)
def test_seeds_are_repetitions(recipe: Any, tmp_path: Path) -> None:
    """The value is the mean over the seeds, each seed is reported, and seed 0 alone has its own value again."""
    dataset, _ = classification_dataset()
    several = measure(recipe, dataset, tmp_path, seeds=(0, 1, 2))["top1"]
    alone = measure(recipe, dataset, tmp_path, seeds=(0,))["top1"]
    assert several.details["by_seed"][0] == pytest.approx(alone.value)
    assert several.value == pytest.approx(np.mean(several.details["by_seed"]))
    assert several.details["seed_std"] == pytest.approx(np.std(several.details["by_seed"], ddof=1))
    assert len(several.details["by_seed"]) == 3
    assert "by_seed" not in alone.details


def test_values_belong_to_their_examples(tmp_path: Path) -> None:
    """There is one value per image, with its id, and their mean is the score."""
    dataset, _ = classification_dataset()
    measured = measure(KNN(), dataset, tmp_path)["top1"]
    assert measured.values is not None
    assert measured.examples == dataset["test"].ids
    assert measured.values.mean() == pytest.approx(measured.value)


def test_top5_needs_more_than_five_classes() -> None:
    """Top-5 is measured only with more than five classes; chance is k / classes."""
    scores = [np.eye(5)]
    assert [m.metric for m in classification_metrics(scores, np.arange(5), (), (), {})] == ["top1"]
    both = list(classification_metrics([np.eye(8)], np.arange(8), (), (), {}))
    assert [(m.metric, m.details["chance"]) for m in both] == [("top1", 12.5), ("top5", 62.5)]


# ---- retrieval


def solid(*colours: tuple[int, int, int]) -> np.ndarray:
    """Return images of one colour each; their cosine similarity is that of the colours relative to grey."""
    return np.array([np.full((2, 2, 3), colour) for colour in colours], np.uint8)


def worked_example() -> Dataset:
    """Return three queries and four gallery images.

    The second query has no relevant image; for the third, a junk image ranks before the relevant ones.
    """
    red, blue, white = (255, 0, 0), (0, 0, 255), (255, 255, 255)
    queries = split("query", solid(red, blue, red), np.zeros(3, np.int64), ["p", "q", "r"])
    gallery = split("gallery", solid(red, (255, 60, 0), white, white), np.zeros(4, np.int64))
    # relative to grey, red is (1, -1, -1). Its similarity is highest to gallery image 0, then 1, then the two white
    # images. These tie: they are equal images, since the similarities of two different colours that should be equal
    # differ in the last digit on some processors
    none = np.array([], np.int64)
    relevance = ((np.array([0, 2]), none), (none, np.array([3])), (np.array([1, 3]), np.array([0])))
    return Dataset("worked", {"query": queries, "gallery": gallery}, classes=("x",), relevance=relevance)


# Query 0: red has rank 1, white rank 4, behind the irrelevant white. Query 2, without red: orange 1, second white 3.
#   AP trapezoid: ((1 + 1) / 2 + (1/3 + 2/4) / 2) / 2 = 17/24 and ((1 + 1) / 2 + (1/2 + 2/3) / 2) / 2 = 19/24
#   AP step:      (1 + 2/4) / 2 = 3/4 and (1 + 2/3) / 2 = 5/6
#   recall@1 1/2 and 1/2; recall@5 and @10 1
@pytest.mark.parametrize(("kind", "expected"), [("trapezoid", (17 / 24, 19 / 24)), ("step", (3 / 4, 5 / 6))])
def test_retrieval_of_a_worked_example(tmp_path: Path, kind: Any, expected: tuple[float, float]) -> None:
    """Every metric has its worked value; the query without relevant images is left out and counted."""
    measured = measure(Retrieval(average_precision=kind), worked_example(), tmp_path)
    assert measured["map"].values == pytest.approx(100 * np.array(expected))
    assert measured["map"].value == pytest.approx(50 * sum(expected))
    assert {m: measured[m].value for m in ("mrr", "recall1", "recall5", "recall10")} == {
        "mrr": 1.0, "recall1": 0.5, "recall5": 1.0, "recall10": 1.0,
    }  # fmt: skip
    assert all((m.examples, m.clusters) == (["query-0", "query-2"], ["p", "r"]) for m in measured.values())
    assert measured["map"].details["queries_without_relevant"] == 1


def test_paper_fidelity_takes_reciprocal_ranks_before_junk_is_removed_and_over_all_queries(tmp_path: Path) -> None:
    """Reciprocal ranks are 1, 0 for the query without relevant images, and 1/2 behind the junk: their mean is 1/2."""
    measured = measure(Retrieval(fidelity="paper"), worked_example(), tmp_path)
    assert measured["mrr"].value == pytest.approx(0.5)
    assert measured["mrr"].values == pytest.approx([1.0, 0.0, 0.5])
    assert measured["mrr"].examples == ["query-0", "query-1", "query-2"]
    assert measured["map"].value == pytest.approx(50 * (17 / 24 + 19 / 24))


def test_equal_targets_are_relevant_where_a_dataset_says_nothing(tmp_path: Path) -> None:
    """Without relevance in the dataset, the value is that with equal targets as relevant images."""
    whole, _ = classification_dataset()
    splits = {"query": whole["test"], "gallery": whole["train"]}
    implicit = Dataset("a", splits, classes=whole.classes)
    pairs = [np.flatnonzero(whole["train"].targets == t) for t in whole["test"].targets]
    written = replace(implicit, relevance=tuple((positives, np.array([], np.int64)) for positives in pairs))
    first, second = (measure(Retrieval(), d, tmp_path)["map"] for d in (implicit, written))
    assert first.value == second.value
    assert 100 / 6 < first.value < 90  # above the share of relevant images, below a solved task


def test_no_relevant_image_at_all_is_an_error(tmp_path: Path) -> None:
    """The error says in one line what to do."""
    whole, _ = classification_dataset()
    gallery = replace(whole["train"], targets=np.full(120, 9))
    with pytest.raises(BobError, match="no query has a relevant gallery image; raise --bob-limit"):
        measure(Retrieval(), Dataset("d", {"query": whole["test"], "gallery": gallery}, ()), tmp_path)


# ---- efficiency


def test_efficiency_times_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are seven finite metrics, throughput is that of the best batch, and the number of threads is restored."""
    monkeypatch.setattr(devices, "cores", lambda: 1)
    threads = torch.get_num_threads()
    recipe = Efficiency(batches=(1, 4), warmup=1, repeats=4, reference="test_resnet", ratio_batch=2, attempts=1)
    measured = measure(recipe, Dataset("noise", {}, ()), tmp_path)
    assert list(measured) == [
        "params", "flops", "latency", "throughput", "peak_memory", "latency_ratio", "batch_ratio",
    ]  # fmt: skip
    assert measured["params"].value == 0.125
    assert measured["flops"].value == 0  # flattening costs none
    rates = measured["throughput"].details["by_batch"]
    assert measured["throughput"].value == max(rates.values())
    assert rates[str(measured["throughput"].details["batch"])] == max(rates.values())
    assert set(rates) == {"1", "4"}
    assert 0 < measured["latency"].value < 1000
    assert measured["peak_memory"].value >= 0
    # flattening takes less time than a residual network
    assert 0 < measured["batch_ratio"].value < 1
    assert torch.get_num_threads() == threads
