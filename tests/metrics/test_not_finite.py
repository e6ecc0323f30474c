"""NaN and infinity in the input of any public metric: they stop it with the reason, or never give a better value."""

import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import rankdata

from bob_gauntlet import metrics
from bob_gauntlet.datasets.objects import ImageObjects
from bob_gauntlet.errors import NotFiniteError
from bob_gauntlet.metrics import calibration, classification, detection, finite, matching, retrieval
from bob_gauntlet.metrics.detections import Detections

Arguments = dict[str, Any]

# few different values, so that most draws hold ties
COARSE = st.integers(-2, 2).map(float)
BAD = st.sampled_from([np.nan, np.inf, -np.inf])


@dataclass(frozen=True)
class Case:
    """A public metric: its arguments, which of them hold numbers of a network, and how good its result is.

    `goodness` returns numbers of which higher ones are better, in an order that does not depend on the input. With
    `stops` the metric raises NotFiniteError, else it counts NaN and infinity as wrong.
    """

    arguments: st.SearchStrategy[Arguments]
    poisoned: tuple[str, ...]
    goodness: Callable[..., Any]
    stops: bool = False


@st.composite
def scored(draw: st.DrawFn, dtype: Any = np.float64) -> Arguments:
    """Draw (N, C) logits and (N,) classes."""
    count, classes = draw(st.integers(1, 8)), draw(st.integers(2, 5))
    logits = draw(hnp.arrays(dtype, (count, classes), elements=COARSE))
    return {"logits": logits, "targets": draw(hnp.arrays(np.int64, count, elements=st.integers(0, classes - 1)))}


@st.composite
def labelled(draw: st.DrawFn) -> Arguments:
    """Draw (N, C) scores and (N, C) labels of 0 and 1."""
    shape = draw(st.integers(1, 10)), draw(st.integers(1, 3))
    scores = draw(hnp.arrays(np.float32, shape, elements=COARSE))
    return {"scores": scores, "targets": draw(hnp.arrays(np.int64, shape, elements=st.integers(0, 1)))}


@st.composite
def retrieved(draw: st.DrawFn) -> Arguments:
    """Draw queries, gallery and relevance."""
    width, queries, gallery = draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(1, 10))
    q, g = (draw(hnp.arrays(np.float32, (n, width), elements=COARSE)) for n in (queries, gallery))
    roles = draw(hnp.arrays(np.int64, (queries, gallery), elements=st.integers(0, 2)))
    relevance = [(np.flatnonzero(row == 1), np.flatnonzero(row == 2)) for row in roles]
    return {"queries": q, "gallery": g, "relevance": relevance, "skip_junk": draw(st.booleans())}


@st.composite
def overlapping(draw: st.DrawFn) -> Arguments:
    """Draw the overlaps and scores of the detections on one image, and which of its objects are crowds."""
    count, objects = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    tenths = st.integers(0, 10).map(lambda tenth: tenth / 10)
    return {
        "iou": draw(hnp.arrays(np.float64, (count, objects), elements=tenths)),
        "scores": draw(hnp.arrays(np.float32, count, elements=COARSE)),
        "crowd": draw(hnp.arrays(bool, objects)),
    }


@st.composite
def detected(draw: st.DrawFn) -> Arguments:
    """Draw boxes and scores of two detections on an image with one object."""
    sides = st.integers(1, 20).map(float)
    return {
        "boxes": draw(hnp.arrays(np.float32, (2, 4), elements=sides)),
        "scores": draw(hnp.arrays(np.float32, 2, elements=COARSE)),
    }


