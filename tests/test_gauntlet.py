"""Gauntlet.run: reading from the store or measuring, sharing artefacts, and what a score records."""

import math
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.forwards import count_forwards
from bob_gauntlet import gauntlet as module
from bob_gauntlet.backbones.resolve import resolve
from bob_gauntlet.config import UserConfig
from bob_gauntlet.errors import BobError, MissingError, NotFiniteError, UsageError
from bob_gauntlet.gauntlet import Gauntlet, Workspace
from bob_gauntlet.protocols.calibration import Calibration
from bob_gauntlet.protocols.efficiency import Efficiency
from bob_gauntlet.protocols.finetune import FineTune
from bob_gauntlet.protocols.knn import KNN
from bob_gauntlet.protocols.linear_probe import LinearProbe
from bob_gauntlet.protocols.recipe import Measured, protocol_hash
from bob_gauntlet.protocols.retrieval import Retrieval
from bob_gauntlet.runtime import devices
from bob_gauntlet.runtime.artifacts import Artifacts, ExampleValues
from bob_gauntlet.runtime.device_lock import device_lock
from bob_gauntlet.runtime.run_config import RunConfig
from bob_gauntlet.scores.score import Score, difference
from bob_gauntlet.stats.standard_error import clustered_standard_error

LIMIT = 24  # examples of every role, so that a test takes a fraction of a second
KNN_32 = KNN(input_size=32, ks=(1, 3))
PROBE_32 = LinearProbe(input_size=32, strengths=(1.0, 0.01))
RETRIEVAL_32 = Retrieval(input_size=32)
EFFICIENCY_32 = Efficiency(
    input_size=32, batches=(1, 2), warmup=1, repeats=2, reference="test_resnet", ratio_batch=2, attempts=1
)

Stored = Mapping[tuple[Any, ...], Score]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """torch with one thread, because on problems this small threads mostly wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(devices, "cores", lambda: 1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    """A new folder of artefacts for one test."""
    return Artifacts(tmp_path / "artifacts")


def on_bench(
    artifacts: Artifacts, stored: Stored | None = None, text: str = "random:test_resnet", **options: Any
) -> Gauntlet:
    """Return a gauntlet like that of a new process: only artefacts and stored scores are shared."""
    workspace = Workspace(artifacts, RunConfig(**{"limit": LIMIT, **options}), stored or {})
    return Gauntlet(resolve(text, UserConfig(Path())), workspace)


def stored_of(scores: list[Score]) -> Stored:
    """Return scores by identity, as the plugin passes them to a workspace, after a round trip through a record."""
    again = [Score.from_dict(score.to_dict()) for score in scores]
    return {score.identity: score for score in again}


def no_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every later attempt to load weights or images fail."""

    def refuse(*args: object) -> None:
        raise AssertionError("loaded")

    monkeypatch.setattr(module, "load", refuse)
    monkeypatch.setattr(module.datasets, "load", refuse)


# ---- the store


@pytest.mark.parametrize(("recipe", "dataset"), [(KNN_32, "digits"), (EFFICIENCY_32, "noise")])
def test_a_stored_setting_does_not_wait_for_the_device(recipe: Any, dataset: str, artifacts: Artifacts) -> None:
    """Scores are read from the store while another process has the device alone."""
    gauntlet = on_bench(artifacts, stored_of(on_bench(artifacts).run(recipe, dataset)))
    gauntlet.workspace.lock_folder = artifacts.root
    with ThreadPoolExecutor() as pool, device_lock(artifacts.root, "cpu", exclusive=True):
        assert pool.submit(gauntlet.run, recipe, dataset).result(timeout=60)


