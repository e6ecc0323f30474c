"""Grid search of a classifier: which run is kept, what is not done twice, and how a killed search continues."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.forwards import count_forwards
from bob_gauntlet.backbones.backbone import Backbone
from bob_gauntlet.datasets.images import UnreadableImage
from bob_gauntlet.engine.frozen.probe import validation_score
from bob_gauntlet.engine.training import classifier, grid_search, loop
from bob_gauntlet.engine.training.classifier import ClassifierConfig, TrainedClassifier, train_classifier
from bob_gauntlet.engine.training.examples import TrainingExamples, training_examples
from bob_gauntlet.engine.training.loop import Trainer
from bob_gauntlet.engine.training.network import Network
from bob_gauntlet.errors import BobError, NotFiniteError
from bob_gauntlet.runtime.artifacts import digest, pack_json
from bob_gauntlet.runtime.progress import Progress
from tests.helpers import tiny
from tests.helpers.artefacts import overwrite
from tests.helpers.calls import fail_if_called
from tests.helpers.contexts import context_in
from tests.helpers.killed import run_until_killed

RATES = (1e-2, 3e-3, 1e-3)


def grid_of(*lrs: float, **changes: Any) -> ClassifierConfig:
    """Return a grid of these learning rates, with two epochs for each."""
    return tiny.classifier_config(*(tiny.config(lr=lr, epochs=2) for lr in lrs), **changes)


def train_grid(
    folder: Path, classifier_config: ClassifierConfig, backbone: Backbone | None = None, **options: Any
) -> TrainedClassifier:
    """Train a grid on 48 images with seed 0."""
    return train_classifier(
        backbone or tiny.backbone(), tiny.examples(), classifier_config, 0, context_in(folder, **options), {"id": "r"}
    )


@pytest.fixture
def epoch_rates(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The learning rate of each epoch that is trained."""
    rates: list[float] = []
    train_epoch = Trainer.train_epoch

    def record_rate(self: Trainer, *arguments: Any) -> float:
        rates.append(self.config.lr)
        return train_epoch(self, *arguments)

    monkeypatch.setattr(Trainer, "train_epoch", record_rate)
    return rates


