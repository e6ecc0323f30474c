"""Artefacts of a right checksum and a wrong content: every kind is computed again, as if it were absent."""

import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from bob_gauntlet.backbones.loading import identify
from bob_gauntlet.backbones.spec import BackboneSpec
from bob_gauntlet.datasets.locations import default_locations
from bob_gauntlet.datasets.manifests import fingerprints
from bob_gauntlet.engine.frozen.features import features
from bob_gauntlet.engine.frozen.labelled_features import LabelledFeatures
from bob_gauntlet.engine.frozen.probe import fit_probe
from bob_gauntlet.engine.training.classifier import TrainedClassifier, train_classifier
from bob_gauntlet.gauntlet import Gauntlet, Workspace
from bob_gauntlet.metrics.detections import Detections
from bob_gauntlet.protocols.recipe import Measured
from bob_gauntlet.report.content import gather
from bob_gauntlet.runtime.artifacts import ExampleValues
from bob_gauntlet.runtime.context import RunContext
from tests.helpers import artefact_files, shapes, tiny
from tests.helpers.artefact_files import CHANGES, JSON_CHANGES
from tests.helpers.contexts import context_in
from tests.helpers.small_pools import CLS, make_score
from tests.helpers.synthetic_features import overlapping_classes

DETECTIONS = Detections(
    np.array([0, 0, 2]), np.ones((3, 4), np.float32), np.array([0.9, 0.5, 0.8], np.float32), np.array([0, 1, 1]),
    (b"ab", b"c", b"def"),
)  # fmt: skip


def read_features(context: RunContext) -> object:
    """Return the features of a split."""
    return features(tiny.backbone(), tiny.split(8), tiny.TRANSFORM, context).tolist()


def read_head(context: RunContext) -> object:
    """Return the logits of a linear probe, and how it was chosen."""
    vectors, targets = overlapping_classes(60, 6, 3)
    data = LabelledFeatures(vectors, targets, train=45, classes=3, key="synthetic")
    probe = fit_probe(data, (1.0, 0.1), 0, context, {"id": "x"})
    return probe.validation, probe.strengths, probe.head.logits(vectors).tolist()


def trained(context: RunContext) -> TrainedClassifier:
    """Return a classifier that was trained for two epochs."""
    config = tiny.classifier_config(tiny.config(epochs=2))
    return train_classifier(tiny.backbone(), tiny.examples(), config, 0, context, {"id": "x"})


def read_network(context: RunContext) -> object:
    """Return the weights of a trained network, and how it was chosen."""
    classifier = trained(context)
    weights = {name: weight.tolist() for name, weight in classifier.network().learned_state().items()}
    return weights, classifier.facts


def read_logits(context: RunContext) -> object:
    """Return the logits of a trained network."""
    return trained(context).scores(tiny.split(6, "test"), context).tolist()


def read_detections(context: RunContext) -> object:
    """Return the detections of a detector that needs no training."""
    module = pytest.importorskip("bob_gauntlet.engine.detection.trained_detector")
    detector = module.TrainedDetector(shapes.backbone(), shapes.detector_config(shapes.config()), 0, {}, {}, object())
    with patch.object(module, "detect_split", lambda *args: (DETECTIONS, ["an image"])):
        found_detections = detector.detections(tiny.split(3, "test"), context)
    return {name: array.tolist() for name, array in found_detections.to_arrays().items()}


def read_examples(context: RunContext) -> object:
    """Return per-example values from where a gauntlet keeps them."""
    gauntlet = Gauntlet(BackboneSpec(name="x", text="x", scheme="random", target="x"), Workspace(context.artifacts))
    measured = Measured("top1", 50.0, np.array([0.0, 100.0, 50.0]), ["a", "b", "ü"], ["1", "1", "2"])
    reference = gauntlet._keep_examples((("setting", "knn@photos"),), measured)
    arrays = reference.read(context.artifacts, ExampleValues.schema(3))
    return {name: array.tolist() for name, array in (arrays or {}).items()}


def read_pictures(context: RunContext) -> object:
    """Return the pictures that a report draws."""
    from bob_gauntlet.engine.detection.example_images import store_example_images

    split = shapes.split(2)
    detections = DETECTIONS.take(np.array([0]))
    store_example_images(
        Detections(detections.images, detections.boxes, detections.scores, detections.labels),
        {"a": 1},
        split,
        shapes.CLASSES,
        context,
    )
    score = make_score("x", CLS, 1.0, provenance={"pictures": {"kind": "pictures", "key": {"a": 1}}})
    return gather(None, {"x": [score]}, artifacts=context.artifacts).pictures


def read_identity(context: RunContext) -> object:
    """Return the identity of a backbone."""
    spec = BackboneSpec(name="r", text="r", scheme="random", target="test_resnet")
    return identify(spec, context.artifacts).to_dict()


def read_manifest(context: RunContext) -> object:
    """Return the fingerprints of a dataset."""
    return fingerprints("digits", context.artifacts, default_locations())


READERS: Mapping[str, Callable[[RunContext], object]] = {
    "features": read_features,
    "heads": read_head,
    "networks": read_network,
    "logits": read_logits,
    "detections": read_detections,
    "examples": read_examples,
    "pictures": read_pictures,
    "tickets": read_identity,
    "manifests": read_manifest,
}
"""Kind -> a function that reads an artefact of that kind, or computes it where it is absent."""

WITH_JSON = ("heads", "networks", "pictures", "tickets", "manifests")
"""Kinds that hold JSON."""

ACCEPTED = {("manifests", "json_less")}
"""Changes that no schema can tell from what is right: a manifest is a table of any roles."""

CASES = [
    (kind, change)
    for kind in READERS
    for change in (*CHANGES, *(JSON_CHANGES if kind in WITH_JSON else ()))
    if (kind, change.__name__) not in ACCEPTED
]


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], SimpleNamespace]:
    """A function that computes a kind into an empty cache, once, and returns its folder and result."""
    results: dict[str, SimpleNamespace] = {}

    def compute(kind: str) -> SimpleNamespace:
        if kind not in results:
            folder = tmp_path_factory.mktemp(kind)
            results[kind] = SimpleNamespace(folder=folder, result=READERS[kind](context_in(folder)))
        return results[kind]

    return compute


@pytest.mark.parametrize(("kind", "change"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_a_wrong_artefact_is_computed_again(
    kind: str,
    change: Callable[[Any], Any],
    computed: Callable[[str], SimpleNamespace],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The result is that of an empty cache, one warning names the file, and the file is right afterwards."""
    expected = computed(kind)
    shutil.copytree(expected.folder, tmp_path / "cache")
    [path] = (tmp_path / "cache" / kind).glob("*.safetensors")
    right = path.read_bytes()
    artefact_files.rewrite(path, change)
    assert path.read_bytes() != right
    with caplog.at_level(logging.WARNING):
        assert READERS[kind](context_in(tmp_path / "cache")) == expected.result
    [warning] = [record.getMessage() for record in caplog.records]
    assert warning.startswith(f"{path} is damaged (")
    # a manifest is looked for before anything is loaded
    assert warning.endswith(") and is not used" if kind == "manifests" else ") and is computed again")
    assert path.read_bytes() == right
    assert READERS[kind](context_in(tmp_path / "cache")) == expected.result
    assert len(caplog.records) == 1