@pytest.mark.parametrize(
    ("recipe", "dataset", "others_measure"), [(KNN_32, "digits", False), (EFFICIENCY_32, "noise", True)]
)
def test_a_measurement_waits_for_the_device(
    recipe: Any, dataset: str, others_measure: bool, artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A measurement waits for one that has the device alone, and an exclusive one waits for every other."""
    scores = on_bench(artifacts).run(recipe, dataset)
    monkeypatch.setattr(Gauntlet, "_measure", lambda *_: scores)
    gauntlet = on_bench(artifacts)
    gauntlet.workspace.lock_folder = artifacts.root
    with ThreadPoolExecutor() as pool:
        with device_lock(artifacts.root, "cpu", exclusive=not others_measure):
            measurement = pool.submit(gauntlet.run, recipe, dataset)
            with pytest.raises(TimeoutError):
                measurement.result(timeout=2)
        assert measurement.result(timeout=60) == scores


@pytest.mark.parametrize(
    ("recipe", "dataset"),
    [(KNN_32, "digits"), (PROBE_32, "digits"), (RETRIEVAL_32, "photos-instances"), (EFFICIENCY_32, "noise")],
    ids=["knn", "linear-probe", "retrieval", "efficiency"],
)
def test_a_stored_setting_is_read_and_nothing_is_loaded(
    recipe: Any, dataset: str, artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stored setting is read with equal scores, and neither weights nor images are loaded."""
    first = on_bench(artifacts)
    measured = first.run(recipe, dataset)
    assert first.results[0].origin == "measured"
    no_loading(monkeypatch)
    second = on_bench(artifacts, stored_of(measured))
    assert second.run(recipe, dataset) == [Score.from_dict(s.to_dict()) for s in measured]
    assert second.results[0].origin == "store"
    assert second.results[0].scores == tuple(second.run(recipe, dataset))


def test_rerun_measures_again(artifacts: Artifacts) -> None:
    """With --bob-rerun, stored scores are ignored and the setting is measured again."""
    measured = on_bench(artifacts).run(KNN_32, "digits")
    again = on_bench(artifacts, stored_of(measured), rerun=True)
    assert [s.value for s in again.run(KNN_32, "digits")] == [s.value for s in measured]
    assert again.results[0].origin == "measured"


def test_a_setting_of_which_one_measure_is_missing_is_measured(artifacts: Artifacts) -> None:
    """A setting with a stored top1 but no stored top5 is measured."""
    measured = on_bench(artifacts).run(KNN_32, "digits")
    assert [s.metric for s in measured] == ["top1", "top5"]
    again = on_bench(artifacts, stored_of(measured[:1]))
    again.run(KNN_32, "digits")
    assert again.results[0].origin == "measured"


@pytest.mark.parametrize(
    ("options", "recipe", "text"),
    [
        ({"limit": 30}, KNN_32, "random:test_resnet"),
        ({"seeds": (0, 1)}, KNN_32, "random:test_resnet"),
        ({}, replace(KNN_32, input_size=64), "random:test_resnet"),
        ({}, replace(KNN_32, ks=(1,)), "random:test_resnet"),
        ({}, KNN_32, "random:test_resnet,seed=1"),
    ],
    ids=["limit", "seeds", "size", "hyper-parameter", "weights"],
)
def test_another_identity_is_not_read(options: dict[str, Any], recipe: Any, text: str, artifacts: Artifacts) -> None:
    """A stored score is not read if the limit, the seeds, the protocol or the weights differ."""
    measured = on_bench(artifacts).run(KNN_32, "digits")
    other = on_bench(artifacts, stored_of(measured), text, **options)
    other.run(recipe, "digits")
    assert other.results[0].origin == "measured"


def test_seeds_do_not_touch_what_is_not_seeded(artifacts: Artifacts) -> None:
    """Retrieval is not seeded, so a run with more seeds reads the same score."""
    measured = on_bench(artifacts).run(RETRIEVAL_32, "photos-instances")
    again = on_bench(artifacts, stored_of(measured), seeds=(0, 1, 2))
    assert again.run(RETRIEVAL_32, "photos-instances")[0].seeds == (0,)
    assert again.results[0].origin == "store"


def test_efficiency_belongs_to_its_device(artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch) -> None:
    """On another machine efficiency is measured again, and accuracy is read from the store.

    Latencies of two machines are not compared, and ratios to the reference are.
    """
    this_machine = on_bench(artifacts)
    measured = [*this_machine.run(EFFICIENCY_32, "noise"), *this_machine.run(KNN_32, "digits")]
    monkeypatch.setattr(module, "device_name", lambda device: "cpu: another machine")
    other_machine = on_bench(artifacts, stored_of(measured))
    others = {score.metric: score for score in other_machine.run(EFFICIENCY_32, "noise")}
    other_machine.run(KNN_32, "digits")
    assert [outcome.origin for outcome in other_machine.results] == ["measured", "store"]
    differing = {s.metric: difference(s, others[s.metric]) for s in measured if s.task == "Eff"}
    assert {metric for metric, field in differing.items() if field} == {"latency", "throughput"}


# ---- artefacts


def test_features_are_extracted_once_for_all_settings_of_a_dataset(artifacts: Artifacts) -> None:
    """The probe forwards train, val and test; kNN and a probe with other strengths forward no image."""
    shared = on_bench(artifacts)
    with count_forwards() as count:
        shared.run(PROBE_32, "digits")
        assert count.since_last() == 3 * LIMIT
        shared.run(KNN_32, "digits")
        shared.run(replace(PROBE_32, strengths=(0.1,)), "digits")
        assert count.since_last() == 0


def test_another_process_finds_the_features(artifacts: Artifacts) -> None:
    """Another process reads the features from files, whatever the order of tests is."""
    on_bench(artifacts).run(PROBE_32, "digits")
    with count_forwards() as count:
        on_bench(artifacts).run(KNN_32, "digits")
    assert count.images == 0


def test_another_backbone_and_another_limit_have_features_of_their_own(artifacts: Artifacts) -> None:
    """Features are extracted again for other weights of one architecture and for another limit."""
    on_bench(artifacts).run(KNN_32, "digits")
    with count_forwards() as count:
        on_bench(artifacts, text="random:test_resnet,seed=1").run(KNN_32, "digits")
        assert count.since_last() == 3 * LIMIT
        on_bench(artifacts, limit=20).run(KNN_32, "digits")
        assert count.since_last() == 60


# ---- what a score records


def test_a_score_says_what_it_is(artifacts: Artifacts) -> None:
    """A score records its identity and its provenance."""
    [top1, _] = on_bench(artifacts, seeds=(0, 3)).run(KNN_32, "digits")
    assert (top1.setting, top1.metric, top1.task) == ("knn@digits", "top1", "Cls")
    assert (top1.backbone, top1.limit, top1.seeds, top1.scale) == ("random:test_resnet", LIMIT, (0, 3), "mini")
    assert top1.protocol_hash == protocol_hash(KNN_32)
    assert set(top1.datasets) == {"train", "val", "test"}
    assert top1.transform.startswith("32px ")
    facts = top1.provenance
    assert facts["protocol"] == {"id": "knn", "version": 1, "input_size": 32, "ks": [1, 3]}
    assert facts["metrics"] == ["top1", "top5"]
    assert {"torch", "timm", "numpy", "bob-gauntlet"} <= set(facts["versions"])
    assert facts["n"] == LIMIT
    assert facts["seconds"] > 0


def test_the_mini_budget_is_applied(artifacts: Artifacts) -> None:
    """A recipe with the defaults of the suites runs at 96 px at mini scale."""
    [top1, _] = on_bench(artifacts).run(KNN(), "digits")
    assert top1.transform.startswith("96px ")
    assert top1.provenance["protocol"]["input_size"] == 96


def test_the_fidelity_of_a_recipe_is_stamped(artifacts: Artifacts) -> None:
    """A score records the fidelity of its recipe."""
    for fidelity in ("sound", "paper"):
        score = on_bench(artifacts).run(replace(RETRIEVAL_32, fidelity=fidelity), "photos-instances")[0]
        assert score.fidelity == fidelity


# ---- what cannot be run


def test_a_planned_setting_is_missing(artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch) -> None:
    """A planned setting raises MissingError with the reason before anything is loaded."""
    no_loading(monkeypatch)
    with pytest.raises(MissingError, match="planned: this version has no protocol"):
        on_bench(artifacts, scale="paper").run(Retrieval(), "cub-200")


def test_an_unknown_setting_is_a_usage_error(artifacts: Artifacts) -> None:
    """An unknown setting is a usage error, and so is an unknown dataset, for which the nearest name is given."""
    with pytest.raises(UsageError, match="unknown setting 'knn@copydays-mini'"):
        on_bench(artifacts).run(KNN_32, "copydays-mini")
    with pytest.raises(UsageError, match="unknown dataset 'digit'; did you mean digits"):
        on_bench(artifacts).run(KNN_32, "digit")


def test_the_sessions_fidelity_reaches_nested_recipes(artifacts: Artifacts) -> None:
    """`--bob-fidelity paper` applies to a recipe and to the recipe inside it; sound leaves both unchanged."""
    tuned = Calibration(head=FineTune(epochs=1, lrs=(1e-3,), weight_decays=(0.05,), input_size=32))
    sound = on_bench(artifacts, max_steps=1).run(tuned, "photos")[0]
    followed = on_bench(artifacts, max_steps=1, fidelity="paper").run(tuned, "photos")[0]
    assert (sound.fidelity, followed.fidelity) == ("sound", "paper")
    assert sound.protocol_hash != followed.protocol_hash
    assert sound.max_steps == 1
    assert "as in the original" in followed.provenance["selection"]


class Broken(KNN):
    """A recipe that yields a value which no score can hold."""

    def evaluate(self, *args: object) -> Any:
        """Yield one NaN."""
        yield Measured("top1", math.nan)


def test_a_value_that_is_not_finite_fails(artifacts: Artifacts) -> None:
    """A value that is not finite raises an error, and there is no result."""
    broken = on_bench(artifacts)
    with pytest.raises(BobError, match="top1 of random:test_resnet is nan"):
        broken.run(Broken(input_size=32), "digits")
    assert broken.results == []


class PartlyBroken(KNN):
    """A recipe whose value is finite, although the values of two examples are not."""

    def evaluate(self, *args: object) -> Any:
        """Yield a value with four examples."""
        yield Measured(
            "top1", 50.0, np.array([0.0, math.nan, 100.0, math.inf]), ("a", "b", "c", "d"), ("a", "b", "c", "d")
        )


def test_values_of_examples_that_are_not_finite_fail(artifacts: Artifacts) -> None:
    """The error names the examples: intervals and paired tests cannot be computed with them."""
    broken = on_bench(artifacts)
    expected = "knn@digits: top1 of random:test_resnet: the values of 2 of 4 examples are NaN or infinite: b, d"
    with pytest.raises(NotFiniteError, match=f"^{expected}$"):
        broken.run(PartlyBroken(input_size=32), "digits")
    assert broken.results == []


# ---- standard errors


def naive_stderr(values: list[float], clusters: list[str]) -> float:
    """Return the cluster-robust standard error of a mean in a plain loop (Liang and Zeger 1986, G / (G - 1))."""
    n, mean = len(values), sum(values) / len(values)
    sums: dict[str, float] = {}
    for value, cluster in zip(values, clusters, strict=True):
        sums[cluster] = sums.get(cluster, 0.0) + value - mean
    return math.sqrt(len(sums) / (len(sums) - 1) * sum(s * s for s in sums.values())) / n


@given(st.lists(st.tuples(st.floats(-100, 100), st.sampled_from("abcd")), min_size=2, max_size=40))
def test_the_standard_error_is_the_naive_one(pairs: list[tuple[float, str]]) -> None:
    """The standard error equals that of a plain loop for any clusters, and is absent if there is only one cluster."""
    values, clusters = [value for value, _ in pairs], [cluster for _, cluster in pairs]
    error = clustered_standard_error(np.array(values), clusters)
    assert error["n"] == len(values)
    if len(set(clusters)) == 1:
        assert "stderr" not in error
    else:
        assert error["stderr"] == pytest.approx(naive_stderr(values, clusters), rel=1e-9, abs=1e-9)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=40))