def fake_validation_scores(monkeypatch: pytest.MonkeyPatch, *scores: tuple[float, float]) -> None:
    """Let validation return these scores and tie-breakers, one after the other."""
    remaining_scores = iter(scores)
    monkeypatch.setattr(classifier, "validation_score", lambda *args: next(remaining_scores))


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([(50.0, -1.0), (60.0, -9.0), (40.0, -0.1)], 1),
        ([(50.0, -2.0), (50.0, -3.0), (50.0, -1.0)], 2),
        ([(50.0, -1.0), (50.0, -1.0), (50.0, -1.0)], 0),
        ([(50.0, -1.0), (40.0, -1.0), (30.0, -1.0)], 0),
    ],
    ids=["score", "loss decides between equal ones", "the first of equal ones", "not the last"],
)
def test_the_run_that_validation_prefers_is_kept(
    scores: list[tuple[float, float]], best: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kept weights are those of a grid of that run alone; the facts list all runs."""
    # after the first epoch of each run the scores are in the opposite order
    fake_validation_scores(monkeypatch, *(each for score in scores for each in ((100 - score[0], 0.0), score)))
    trained = train_grid(tmp_path / "all", grid_of(*RATES))
    monkeypatch.setattr(classifier, "validation_score", validation_score)
    alone = train_grid(tmp_path / "one", grid_of(RATES[best]))
    assert tiny.identical(tiny.weights(trained.network()), tiny.weights(alone.network()))
    assert trained.facts["chosen"] == f"adamw lr {RATES[best]:g}, weight decay 0.05"
    assert trained.facts["judged"] == list(scores[best])
    assert trained.facts["curve"]["validation"] == [100 - scores[best][0], scores[best][0]]
    assert trained.facts["runs"] == [
        {"run": f"adamw lr {lr:g}, weight decay 0.05", "validation": score[0], "epochs": 2, "steps": 6}
        for lr, score in zip(RATES, scores, strict=True)
    ]
    facts = {"effective_batch": 16, "micro_batch": 16, "train_images": 48, "validation_images": 24, "drop_path": 0.0}
    assert facts.items() <= trained.facts.items()


def test_the_validation_score_is_that_of_the_chosen_network(tmp_path: Path) -> None:
    """The facts hold accuracy and negative loss of the network's logits on the validation images."""
    trained = train_grid(tmp_path, grid_of(*RATES))
    held_out = trained.held_out(context_in(tmp_path))
    assert held_out is not None
    logits, targets = held_out
    log_likelihood = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    accuracy = 100 * (logits.argmax(axis=1) == targets).mean()
    assert trained.facts["judged"] == pytest.approx([accuracy, log_likelihood[np.arange(24), targets].mean()], rel=1e-5)
    assert max(each["validation"] for each in trained.facts["runs"]) == round(accuracy, 4) > 60


# 24 images, best run 90%, second run p%: the standard error of the gap is 100 sqrt(2 q (1 - q) / 24), q their mean.
# p = 65: q = 0.775, error 12.05, gap 25 > 24.1; p = 66: q = 0.78, error 11.96, gap 24 > 23.9; p = 67: 11.86, 23 < 23.7
@pytest.mark.parametrize(("second_score", "stopped"), [(65.0, True), (66.0, True), (67.0, False), (95.0, False)])
@pytest.mark.parametrize("stop_beaten", [True, False])
def test_a_clearly_beaten_run_ends_early(
    second_score: float,
    stopped: bool,
    stop_beaten: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    epoch_rates: list[float],
) -> None:
    """With `stop_beaten`, a run ends after epoch 2 or later, if it is two standard errors behind at the same epoch."""
    fake_validation_scores(monkeypatch, *((score, 0.0) for score in (10, 90, 60, 40, 1, second_score, 99, 99)))
    classifier_config = tiny.classifier_config(
        *(tiny.config(lr=lr, epochs=4) for lr in RATES[:2]), stop_beaten=stop_beaten
    )
    trained = train_grid(tmp_path, classifier_config)
    last = trained.facts["runs"][1]
    if stopped and stop_beaten:
        assert epoch_rates == [RATES[0]] * 4 + [RATES[1]] * 2
        assert (last["stopped"], last["epochs"], last["validation"]) == ("clearly beaten", 2, second_score)
        assert "lr 0.01" in trained.facts["chosen"]
    else:
        assert epoch_rates == [RATES[0]] * 4 + [RATES[1]] * 4
        assert "stopped" not in last
        assert "lr 0.003" in trained.facts["chosen"]


def test_the_same_grid_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the second call, network and logits come from the artefacts, and no image goes through the network."""
    backbone, test = tiny.backbone(), tiny.split(30, "test")
    with count_forwards() as count:
        first = train_grid(tmp_path, grid_of(*RATES), backbone)
        before = first.scores(test, context_in(tmp_path))
    # 3 runs of 2 epochs with 48 images, 24 validation images after each, the test split, and two images that tell the
    # width of the features
    assert count.images == 3 * 2 * (48 + 24) + 30 + 2
    monkeypatch.setattr(Trainer, "train_epoch", fail_if_called)
    monkeypatch.setattr(Network, "forward", fail_if_called)
    with count_forwards() as count:
        again = train_grid(tmp_path, grid_of(*RATES), tiny.backbone())
        assert np.array_equal(again.scores(test, context_in(tmp_path)), before)
    # to know the width of the features, which the stored head has to fit
    assert count.images == 2
    assert again.facts == first.facts
    assert tiny.identical(tiny.weights(first.network()), tiny.weights(again.network()))


def test_the_logits_are_the_networks(tmp_path: Path) -> None:
    """The logits are those of the network in evaluation mode on normalised images, for any batch size."""
    trained = train_grid(tmp_path, grid_of(1e-2), tiny.backbone(dropout=0.5))
    test = tiny.split(30, "test", side=tiny.SIDE)
    raw = np.stack([np.asarray(test.image(i)) for i in range(30)]).transpose(0, 3, 1, 2)
    with torch.no_grad():
        expected = trained.network()(torch.from_numpy(raw.astype(np.float32)) / 127.5 - 1)
        attacked = trained.differentiable()[1](torch.from_numpy(raw.astype(np.float32)) / 255)
    assert not trained.network().training
    assert trained.scores(test, context_in(tmp_path)) == pytest.approx(expected.numpy(), abs=1e-5)
    assert attacked.numpy() == pytest.approx(expected.numpy(), abs=1e-5)
    assert trained.scores(test, context_in(tmp_path / "b", batch_size=7)) == pytest.approx(expected.numpy(), abs=1e-5)
    assert trained.differentiable()[0] is trained.network()


def test_nothing_is_held_out_where_validation_is_reported(tmp_path: Path) -> None:
    """With `fidelity="paper"`, no validation images are left for calibration, so `held_out` returns None."""
    context = context_in(tmp_path)
    examples = TrainingExamples(tiny.split(48), tiny.split(24, "test"), validation_is_reported=True)
    assert train_classifier(tiny.backbone(), examples, grid_of(1e-2), 0, context, {"id": "r"}).held_out(context) is None


def test_checkpoints_are_deleted_after_the_artefact_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The finished runs and the checkpoint of the last run exist while the artefact is written, and not afterwards."""
    files_at_write: list[list[str]] = []
    write = type(context_in(tmp_path).artifacts)._write

    def record_files(self: Any, path: Path, content: bytes) -> None:
        files_at_write.append(sorted(p.name for p in (tmp_path / "checkpoints").rglob("*.pt")))
        write(self, path, content)

    monkeypatch.setattr(type(context_in(tmp_path).artifacts), "_write", record_files)
    monkeypatch.setattr(loop, "SAVE_INTERVAL", 0.0)
    train_grid(tmp_path, grid_of(*RATES))
    assert files_at_write == [["finished.pt", "run-2.pt"]]
    assert list((tmp_path / "checkpoints").iterdir()) == []
    assert len(tiny.network_artefacts(tmp_path)) == 1


def test_a_training_of_seconds_writes_only_its_artefact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A grid of one run writes no checkpoint; one of three writes its best run after the first and the second."""
    written: list[str] = []
    write_checkpoint = loop.write_checkpoint

    def record_name(path: Path, content: dict[str, Any]) -> None:
        written.append(path.name)
        write_checkpoint(path, content)

    monkeypatch.setattr(loop, "write_checkpoint", record_name)
    train_grid(tmp_path / "one", grid_of(RATES[0]))
    assert written == []
    train_grid(tmp_path / "three", grid_of(*RATES))
    assert written == ["finished.pt", "finished.pt"]


def variants() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield by name changes of the arguments that give another artefact."""
    other_train = TrainingExamples(tiny.split(46), tiny.split(24, "val"))
    other_validation = TrainingExamples(tiny.split(48), tiny.split(22, "val"))
    other_transform = replace(grid_of(1e-2), transform=replace(tiny.TRANSFORM, crop_pct=0.9))
    yield from {
        "as it is": {}, "seed": {"seed": 1}, "recipe": {"recipe": {"id": "s"}}, "examples": {"examples": other_train},
        "validation": {"examples": other_validation}, "steps": {"max_steps": 2},
        "transform": {"classifier_config": other_transform}, "backbone": {"backbone": tiny.backbone(dropout=0.1)},
    }.items()  # fmt: skip


def test_what_changes_the_network_changes_its_artefact(tmp_path: Path) -> None:
    """Each variant has its own artefact; numbers of processes and batch sizes of evaluation do not change it."""
    for _, changes in variants():
        arguments: dict[str, Any] = {
            "backbone": tiny.backbone(), "examples": tiny.examples(), "classifier_config": grid_of(1e-2), "seed": 0,
            "recipe": {"id": "r"}, "max_steps": None, **changes,
        }  # fmt: skip
        arguments["context"] = context_in(tmp_path, max_steps=arguments.pop("max_steps"))
        train_classifier(**arguments)
    assert len(tiny.network_artefacts(tmp_path)) == 8
    train_grid(tmp_path, grid_of(1e-2), batch_size=3, loader_processes=1)
    assert len(tiny.network_artefacts(tmp_path)) == 8


def test_max_steps_ends_every_run(tmp_path: Path) -> None:
    """Every run of the grid ends after two steps, is validated, and does not count as stopped."""
    trained = train_grid(tmp_path, grid_of(*RATES[:2], stop_beaten=True), max_steps=2)
    assert [(each["steps"], each["epochs"], "stopped" in each) for each in trained.facts["runs"]] == [(2, 1, False)] * 2
    assert len(trained.facts["curve"]["validation"]) == 1


def make_loss_nan(monkeypatch: pytest.MonkeyPatch, *lrs: float) -> None:
    """Make the loss of the fourth step NaN in the runs with these learning rates."""
    step = Trainer._step

    def step_with_nan(self: Trainer, batch: Any) -> torch.Tensor:
        return step(self, batch) * (torch.nan if self.config.lr in lrs and self.state.steps == 3 else 1)

    monkeypatch.setattr(Trainer, "_step", step_with_nan)


def test_only_a_run_whose_loss_is_nan_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Learning rate and step are in the facts; the other runs continue."""
    make_loss_nan(monkeypatch, RATES[0])
    trained = train_grid(tmp_path, grid_of(*RATES))
    reason = "the loss is not finite at step 4 (adamw lr 0.01, weight decay 0.05)"
    assert trained.facts["runs"][0] == {"run": "adamw lr 0.01, weight decay 0.05", "diverged": reason}
    assert [each["steps"] for each in trained.facts["runs"][1:]] == [6, 6]
    assert f"tiny: {reason}; the other runs continue" in caplog.text


def drift_to_nan(monkeypatch: pytest.MonkeyPatch, *lrs: float, bad: float = torch.nan) -> None:
    """Spoil the weights after the last step of the runs with these learning rates, whose losses are all finite."""
    step = Trainer._step

    def spoiling_step(self: Trainer, batch: Any) -> torch.Tensor:
        loss = step(self, batch)
        if self.config.lr in lrs and self.state.steps == 5:
            self.network.head[-1].weight.data.fill_(bad)
        return loss

    monkeypatch.setattr(Trainer, "_step", spoiling_step)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_run_that_validates_to_nan_is_never_chosen(
    place: int, bad: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its record says that it diverged; the other runs end as they would without it, and none is beaten by it."""
    others = [lr for lr in RATES if lr != RATES[place]]
    alone = train_grid(tmp_path / "alone", grid_of(*others, stop_beaten=True))
    drift_to_nan(monkeypatch, RATES[place], bad=bad)
    trained = train_grid(tmp_path / "grid", grid_of(*RATES, stop_beaten=True))
    run = f"adamw lr {RATES[place]:g}, weight decay 0.05"
    reason = f"the output for validation images is not finite after epoch 2 ({run})"
    records = trained.facts["runs"]
    assert records.pop(place) == {"run": run, "diverged": reason}
    assert records == alone.facts["runs"]
    assert (trained.facts["chosen"], trained.facts["judged"]) == (alone.facts["chosen"], alone.facts["judged"])
    assert tiny.identical(tiny.weights(trained.network()), tiny.weights(alone.network()))
    assert f"tiny: {reason}; the other runs continue" in caplog.text


def test_one_validation_image_of_nan_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that gives NaN for one of 24 validation images has diverged: it would do so in tests, too."""
    forward = Network.forward

    def fail_once(self: Network, images: torch.Tensor) -> torch.Tensor:
        logits = forward(self, images)
        return logits if self.training else torch.cat([logits[:-1], logits[-1:] * torch.nan])

    monkeypatch.setattr(Network, "forward", fail_once)
    with pytest.raises(BobError, match=r"every training run failed: the output for validation images is not finite"):
        train_grid(tmp_path, grid_of(RATES[0]))


def test_it_is_an_error_if_every_run_diverges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is one line, names learning rate and step of the first runs, and counts the others."""
    make_loss_nan(monkeypatch, *RATES[:2])
    with pytest.raises(BobError, match=r"tiny: every training run failed: .*step 4 \(adamw lr 0.01.*step 4 .*lr 0.003"):
        train_grid(tmp_path, grid_of(*RATES[:2]))
    rates = [10.0**-n for n in range(1, 7)]
    make_loss_nan(monkeypatch, *rates[:3])
    drift_to_nan(monkeypatch, *rates[3:])
    with pytest.raises(BobError, match=r"step 4 \(adamw lr 0.001, .*\) and 3 more; check the checkpoint") as caught:
        train_grid(tmp_path, grid_of(*rates))
    assert "\n" not in str(caught.value)
    assert tiny.network_artefacts(tmp_path) == {}


def test_a_stored_network_that_diverged_is_trained_again(
    tmp_path: Path, epoch_rates: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    """Older versions kept networks of NaN as the best: they are replaced, and a warning says why."""
    first, context = train_grid(tmp_path, grid_of(*RATES)), context_in(tmp_path)
    spoilt = {"head.0.weight": np.full_like(first.arrays["head.0.weight"], np.nan)}
    judged = {"facts": pack_json({**first.facts, "judged": [100.0, float("nan")]})}
    for arrays, where in ((spoilt, "head.0.weight"), (judged, "the validation score")):
        del epoch_rates[:]
        caplog.clear()
        overwrite(context.artifacts, "networks", **arrays)
        again = train_grid(tmp_path, grid_of(*RATES))
        assert len(epoch_rates) == 6
        assert tiny.identical(tiny.weights(again.network()), tiny.weights(first.network()))
        assert f"is damaged (the training diverged: NaN is in {where}) and is computed again" in caplog.text


def test_a_search_that_kept_a_network_of_nan_starts_again(tmp_path: Path, epoch_rates: list[float]) -> None:
    """Older versions may have left one, interrupted after a run that they called beaten by it."""
    whole = train_grid(tmp_path / "whole", grid_of(*RATES))
    folder = tmp_path / "resumed" / "checkpoints" / digest(whole.key)
    content = {
        "points": [{"run": "a", "validation": 100.0}, {"run": "b", "stopped": "clearly beaten"}],
        "best": {"judged": [100.0, float("nan")]}, "weights": {"head.0.weight": torch.full((3, 16), torch.nan)},
        "micro_batch": 16, "unreadable": [],
    }  # fmt: skip
    loop.write_checkpoint(folder / "finished.pt", content)
    del epoch_rates[:]
    resumed = train_grid(tmp_path / "resumed", grid_of(*RATES))
    assert len(epoch_rates) == 6
    assert resumed.facts == whole.facts


@pytest.mark.parametrize(
    "change",
    [{"points": 5}, {"best": None}, {"weights": {"head.0.weight": torch.zeros(2)}}, {"weights": {"a": 1}}],
    ids=str,
)
def test_a_search_with_another_content_starts_again(
    tmp_path: Path, epoch_rates: list[float], caplog: pytest.LogCaptureFixture, change: dict[str, Any]
) -> None:
    """A file of finished runs that holds something else is reported, and every run is trained."""
    whole = train_grid(tmp_path / "whole", grid_of(1e-2))
    path = tmp_path / "resumed" / "checkpoints" / digest(whole.key) / "finished.pt"
    content: dict[str, Any] = {"points": [], "best": {}, "weights": {}, "micro_batch": 16, "unreadable": []}
    loop.write_checkpoint(path, {**content, **change})
    del epoch_rates[:]
    resumed = train_grid(tmp_path / "resumed", grid_of(1e-2))
    assert len(epoch_rates) == 2
    assert resumed.facts == whole.facts
    [record] = caplog.records
    assert record.getMessage().startswith(f"{path} is damaged (")


def test_logits_that_are_nan_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NaN logits raise an error that counts and names the images."""
    trained = train_grid(tmp_path, grid_of(1e-2))
    monkeypatch.setattr(Network, "forward", lambda self, images: torch.full((len(images), 3), torch.nan))
    with pytest.raises(NotFiniteError) as caught:
        trained.scores(tiny.split(6, "test"), context_in(tmp_path))
    assert str(caught.value) == (
        "tiny: after training the logits of 6 of 6 images of test are NaN or infinite: test-0, test-1, test-2 and 3 "
        "more; check its forward"
    )


def test_stored_logits_that_are_nan_are_computed_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The logits are those of before, and a warning names the images."""
    trained, context, test = train_grid(tmp_path, grid_of(1e-2)), context_in(tmp_path), tiny.split(6, "test")
    expected = trained.scores(test, context)
    spoilt = expected.copy()
    spoilt[4, 1] = np.nan
    overwrite(context.artifacts, "logits", logits=spoilt)
    assert np.array_equal(trained.scores(test, context), expected)
    assert "the logits of 1 of 6 images of test are NaN or infinite: test-4) and is computed again" in caplog.text


def test_too_little_memory_halves_the_micro_batch_of_the_grid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch_rates: list[float]
) -> None:
    """The first run halves the micro-batch and the next run begins with it; nothing else changes."""
    whole = train_grid(tmp_path / "whole", grid_of(*RATES[:2]))
    del epoch_rates[:]
    forward = Network.forward

    def limited(self: Network, images: torch.Tensor) -> torch.Tensor:
        if self.training and len(images) > 4:
            raise torch.OutOfMemoryError("full")
        return forward(self, images)

    monkeypatch.setattr(Network, "forward", limited)
    parts = train_grid(tmp_path / "parts", grid_of(*RATES[:2]))
    assert epoch_rates == [RATES[0]] * 4 + [RATES[1]] * 2
    assert (whole.facts["micro_batch"], parts.facts["micro_batch"]) == (16, 4)
    assert parts.facts["effective_batch"] == 16
    for name, tensor in tiny.weights(whole.network()).items():
        assert torch.allclose(tensor, tiny.weights(parts.network())[name], atol=1e-5), name


@pytest.fixture
def uninterrupted(tmp_path: Path) -> dict[str, bytes]:
    """The artefact of three runs with dropout that were not interrupted."""
    interrupted(tmp_path / "undisturbed")
    return tiny.network_artefacts(tmp_path / "undisturbed")


def interrupted(folder: Path, **options: Any) -> TrainedClassifier:
    """Train the grid that is killed and started again."""
    return train_grid(folder, grid_of(*RATES, stop_beaten=True), tiny.backbone(dropout=0.3), **options)


def test_a_killed_process_continues_to_the_same_bytes(
    tmp_path: Path, uninterrupted: dict[str, bytes], epoch_rates: list[float]
) -> None:
    """After kill -9 in the second epoch of the second run, only the rest of it and later epochs are trained."""
    folder = tmp_path / "killed"
    run_until_killed("tests.engine.training.test_classifier", folder, 4)
    del epoch_rates[:]
    interrupted(folder)
    assert epoch_rates == [RATES[1], RATES[2], RATES[2]]
    assert tiny.network_artefacts(folder) == uninterrupted
    assert list((folder / "checkpoints").iterdir()) == []


class Killed(BaseException):
    """Ends a function as suddenly as a signal, without ending the process of the tests."""


def kill_at_call(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int, *, after: bool = False) -> None:
    """Let a function raise Killed at one of its calls, before or after its work."""
    function, calls = getattr(owner, name), [0]

    def call_or_die(*args: Any, **options: Any) -> Any:
        calls[0] += 1
        if calls[0] == call and not after:
            raise Killed
        result = function(*args, **options)
        if calls[0] == call:
            raise Killed
        return result

    monkeypatch.setattr(owner, name, call_or_die)


@pytest.mark.parametrize(
    ("interval", "owner", "name", "call", "after", "left"),
    [
        (0.0, Trainer, "_step", 1, False, 6),
        (0.0, Trainer, "save", 1, False, 6),
        (0.0, Trainer, "save", 3, True, 6),
        # the fourth time after the validation
        (0.0, Trainer, "save", 4, True, 5),
        (0.0, Trainer, "save", 16, True, 2),
        (0.0, grid_search.GridSearch, "_save", 2, True, 2),
        (0.0, grid_search.GridSearch, "run", 1, True, 0),
        # the other runs are kept, the last one took less than a minute
        (60.0, grid_search.GridSearch, "_save", 1, True, 4),
        (60.0, grid_search.GridSearch, "run", 1, True, 2),
    ],
)
def test_wherever_a_run_is_killed_the_artefact_is_the_same(
    interval: float, owner: Any, name: str, call: int, after: bool, left: int,
    tmp_path: Path, uninterrupted: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, epoch_rates: list[float],
) -> None:  # fmt: skip
    """Only the remaining epochs are trained, and an epoch that was not saved is trained again."""
    with monkeypatch.context() as patch:
        patch.setattr(loop, "SAVE_INTERVAL", interval)
        kill_at_call(patch, owner, name, call, after=after)
        with pytest.raises(Killed):
            interrupted(tmp_path / "killed")
    del epoch_rates[:]
    interrupted(tmp_path / "killed")
    assert len(epoch_rates) == left
    assert tiny.network_artefacts(tmp_path / "killed") == uninterrupted


def test_a_beaten_run_that_is_killed_stays_beaten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch_rates: list[float]
) -> None:
    """A run that is killed after it was stopped, but before its record was saved, is not trained further."""
    classifier_config = tiny.classifier_config(*(tiny.config(lr=lr, epochs=3) for lr in RATES[:2]), stop_beaten=True)
    scores = [(90.0, 0.0)] * 3 + [(10.0, 0.0)] * 2
    fake_validation_scores(monkeypatch, *scores)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "SAVE_INTERVAL", 0.0)
        kill_at_call(patch, loop, "train", 2, after=True)
        with pytest.raises(Killed):
            train_grid(tmp_path, classifier_config)
    fake_validation_scores(monkeypatch, (10.0, 0.0))
    assert train_grid(tmp_path, classifier_config).facts["runs"][1]["epochs"] == 2
    assert len(epoch_rates) == 5