def true_log_probabilities(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the (N,) log probabilities of the true classes, -infinity where there is none."""
    of_all = calibration.log_softmax(logits)
    return np.nan_to_num(of_all[np.arange(len(targets)), targets], nan=-np.inf)


def negative_ranks(**arguments: Any) -> np.ndarray:
    """Return minus the ranks of the relevant images of all queries."""
    return -np.concatenate(retrieval.ranks_of_relevant(**arguments))


def number_of_top_detections(iou: np.ndarray, scores: np.ndarray, crowd: np.ndarray) -> int:
    """Return how many detections of an image count."""
    return len(matching.top_detections(np.zeros(len(scores), int), scores, most=2))


def hits_of_image(iou: np.ndarray, scores: np.ndarray, crowd: np.ndarray) -> int:
    """Return the number of hits on one image."""
    return int(matching.match_image(iou, crowd)[0].sum())


def hits_of_class(iou: np.ndarray, scores: np.ndarray, crowd: np.ndarray) -> int:
    """Return the number of hits of a class that is on one image alone."""
    images = np.zeros(len(scores), int)
    return int(matching.match_class(images, scores, {0: iou}, {0: crowd.tolist()}, ()).hits.sum())


def detections(boxes: np.ndarray, scores: np.ndarray) -> Detections:
    """Return two detections on one image."""
    return Detections(np.zeros(2, np.int64), boxes, scores, np.zeros(2, np.int64))


def box_ap(boxes: np.ndarray, scores: np.ndarray) -> float:
    """Return the average precision of two detections on an image with one object."""
    return detection.average_precision(detections(boxes, scores), [image_with_object()], ["a"]).ap or 0.0


def federated_ap(boxes: np.ndarray, scores: np.ndarray) -> float:
    """Return LVIS's average precision of the same."""
    result = detection.federated_average_precision(detections(boxes, scores), [image_with_object()], ["a"], ["f"])
    return result.ap or 0.0


def image_with_object() -> ImageObjects:
    """Return an image of 40 x 40 pixels with one object."""
    box = np.array([[5.0, 5.0, 10.0, 10.0]])
    return ImageObjects(40, 40, box, np.zeros(1, np.int64), np.array([100.0]), np.zeros(1, bool))


def resampled(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return minus the calibration errors of bootstrap draws."""
    return -calibration.resampled_ece(logits, targets, [str(i) for i in range(len(targets))])


CASES: Mapping[str, Case] = {
    "classification.in_top_k": Case(
        scored(), ("logits",), lambda logits, targets: classification.in_top_k(logits, targets, 1)
    ),
    "classification.label_aucs": Case(labelled(), ("scores",), classification.label_aucs),
    "classification.mean_auc": Case(labelled(), ("scores",), classification.mean_auc),
    "calibration.log_softmax": Case(scored(), ("logits",), true_log_probabilities),
    "calibration.cross_entropies": Case(scored(), ("logits",), lambda **pair: -calibration.cross_entropies(**pair)),
    "calibration.reliability_curve": Case(
        scored(), ("logits",), lambda **pair: -calibration.reliability_curve(**pair).ece, stops=True
    ),
    "calibration.resampled_ece": Case(scored(), ("logits",), resampled, stops=True),
    "calibration.fit_temperature": Case(scored(), ("logits",), calibration.fit_temperature, stops=True),
    "retrieval.ranks_of_relevant": Case(retrieved(), ("queries", "gallery"), negative_ranks),
    "matching.top_detections": Case(overlapping(), ("scores",), number_of_top_detections, stops=True),
    "matching.match_image": Case(overlapping(), ("iou",), hits_of_image, stops=True),
    "matching.match_class": Case(overlapping(), ("iou", "scores"), hits_of_class, stops=True),
    "detections.Detections": Case(detected(), ("boxes", "scores"), lambda **pair: len(detections(**pair)), stops=True),
    "detection.average_precision": Case(detected(), ("boxes", "scores"), box_ap, stops=True),
    "detection.federated_average_precision": Case(detected(), ("boxes", "scores"), federated_ap, stops=True),
}
"""Module and name of each public metric that gets numbers of a network -> how it is tried."""

EXEMPT: Mapping[str, str] = {
    "calibration.ReliabilityCurve": "a result of reliability_curve",
    "retrieval.average_precision": "gets ranks, which are whole numbers",
    "retrieval.reciprocal_rank": "gets ranks, which are whole numbers",
    "retrieval.recall_at": "gets ranks, which are whole numbers",
    "retrieval.relevance_from_targets": "gets class indices",
    "matching.Matches": "holds whole numbers and booleans",
    "detection.AveragePrecision": "a result of average_precision",
    "coco.ClassData": "holds Detections, which refuse NaN and infinity",
    "coco.split_by_class": "gets Detections, which refuse NaN and infinity",
    "coco.run_evaluator": "gets Detections, which refuse NaN and infinity",
    "jackknife.jackknife": "gets Matches, which hold whole numbers and booleans",
    "jackknife.leave_group_out_ap": "gets Matches, which hold whole numbers and booleans",
    "jackknife.hits_needed": "gets numbers of objects",
    "jackknife.mean_over_classes": "NaN marks a class of which no object is left",
    "finite.finite_rows": "says what is finite",
    "finite.describe_not_finite": "says what is finite",
    "finite.require_finite": "says what is finite",
}
"""Module and name of each other public function and class -> why it needs no case."""


def public_names() -> set[str]:
    """Return module and name of every public function and class of the package `metrics`."""
    names = set()
    for info in pkgutil.iter_modules(metrics.__path__):
        module = import_module(f"{metrics.__name__}.{info.name}")
        for name, value in vars(module).items():
            is_defined_here = getattr(value, "__module__", "") == module.__name__
            if is_defined_here and not name.startswith("_") and (inspect.isfunction(value) or inspect.isclass(value)):
                names.add(f"{info.name}.{name}")
    return names


def test_every_public_metric_has_a_case() -> None:
    """A new metric needs a case, or a reason why no NaN can reach it."""
    assert public_names() == set(CASES) | set(EXEMPT)
    assert not set(CASES) & set(EXEMPT)


def goodness_or_none(case: Case, arguments: Arguments) -> np.ndarray | None:
    """Return how good the result of a metric is, None where it stops with the reason."""
    try:
        return np.asarray(case.goodness(**arguments), np.float64)
    except NotFiniteError:
        return None


def poison(data: st.DataObject, case: Case, arguments: Arguments) -> Arguments:
    """Return the arguments with NaN or infinity in one to three places of one of them."""
    name = data.draw(st.sampled_from(case.poisoned))
    array = np.array(arguments[name])
    for place in data.draw(st.lists(st.integers(0, array.size - 1), min_size=1, max_size=3)):
        array.flat[place] = data.draw(BAD)
    return {**arguments, name: array}


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_nan_and_infinity_are_never_better(name: str, data: st.DataObject) -> None:
    """With NaN or infinity anywhere a metric stops, or no part of its result is better than without."""
    case = CASES[name]
    arguments = data.draw(case.arguments)
    before, after = (goodness_or_none(case, each) for each in (arguments, poison(data, case, arguments)))
    assert before is not None
    assert (after is None) == case.stops
    if after is not None:
        assert (np.isnan(before) == np.isnan(after)).all()
        assert (after <= before).flat[~np.isnan(before.ravel())].all()


def plain_top_1(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Compute top-1 without a look at NaN."""
    return (logits >= np.take_along_axis(logits, targets[:, None], axis=1)).sum(axis=1) <= 1


def plain_losses(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Compute cross-entropies in float64 without a look at NaN."""
    shifted = np.asarray(logits, np.float64) - logits.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return -np.take_along_axis(log_probabilities, targets[:, None], axis=1)[:, 0]


def plain_ece(logits: np.ndarray, targets: np.ndarray) -> float:
    """Compute the calibration error over 15 bins of equal width, a bin at a time."""
    probabilities = np.exp(calibration.log_softmax(logits))
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == targets
    place = np.clip(np.ceil(confidence * 15) - 1, 0, 14)
    gaps = [abs(confidence[place == b].sum() - right[place == b].sum()) for b in range(15)]
    return float(sum(gaps) / len(targets))


def plain_aucs(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Compute areas under the ROC curve without a look at NaN."""
    ranks, positives = rankdata(scores, axis=0), targets.sum(axis=0)
    with np.errstate(invalid="ignore"):
        above = (ranks * targets).sum(axis=0) - positives * (positives + 1) / 2
        return np.asarray(above / (positives * (len(targets) - positives)), np.float64)


@settings(deadline=None)
@given(scored(), scored(np.float32), labelled())
def test_finite_input_gives_the_same_bits(double: Arguments, single: Arguments, labels: Arguments) -> None:
    """Of finite input the metrics are those of their plain formulas, in every bit."""
    for pair in (double, single):
        np.testing.assert_array_equal(classification.in_top_k(**renamed(pair), k=1), plain_top_1(**pair))
        np.testing.assert_array_equal(calibration.cross_entropies(**pair), plain_losses(**pair))
        assert calibration.reliability_curve(**pair).ece == pytest.approx(plain_ece(**pair), abs=1e-12)
    np.testing.assert_array_equal(classification.label_aucs(**labels), plain_aucs(**labels))
    assert calibration.cross_entropies(**single, dtype=np.float32).dtype == np.float32


def renamed(pair: Arguments) -> Arguments:
    """Return logits and targets as the arguments of in_top_k."""
    return {"scores": pair["logits"], "targets": pair["targets"]}


def test_a_head_of_nan_is_never_right() -> None:
    """Logits of NaN alone have top-1 0, not 100, an AUC of 0, an infinite loss, and no calibration error."""
    logits, targets = np.full((6, 3), np.nan), np.arange(6) % 3
    assert not classification.in_top_k(logits, targets, 1).any()
    assert not classification.in_top_k(logits, targets, 3).any()
    assert np.isposinf(calibration.cross_entropies(logits, targets)).all()
    labels = np.eye(3, dtype=int)[targets]
    assert classification.mean_auc(logits, labels) == 0
    for metric in (calibration.reliability_curve, calibration.fit_temperature):
        with pytest.raises(NotFiniteError, match=r"^the logits of 6 of 6 examples are NaN or infinite$"):
            metric(logits, targets)


def test_nan_of_a_label_is_no_reason_to_leave_it_out() -> None:
    """The mean AUC is over all labels: one NaN makes its label worse and does not remove it from the mean."""
    scores, labels = np.array([[0.9, 0.1], [0.1, 0.9], [0.8, 0.7]]), np.array([[1, 0], [0, 1], [1, 0]])
    assert classification.mean_auc(scores, labels) == 100
    scores[0, 0] = np.nan  # one of two positives of the first label: half of its pairs are in the wrong order
    assert classification.label_aucs(scores, labels).tolist() == [0.5, 1.0]


def test_one_gallery_image_of_nan_comes_first_or_last() -> None:
    """An irrelevant gallery image of NaN ranks before everything, a relevant one after everything."""
    queries, gallery = np.eye(2, dtype="f4")[:1], np.array([[1, 0], [0.5, 0], [np.nan, 0]], "f4")
    assert retrieval.ranks_of_relevant(queries, gallery, [(np.array([0]), np.array([], int))])[0].tolist() == [2]
    assert retrieval.ranks_of_relevant(queries, gallery, [(np.array([0, 2]), np.array([], int))])[0].tolist() == [1, 3]


@pytest.mark.parametrize("numbers", [1, 7, 10**9])
def test_blocks_of_rows_bound_memory_not_results(numbers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are judged alike in blocks of any size, and arrays of one, two or three axes, or without rows, are taken."""
    monkeypatch.setattr(finite, "_NUMBERS_IN_BLOCK", numbers)
    for shape in ((9,), (9, 3), (9, 2, 2)):
        array = np.zeros(shape)
        array[4], array[8] = np.nan, -np.inf
        assert np.flatnonzero(~finite.finite_rows(array)).tolist() == [4, 8]
        assert finite.finite_rows(array[:0]).tolist() == []
