"""The linear probe: chosen on validation examples, refitted on all examples, stored as an artefact."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bob_gauntlet.engine.frozen import newton
from bob_gauntlet.engine.frozen import probe as module
from bob_gauntlet.engine.frozen.labelled_features import LabelledFeatures
from bob_gauntlet.engine.frozen.logistic import regularisation_path
from bob_gauntlet.engine.frozen.probe import fit_probe, held_out_logits, validation_score
from bob_gauntlet.errors import BobError
from bob_gauntlet.runtime.artifacts import Artifacts
from bob_gauntlet.runtime.context import RunContext
from tests.helpers.synthetic_features import overlapping_classes

STRENGTHS = (10.0, 1.0, 1e-1, 1e-2, 1e-3)


@pytest.fixture
def data() -> LabelledFeatures:
    """200 examples, the last 50 of which are for validation."""
    features, targets = overlapping_classes(200, 10, 4)
    return LabelledFeatures(features, targets, train=150, classes=4, key="synthetic")


@pytest.fixture
def context(tmp_path: Path) -> RunContext:
    """A context whose artefacts lie in the test's temporary folder."""
    return RunContext(Artifacts(tmp_path))


def test_the_best_on_validation_is_refitted_on_everything(data: LabelledFeatures, context: RunContext) -> None:
    """The strength has the best validation accuracy of the path; the head is fitted on all 200 examples."""
    probe = fit_probe(data, STRENGTHS, 0, context, {"id": "x"})
    assert len(probe.validation) == len(STRENGTHS)
    accuracies = [
        100 * (h.logits(data.features[150:]).argmax(axis=1) == data.targets[150:]).mean()
        for h in regularisation_path(data.features[:150], data.targets[:150], 4, STRENGTHS)
    ]
    assert probe.validation == pytest.approx(accuracies)
    assert probe.validation[probe.strengths.index(probe.head.strength)] == max(accuracies)
    [refit] = regularisation_path(data.features, data.targets, 4, [probe.head.strength], tolerance=1e-9)
    np.testing.assert_allclose(probe.head.logits(data.features), refit.logits(data.features), atol=1e-3)
    logits, targets = held_out_logits(data, probe, 0)
    [apart] = regularisation_path(data.features[:150], data.targets[:150], 4, [probe.head.strength], tolerance=1e-9)
    np.testing.assert_allclose(logits, apart.logits(data.features[150:]), atol=1e-3)
    assert (targets == data.targets[150:]).all()


def test_a_second_probe_is_read(data: LabelledFeatures, context: RunContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second call fits nothing; another recipe or seed is fitted anew."""
    first = fit_probe(data, STRENGTHS, 0, context, {"id": "x"})
    fits: list[int] = []
    real = module._fit
    monkeypatch.setattr(module, "_fit", lambda *args: fits.append(1) or real(*args))
    second = fit_probe(data, STRENGTHS, 0, context, {"id": "x"})
    assert (second.head.weight == first.head.weight).all()
    assert second.validation == first.validation
    assert fits == []
    fit_probe(data, STRENGTHS, 1, context, {"id": "x"})
    fit_probe(data, STRENGTHS, 0, context, {"id": "y"})
    assert len(fits) == 2


def test_a_probe_that_did_not_converge_says_so(
    data: LabelledFeatures, context: RunContext, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the solver is stopped, one warning is logged, and the probe says so also when it is read again."""
    assert fit_probe(data, STRENGTHS, 0, context, {"id": "x"}).converged
    assert not caplog.records
    monkeypatch.setattr(newton, "_MAX_PASSES", 3)
    probe = fit_probe(data, STRENGTHS, 0, context, {"id": "y"})
    assert not probe.converged
    assert probe.unconverged
    assert set(probe.unconverged) <= set(STRENGTHS)
    [record] = caplog.records
    assert re.fullmatch(
        r"the linear probe on 200 x 10 features did not converge for \d of 5 strengths \(strength \S+: its objective "
        r"may exceed the minimum by \S+ of it\); its scores say `converged: false` in their provenance; check the "
        r"features for outliers",
        record.getMessage(),
    )
    again = fit_probe(data, STRENGTHS, 0, context, {"id": "y"})
    assert (again.converged, again.unconverged, again.head.gap) == (False, probe.unconverged, probe.head.gap)


@pytest.mark.parametrize("labels", [False, True], ids=["classes", "labels"])
def test_another_number_of_threads_gives_the_same_probe(labels: bool, tmp_path: Path) -> None:
    """With 1 and 2 threads the choice, the predictions, and the logits to 1e-7 are the same."""
    features, classes = overlapping_classes(300, 96, 6)
    targets = np.stack([classes < 2, classes % 2 == 0], axis=1).astype(np.int64) if labels else classes
    data = LabelledFeatures(features[:200], targets[:200], train=150, classes=2 if labels else 6, key="threads")
    before, probes = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            probes.append(fit_probe(data, STRENGTHS, 0, RunContext(Artifacts(tmp_path / str(threads))), {}))
    finally:
        torch.set_num_threads(before)
    one, two = probes
    assert two.validation == one.validation
    assert two.head.strength == one.head.strength
    logits = [probe.head.logits(features) for probe in probes]
    assert (logits[0].argsort(axis=1) == logits[1].argsort(axis=1)).all()
    np.testing.assert_allclose(logits[1], logits[0], atol=1e-7)


def test_the_edge_of_the_path_is_noticed(data: LabelledFeatures, context: RunContext) -> None:
    """`at_edge` is true where the chosen strength is the largest or smallest one."""
    probe = fit_probe(data, STRENGTHS, 0, context, {"id": "x"})
    for chosen, edge in ((10.0, True), (1e-3, True), (1e-1, False)):
        assert replace(probe, head=replace(probe.head, strength=chosen)).at_edge == edge


def test_a_few_images_of_several_labels_have_a_validation_score() -> None:
    """Where no label has both values the score is chance, not NaN; without an image it is an error."""
    one = np.array([[1, 0]])
    assert validation_score(np.array([[0.2, 0.1]]), one) == (50.0, 0.0)
    assert validation_score(np.array([[0.2, 0.1], [0.1, 0.1]]), np.array([[1, 0], [0, 0]])) == (100.0, 0.0)
    with pytest.raises(BobError, match="no training image is left to choose hyper-parameters on"):
        validation_score(np.zeros((0, 2)), np.zeros(0, np.int64))


@settings(deadline=None)  # the first example imports scipy.stats
@given(st.data(), st.booleans())
def test_nan_never_wins_a_validation(data: st.DataObject, several_labels: bool) -> None:
    """With NaN or infinity among the logits the score is not higher, and between equal scores it always loses."""
    shape = (6, 3)
    logits = data.draw(hnp.arrays(np.float32, shape, elements=st.integers(-2, 2).map(float)))
    labels = data.draw(hnp.arrays(np.int64, shape, elements=st.integers(0, 1)))
    targets = labels if several_labels else labels.sum(axis=1) % 3
    poisoned = logits.copy()
    poisoned.flat[data.draw(st.integers(0, 17))] = data.draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    score, negative_loss = validation_score(poisoned, targets)
    assert score <= validation_score(logits, targets)[0]
    assert negative_loss == -np.inf
    assert max((score, negative_loss), validation_score(logits, targets)) == validation_score(logits, targets)