def examples_with_an_unreadable_image() -> TrainingExamples:
    """Return 100 training images, one of which cannot be read."""
    readable = tiny.split(100)

    def image(index: int) -> Image.Image:
        if index == 7:
            raise UnreadableImage("seven.png (truncated)")
        return readable.image(index)

    return TrainingExamples(replace(readable, image=image), tiny.split(24, "val"))


def count_unreadable(folder: Path, examples: TrainingExamples | None = None) -> int:
    """Train a grid of two runs, each of which reads all images, and return the number of unreadable images."""
    examples = examples or examples_with_an_unreadable_image()
    classifier_config = tiny.classifier_config(*(tiny.config(lr=lr, epochs=1) for lr in RATES[:2]), batch=50)
    trained = train_classifier(tiny.backbone(), examples, classifier_config, 0, context_in(folder), {"id": "r"})
    count: int = trained.facts["unreadable_images"]
    return count


def test_unreadable_images_are_counted_once(tmp_path: Path) -> None:
    """Both runs read the same unreadable image, and it counts once."""
    assert count_unreadable(tmp_path) == 1


def test_unreadable_images_are_counted_after_a_kill_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image that the run before the kill could not read counts, although the run after it can."""
    with monkeypatch.context() as patch:
        kill_at_call(patch, grid_search.GridSearch, "_save", 1, after=True)
        with pytest.raises(Killed):
            count_unreadable(tmp_path)
    assert count_unreadable(tmp_path, TrainingExamples(tiny.split(100), tiny.split(24, "val"))) == 1


def test_images_of_several_labels(tmp_path: Path) -> None:
    """Their validation score is the mean AUC, and the network learns them."""
    rows = np.eye(3, dtype=np.int64)
    splits = [replace(split, targets=rows[split.targets]) for split in (tiny.split(48), tiny.split(24, "val"))]
    classifier_config = tiny.classifier_config(tiny.config(epochs=6))
    trained = train_classifier(
        tiny.backbone(), TrainingExamples(*splits), classifier_config, 0, context_in(tmp_path), {"id": "r"}
    )
    assert trained.facts["judged"][0] > 80
    assert trained.facts["curve"]["loss"][-1] < 0.75 * trained.facts["curve"]["loss"][0] < 0.75


def test_progress_reaches_its_total(tmp_path: Path) -> None:
    """The total is images x epochs x runs, and is reached also by a grid that continues after a kill."""
    counts_by_step: dict[str, list[int]] = {}

    class RecordedProgress(Progress):
        """Records what a step is advanced by."""

        @contextmanager
        def step(self, what: str, total: int) -> Iterator[Any]:
            """See Progress."""
            yield counts_by_step.setdefault(what, [total]).append

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "SAVE_INTERVAL", 0.0)
        kill_at_call(patch, Trainer, "save", 4)
        with pytest.raises(Killed):
            train_grid(tmp_path, grid_of(*RATES))
    train_grid(tmp_path, grid_of(*RATES), progress=RecordedProgress())
    total, *counts = counts_by_step["tiny: 3 training runs"]
    assert total == sum(counts) == 3 * 2 * 48


def test_each_seed_gives_another_network(tmp_path: Path) -> None:
    """The network of a seed differs by order and augmentation of images, initial head and split of the images."""
    context = context_in(tmp_path)
    patterns = tiny.dataset()
    networks = [
        train_classifier(tiny.backbone(), training_examples(patterns, seed), grid_of(1e-2), seed, context, {"id": "r"})
        for seed in (0, 1, 0)
    ]
    assert not tiny.identical(tiny.weights(networks[0].network()), tiny.weights(networks[1].network()))
    assert tiny.identical(tiny.weights(networks[0].network()), tiny.weights(networks[2].network()))
    assert len(tiny.network_artefacts(tmp_path)) == 2


def test_numerics_names_device_and_precision() -> None:
    """On a CPU the precision is float32, also with mixed precision."""
    assert grid_search.numerics("cpu", amp=True) == grid_search.numerics("cpu", amp=False) == "cpu float32"