def test_examples_that_share_nothing_have_the_textbook_error(values: list[float]) -> None:
    """Without clusters, or with one example a cluster, the standard error is std(ddof=1) / sqrt(n)."""
    expected = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    for clusters in (None, [str(i) for i in range(len(values))]):
        error = clustered_standard_error(np.array(values), clusters)
        assert error["stderr"] == pytest.approx(expected, rel=1e-9, abs=1e-9)
        assert error["stderr_how"] == f"over {len(values)} examples"


def test_a_scores_error_is_that_of_its_stored_examples(artifacts: Artifacts) -> None:
    """The standard error follows from the stored values and clusters; crops of one photo are one cluster."""
    gauntlet = on_bench(artifacts, limit=60)
    score = gauntlet.run(RETRIEVAL_32, "photos-instances")[0]
    kept = artifacts.peek("examples", score.provenance["examples"]["key"], ExampleValues.schema())
    assert kept is not None
    ids, clusters = (kept[name].tobytes().decode().split("\n") for name in ("ids", "clusters"))
    assert len(ids) == len(kept["values"]) == score.provenance["n"]
    assert 1 < len(set(clusters)) < len(ids)
    assert kept["values"].mean() == pytest.approx(score.value, rel=1e-5)
    assert score.provenance["stderr"] == pytest.approx(naive_stderr(kept["values"].tolist(), clusters), rel=1e-4)
    assert score.provenance["stderr_how"] == f"over {len(set(clusters))} clusters"
